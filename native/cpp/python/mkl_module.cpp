// mkl_module.cpp: pyfnn.backends._mkl, the bindings of mlp.hpp with the products of mkl.hpp.
#include "../mkl.hpp"
#include "binding.hpp"

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "mlp.hpp with its products computed by MKL.";
  using Library = std::shared_ptr<fnn::Mkl>;
  py::class_<fnn::Mkl, Library>(module, "Mkl")
      .def(py::init<const std::string &>(), py::arg("path"))
      .def("version", &fnn::Mkl::version)
      .def("branch", &fnn::Mkl::branch);
  fnn::bind<float, fnn::MklProducts<float>, Library>(module, "Mlp32", py::arg("library"));
  fnn::bind<double, fnn::MklProducts<double>, Library>(module, "Mlp64", py::arg("library"));
  fnn::bind_bare_products<float, fnn::MklProducts<float>, Library>(module, "bare_products32");
  fnn::bind_bare_products<double, fnn::MklProducts<double>, Library>(module, "bare_products64");
}
