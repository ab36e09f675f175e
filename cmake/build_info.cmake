# Writes pyfnn/_build_info.py: what compiled the native parts, how, for which CPU, from which sources.
set(PYFNN_SOURCE_TABLE "")
get_property(targets GLOBAL PROPERTY PYFNN_TARGETS)
foreach(target ${targets})
  get_property(sources GLOBAL PROPERTY PYFNN_SOURCES_${target})
  string(APPEND PYFNN_SOURCE_TABLE "    \"${target}\": {\n${sources}\n    },\n")
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/_build_info.py.in ${PROJECT_BINARY_DIR}/_build_info.py @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/_build_info.py DESTINATION pyfnn)
