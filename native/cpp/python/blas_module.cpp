// blas_module.cpp: pyfnn.backends._blas, the bindings of mlp.hpp with the products of blas.hpp.
#include "../blas.hpp"
#include "binding.hpp"

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "mlp.hpp with its products computed by CBLAS.";
  using Library = std::shared_ptr<fnn::OpenBlas>;
  py::class_<fnn::OpenBlas, Library>(module, "OpenBlas")
      .def(py::init<const std::string &>(), py::arg("path"))
      .def("set_threads", &fnn::OpenBlas::set_threads, py::arg("threads"))
      .def("threads", &fnn::OpenBlas::threads)
      .def("config", &fnn::OpenBlas::config)
      .def("core", &fnn::OpenBlas::core);
  fnn::bind<float, fnn::Blas<float>, Library>(module, "Mlp32", py::arg("library"));
  fnn::bind<double, fnn::Blas<double>, Library>(module, "Mlp64", py::arg("library"));
  fnn::bind_bare_products<float, fnn::Blas<float>, Library>(module, "bare_products32");
  fnn::bind_bare_products<double, fnn::Blas<double>, Library>(module, "bare_products64");
}
