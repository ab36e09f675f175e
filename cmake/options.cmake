# What all native targets are compiled with: one place, so that the build info can quote it.
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

# -march=native is spelt -mcpu=native by some compilers for ARM.
check_c_compiler_flag("-march=${PYFNN_MARCH}" PYFNN_HAS_MARCH)
if(PYFNN_HAS_MARCH)
  set(PYFNN_TUNING "-march=${PYFNN_MARCH}")
else()
  set(PYFNN_TUNING "-mcpu=${PYFNN_MARCH}")
endif()

# No fast-math: the plain division computes what the source says. Contraction of a*b+c into one fused operation is not
# part of it (it drops a rounding, and both languages' standards allow it), but -std=c11 would switch it off.
set(PYFNN_FLAGS "-O3 -ffp-contract=fast ${PYFNN_TUNING}")
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(PYFNN_FLAGS "-O0 -g")
endif()
set(PYFNN_STRICT -Wall -Wextra)
if(PYFNN_WERROR)
  list(APPEND PYFNN_STRICT -Werror)
endif()
if(PYFNN_SANITIZE)
  set(PYFNN_FLAGS "-O1 -g ${PYFNN_TUNING} -fsanitize=${PYFNN_SANITIZE} -fno-sanitize-recover=all")
  add_link_options(-fsanitize=${PYFNN_SANITIZE})
endif()

# pyfnn_target(<target> <source>...): flags, warnings, and a word in the build info for one native target.
set(PYFNN_TARGETS "" CACHE INTERNAL "")
function(pyfnn_target target)
  separate_arguments(flags UNIX_COMMAND "${PYFNN_FLAGS}")
  target_compile_options(${target} PRIVATE ${flags} ${PYFNN_STRICT})
  set(PYFNN_TARGETS ${PYFNN_TARGETS} ${target} CACHE INTERNAL "")
  set(sources)
  foreach(source ${ARGN})
    file(SHA256 ${CMAKE_CURRENT_SOURCE_DIR}/${source} digest)
    file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR}/native ${CMAKE_CURRENT_SOURCE_DIR}/${source})
    list(APPEND sources "        \"${path}\": \"${digest}\",")
    # A change of a source must reach the digests too.
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
  list(JOIN sources "\n" text)
  set(PYFNN_SOURCES_${target} "${text}" CACHE INTERNAL "")
endfunction()
