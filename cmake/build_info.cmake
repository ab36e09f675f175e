# Writes pyfnn/_build_info.py: what compiled the native parts, how, for which CPU, from which sources.
set(PYFNN_SOURCE_TABLE "")
foreach(target ${PYFNN_TARGETS})
  string(APPEND PYFNN_SOURCE_TABLE "    \"${target}\": {\n${PYFNN_SOURCES_${target}}\n    },\n")
endforeach()
string(STRIP "${PYFNN_FLAGS}" PYFNN_FLAGS)
configure_file(${CMAKE_CURRENT_LIST_DIR}/_build_info.py.in ${PROJECT_BINARY_DIR}/_build_info.py @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/_build_info.py DESTINATION pyfnn)
