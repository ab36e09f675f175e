// cpu_module.cpp: pyfnn._cpu, levels.hpp for Python. Compiled for the baseline of the architecture; what is compiled
// for the levels is elsewhere, and is loaded only where this says so.
#include "levels.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "What this CPU runs.";
  module.def("levels", fnn::levels);
}
