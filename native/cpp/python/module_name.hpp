// module_name.hpp: the name of an extension module, PYFNN_MODULE, as a text and in that of its initializer.
#pragma once

#define PYFNN_TEXT_OF(name) #name
#define PYFNN_TEXT(name) PYFNN_TEXT_OF(name)
#define PYFNN_JOINED(begin, name) begin##name
#define PYFNN_JOIN(begin, name) PYFNN_JOINED(begin, name)

#define PYFNN_MODULE_NAME PYFNN_TEXT(PYFNN_MODULE)
#define PYFNN_INITIALIZER PYFNN_JOIN(PyInit_, PYFNN_MODULE)
