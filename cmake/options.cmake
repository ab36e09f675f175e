# The compiler options of all native targets, in one place so that the build info can quote them.
include(CheckCCompilerFlag)

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)

# Some compilers for ARM spell -march=native as -mcpu=native. CMake caches one answer per level.
if(NOT PYFNN_MARCH STREQUAL "levels")
  foreach(spelling -march -mcpu)
    string(MAKE_C_IDENTIFIER "PYFNN_HAS${spelling}=${PYFNN_MARCH}" taken)
    check_c_compiler_flag("${spelling}=${PYFNN_MARCH}" ${taken})
    if(${taken})
      set(PYFNN_TUNING "${spelling}=${PYFNN_MARCH}")
      break()
    endif()
  endforeach()
  if(NOT PYFNN_TUNING)
    message(FATAL_ERROR "PYFNN_MARCH=${PYFNN_MARCH}: the C compiler takes it neither as -march nor as -mcpu")
  endif()
endif()

# The instruction sets behind PYFNN_MARCH, from the compiler's own macros: "native" differs from CPU to CPU, and GCC may
# report an older CPU name for it.
set(PYFNN_TUNING_DESCRIPTION "${PYFNN_TUNING}")
execute_process(
  COMMAND ${CMAKE_C_COMPILER} ${PYFNN_TUNING} -dM -E -x c -
  INPUT_FILE /dev/null
  OUTPUT_VARIABLE macros
  ERROR_QUIET
)
set(instructions "")
foreach(name AVX512F AVX2 FMA ARM_FEATURE_SVE2 ARM_FEATURE_SVE ARM_NEON)
  if(macros MATCHES "#define __${name}(__)? 1\n")
    string(REPLACE "ARM_FEATURE_" "" name "${name}")
    list(APPEND instructions "${name}")
  endif()
endforeach()
if(instructions)
  list(JOIN instructions " " instructions)
  string(APPEND PYFNN_TUNING_DESCRIPTION " (${instructions})")
endif()

# Instruction-set levels. Some sources are compiled for several, and pyfnn/isa.py chooses one at run time. Every CPU of
# the architecture runs `baseline`. PYFNN_KNOWN_LEVELS: those that the compiler knows; PYFNN_TUNING_<level> is its flag.
set(PYFNN_KNOWN_LEVELS "")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(PYFNN_TUNING_baseline "-march=x86-64")
  foreach(level v2 v3 v4)
    check_c_compiler_flag("-march=x86-64-${level}" PYFNN_HAS_${level})
    if(PYFNN_HAS_${level})
      list(APPEND PYFNN_KNOWN_LEVELS ${level})
      set(PYFNN_TUNING_${level} "-march=x86-64-${level}")
    endif()
  endforeach()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(PYFNN_KNOWN_LEVELS aarch64)
  set(PYFNN_TUNING_aarch64 "-march=armv8-a")
endif()

# PYFNN_PLAIN_<level>: the same for the plain parts, whose vectors the compiler makes. By a level's name alone GCC takes
# vectors of 512 bits; tuned for any Intel CPU that has them, as by -march=native, it takes 256. `c` needs 34.5 µs for a
# step of `digits` with the former and 29.0 with the latter (Xeon, GCC 12).
foreach(level baseline ${PYFNN_KNOWN_LEVELS})
  set(PYFNN_PLAIN_${level} "${PYFNN_TUNING_${level}}")
endforeach()
if("v4" IN_LIST PYFNN_KNOWN_LEVELS)
  check_c_compiler_flag(-mprefer-vector-width=256 PYFNN_HAS_VECTOR_WIDTH)
  if(PYFNN_HAS_VECTOR_WIDTH)
    string(APPEND PYFNN_PLAIN_v4 " -mprefer-vector-width=256")
  endif()
endif()

# PYFNN_BUILT_LEVELS: those that PYFNN_LEVELS asks for. Each takes as long to compile as all other parts together, so a
# build for this machine alone has its highest one.
set(PYFNN_BUILT_LEVELS ${PYFNN_KNOWN_LEVELS})
set(asked "${PYFNN_LEVELS}")
if(NOT asked AND PYFNN_MARCH STREQUAL "native")
  set(asked native)
endif()
if(asked STREQUAL "native" AND PYFNN_KNOWN_LEVELS)
  try_run(
    status compiled ${PROJECT_BINARY_DIR}/levels ${CMAKE_CURRENT_LIST_DIR}/levels.cpp
    CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${PROJECT_SOURCE_DIR}/native/cpp
    RUN_OUTPUT_VARIABLE runs
  )
  if(NOT compiled OR NOT status EQUAL 0)
    message(FATAL_ERROR "PYFNN_LEVELS=native: the levels of this CPU cannot be found; name one of ${PYFNN_KNOWN_LEVELS}, or all")
  endif()
  foreach(level ${PYFNN_KNOWN_LEVELS})
    if(level IN_LIST runs)
      set(PYFNN_BUILT_LEVELS ${level})
    endif()
  endforeach()
elseif(asked IN_LIST PYFNN_KNOWN_LEVELS)
  set(PYFNN_BUILT_LEVELS ${asked})
elseif(asked AND NOT asked MATCHES "^(all|native)$")
  message(FATAL_ERROR "PYFNN_LEVELS=${asked}: must be native, all, or one of ${PYFNN_KNOWN_LEVELS}")
endif()

# The variants of the plain parts: one of the same name for PYFNN_MARCH or, if that is "levels", one for each level.
set(PYFNN_VARIANTS here)
if(PYFNN_MARCH STREQUAL "levels")
  if(NOT PYFNN_BUILT_LEVELS)
    message(FATAL_ERROR "PYFNN_MARCH=levels: there are none for ${CMAKE_SYSTEM_PROCESSOR}; name a -march value")
  endif()
  set(PYFNN_VARIANTS ${PYFNN_BUILT_LEVELS})
  set(PYFNN_TUNING_DESCRIPTION "for each of ${PYFNN_BUILT_LEVELS}, chosen at run time")
  string(REPLACE ";" ", " PYFNN_TUNING_DESCRIPTION "${PYFNN_TUNING_DESCRIPTION}")
endif()

# No fast-math: the plain division computes as the source is written. -ffp-contract=fast only fuses a*b+c into one
# operation, which drops a rounding; both languages' standards allow it, but -std=c11 would switch it off.
set(PYFNN_COMMON "-O3 -ffp-contract=fast")
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(PYFNN_COMMON "-O0 -g")
endif()
set(PYFNN_STRICT -Wall -Wextra)
if(PYFNN_WERROR)
  list(APPEND PYFNN_STRICT -Werror)
endif()
if(PYFNN_SANITIZE)
  # -O0 compiles cpp-tuned under ASan and UBSan six times as fast as -O1, and removes no access before it is checked.
  # TSan's test is slow to run, not to compile.
  set(optimization -O0)
  if(PYFNN_SANITIZE STREQUAL "thread")
    set(optimization -O1)
  endif()
  set(PYFNN_COMMON "${optimization} -g1 -fsanitize=${PYFNN_SANITIZE} -fno-sanitize-recover=all")
  add_link_options(-fsanitize=${PYFNN_SANITIZE})
endif()
set(PYFNN_FLAGS "${PYFNN_COMMON} ${PYFNN_TUNING}")

# All flags of a compiler: CMAKE_<LANG>_FLAGS includes CFLAGS and CXXFLAGS of the environment.
set(CMAKE_C_FLAGS_RELEASE "-DNDEBUG")
set(CMAKE_CXX_FLAGS_RELEASE "-DNDEBUG")
string(TOUPPER "${CMAKE_BUILD_TYPE}" build)
foreach(language C CXX)
  set(flags "${CMAKE_${language}_FLAGS} ${CMAKE_${language}_FLAGS_${build}} ${PYFNN_COMMON}")
  string(REGEX REPLACE " +" " " flags "${flags}")
  string(STRIP "${flags}" flags)
  if(flags MATCHES "-Ofast|-ffast-math|-funsafe-math-optimizations|-fassociative-math|-ffinite-math-only")
    message(FATAL_ERROR "${CMAKE_MATCH_0} is set for ${language} (CFLAGS or CXXFLAGS?): nothing here may be compiled so")
  endif()
  set(PYFNN_${language}_FLAGS "${flags} ${PYFNN_TUNING_DESCRIPTION}")
  foreach(level ${PYFNN_BUILT_LEVELS})
    set(PYFNN_${language}_FLAGS_${level} "${flags} ${PYFNN_TUNING_${level}}")
    set(PYFNN_${language}_PLAIN_${level} "${flags} ${PYFNN_PLAIN_${level}}")
  endforeach()
endforeach()

# pyfnn_variant(<variant>): set, for a variant of the plain parts, `suffix`, the end of its targets' names; `level`, their
# arguments of pyfnn_target; and `c_flags`, which the C libraries report.
macro(pyfnn_variant variant)
  set(suffix "")
  set(level "")
  set(c_flags "${PYFNN_C_FLAGS}")
  if(NOT ${variant} STREQUAL "here")
    set(suffix _${variant})
    set(level PLAIN ${variant})
    set(c_flags "${PYFNN_C_PLAIN_${variant}}")
  endif()
endmacro()

# pyfnn_target(<target> [LEVEL|PLAIN <level>] <source>...): set the flags and warnings of a native target, and record its
# sources in the build info. It is compiled for the level if given, as a plain part for PLAIN; otherwise for PYFNN_MARCH.
function(pyfnn_target target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "LEVEL;PLAIN" "")
  set(flags "${PYFNN_FLAGS}")
  if(arg_LEVEL)
    set(flags "${PYFNN_COMMON} ${PYFNN_TUNING_${arg_LEVEL}}")
  elseif(arg_PLAIN)
    set(flags "${PYFNN_COMMON} ${PYFNN_PLAIN_${arg_PLAIN}}")
  endif()
  separate_arguments(flags UNIX_COMMAND "${flags}")
  target_compile_options(${target} PRIVATE ${flags} ${PYFNN_STRICT})
  pyfnn_record(${target} ${arg_UNPARSED_ARGUMENTS})
endfunction()

# pyfnn_record(<target> <source>...): record the sources of a target in the build info.
function(pyfnn_record target)
  set_property(GLOBAL APPEND PROPERTY PYFNN_TARGETS ${target})
  set(sources)
  foreach(source ${ARGN})
    file(SHA256 ${CMAKE_CURRENT_SOURCE_DIR}/${source} digest)
    file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR}/native ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    list(APPEND sources "        \"${path}\": \"${digest}\",")
    # Configure again after a change of a source, so that its digest is updated.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
  list(JOIN sources "\n" text)
  set_property(GLOBAL PROPERTY PYFNN_SOURCES_${target} "${text}")
endfunction()
