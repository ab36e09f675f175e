// cpu_module.cpp: pyfnn._cpu, the bindings of levels.hpp, compiled for the architecture's baseline so that any CPU runs
// it. pyfnn loads the modules of higher levels only where this one lists them.
#include "../levels.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "The instruction-set levels that this CPU runs.";
  module.def("levels", fnn::levels);
}
