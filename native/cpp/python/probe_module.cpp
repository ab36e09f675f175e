// probe_module.cpp: pyfnn._probe_<level>, the bindings of peak.hpp, compiled for one instruction-set level.
#include "../peak.hpp"

#include <pybind11/pybind11.h>

#include <string>

namespace py = pybind11;

namespace {

double peak(const std::string &dtype, std::size_t threads, double seconds) {
  if (threads < 1)
    throw py::value_error("threads = 0: must be at least 1");
  if (dtype == "float32")
    return fnn::peak<float>(threads, seconds);
  if (dtype == "float64")
    return fnn::peak<double>(threads, seconds);
  throw py::value_error("dtype = '" + dtype + "': must be float32 or float64");
}

double bandwidth(const std::string &traffic, std::size_t threads, std::size_t bytes, double seconds) {
  if (threads < 1)
    throw py::value_error("threads = 0: must be at least 1");
  if (traffic == "read")
    return fnn::bandwidth(fnn::Traffic::read, threads, bytes, seconds);
  if (traffic == "copy")
    return fnn::bandwidth(fnn::Traffic::copy, threads, bytes, seconds);
  if (traffic == "triad")
    return fnn::bandwidth(fnn::Traffic::triad, threads, bytes, seconds);
  throw py::value_error("traffic = '" + traffic + "': must be read, copy or triad");
}

} // namespace

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "peak.hpp: the peak rates of this machine, at one instruction-set level.";
  using ReleaseGil = py::call_guard<py::gil_scoped_release>;
  module.def("peak", peak, py::arg("dtype"), py::arg("threads"), py::arg("seconds"), ReleaseGil());
  module.def("bandwidth", bandwidth, py::arg("traffic"), py::arg("threads"), py::arg("bytes"), py::arg("seconds"),
             ReleaseGil());
}
