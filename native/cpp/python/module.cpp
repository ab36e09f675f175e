// module.cpp: pyfnn.backends._cpp, the bindings of mlp.hpp with each kind of products, and of the libraries that
// compute them.
#include "../models.hpp"
#include "binding.hpp"

namespace {

using fnn::Array, fnn::Functions, fnn::Sizes;

template <class Real>
fnn::Arguments<Real> arguments(const Sizes &sizes, const Functions &functions, const std::string &loss, double l2,
                               const Array<Real> &theta) {
  return {sizes, fnn::layer_functions(functions), loss, l2, theta.data()};
}

// Add the class `name`. Its last argument says what computes the products: the name of loops, or a library.
template <class Real> void bind(py::module_ &module, const char *name) {
  using Model = fnn::Model<Real>;
  py::class_<Model> bound(module, name);
  const auto add_constructor = [&bound](auto make) {
    bound.def(py::init(make), py::arg("sizes"), py::arg("functions"), py::arg("loss"), py::arg("l2"),
              py::arg("theta").noconvert(), py::arg("products").none(false));
  };
  add_constructor([](const Sizes &sizes, const Functions &functions, const std::string &loss, double l2,
                     const Array<Real> &theta, const std::string &products) {
    const auto given = arguments(sizes, functions, loss, l2, theta);
    if (products == "loops")
      return fnn::with_loops(given);
    if (products == "textbook")
      return fnn::with_triple_loops(given);
    throw py::value_error("mlp.hpp has no products " + products);
  });
  add_constructor(
      [](const Sizes &sizes, const Functions &functions, const std::string &loss, double l2, const Array<Real> &theta,
         fnn::Library library) { return fnn::with_library(arguments(sizes, functions, loss, l2, theta), library); });
  fnn::add_methods<Real>(bound);
}

// Add a function: the seconds of the products of a step alone, through a library.
template <class Real> void bind_bare_products(py::module_ &module, const char *name) {
  module.def(name, fnn::bare_products<Real>, py::arg("library").none(false), py::arg("sizes"), py::arg("batch"),
             py::arg("seconds"), py::call_guard<fnn::ReleaseGil>());
}

} // namespace

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "mlp.hpp: a feed-forward network in plain C++, its products in loops or through a library.";
  py::class_<fnn::OpenBlas>(module, "OpenBlas")
      .def(py::init<const std::string &>(), py::arg("path"))
      .def("set_threads", &fnn::OpenBlas::set_threads, py::arg("threads"))
      .def("threads", &fnn::OpenBlas::threads)
      .def("config", &fnn::OpenBlas::config)
      .def("core", &fnn::OpenBlas::core);
  py::class_<fnn::Mkl>(module, "Mkl")
      .def(py::init<const std::string &>(), py::arg("path"))
      .def("version", &fnn::Mkl::version)
      .def("branch", &fnn::Mkl::branch);
  py::class_<fnn::Xsmm>(module, "Xsmm")
      .def(py::init<const std::string &>(), py::arg("path"))
      .def("target", &fnn::Xsmm::target);
  bind<float>(module, "Mlp32");
  bind<double>(module, "Mlp64");
  bind_bare_products<float>(module, "bare_products32");
  bind_bare_products<double>(module, "bare_products64");
}
