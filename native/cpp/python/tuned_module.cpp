// tuned_module.cpp: pyfnn.backends._tuned_<level>, the bindings of tuned_models.hpp, compiled for one instruction-set
// level. It holds bindings only: tuned/ computes, pyfnn/backend.py and pyfnn/ensemble.py validate.
#include "../tuned/simd.hpp"
#include "../tuned_models.hpp"
#include "binding.hpp"

namespace tuned = fnn::tuned;

namespace {

using fnn::Array, fnn::Functions, fnn::ReleaseGil, fnn::Sizes;

template <class Real> void bind_model(py::module_ &module, const char *name) {
  using M = tuned::ThreadedModel<Real>;
  py::class_<M> bound(module, name, py::module_local());
  bound
      .def(py::init([](const Sizes &sizes, const Functions &functions, const std::string &loss, double l2,
                       const Array<Real> &theta, std::size_t threads) {
             return tuned::make_model(sizes, fnn::layer_functions(functions), loss, l2, theta.data(), threads);
           }),
           py::arg("sizes"), py::arg("functions"), py::arg("loss"), py::arg("l2"), py::arg("theta").noconvert(),
           py::arg("threads"))
      .def(
          "train_with_loss", // returns the seconds and the running loss
          [](M &model, std::size_t first, std::size_t count, std::size_t batch_size, double rate, bool optimized) {
            const ReleaseGil release;
            double seconds;
            const double loss = model.train_with_loss(first, count, batch_size, rate, optimized, seconds);
            return std::pair(seconds, loss);
          },
          py::arg("first"), py::arg("count"), py::arg("batch_size"), py::arg("learning_rate"), py::arg("optimized"))
      .def_property_readonly("threads", &M::threads);
  fnn::add_methods<Real>(bound);
}

// Return the seconds, and the running loss of each member: (members).
template <class Real>
py::tuple train_with_loss(tuned::ThreadedEnsemble<Real> &ensemble, std::size_t first, std::size_t count,
                          std::size_t batch_size, const Array<double> &rates) {
  Array<double> losses(ensemble.size());
  const double *each = rates.data();
  double *data = losses.mutable_data();
  double seconds;
  {
    const ReleaseGil release;
    seconds = ensemble.train_with_loss(first, count, batch_size, each, data);
  }
  return py::make_tuple(seconds, losses);
}

template <class Real> void bind_ensemble(py::module_ &module, const char *name) {
  using E = tuned::ThreadedEnsemble<Real>;
  py::class_<E>(module, name, py::module_local())
      .def(py::init([](const Sizes &sizes, const Functions &functions, const std::string &loss, const Array<double> &l2,
                       const Array<Real> &thetas, std::size_t threads) {
             return tuned::make_ensemble(sizes, fnn::layer_functions(functions), loss, l2.data(), thetas.data(),
                                         thetas.shape(0), thetas.shape(1), threads);
           }),
           py::arg("sizes"), py::arg("functions"), py::arg("loss"), py::arg("l2").noconvert(),
           py::arg("thetas").noconvert(), py::arg("threads"))
      .def(
          "load",
          [](E &ensemble, const Array<Real> &x, const Array<Real> &y, const Array<std::int64_t> &orders) {
            ensemble.load(x.data(), y.data(), x.shape(0), orders.data(), orders.shape(1));
          },
          py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("orders").noconvert())
      .def(
          "train",
          [](E &ensemble, std::size_t first, std::size_t count, std::size_t batch_size, const Array<double> &rates) {
            const double *each = rates.data();
            const ReleaseGil release;
            return ensemble.train(first, count, batch_size, each);
          },
          py::arg("first"), py::arg("count"), py::arg("batch_size"), py::arg("learning_rates").noconvert())
      .def("train_with_loss", train_with_loss<Real>, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rates").noconvert())
      .def("thetas",
           [](const E &ensemble) {
             Array<Real> flat({ensemble.size(), ensemble.n_parameters()});
             ensemble.copy_thetas(flat.mutable_data());
             return flat;
           })
      .def("reset", &E::reset)
      .def_property_readonly("threads", &E::threads);
}

// Apply a function of vector_math.hpp to an array, so that tests can measure its errors.   x: (n)
template <class Real> Array<Real> vector_math(const std::string &name, const Array<Real> &x) {
  Array<Real> y(x.size(), x.data());
  if (!tuned::apply_vector_math(name, y.mutable_data(), static_cast<std::size_t>(x.size())))
    throw py::value_error("vector_math.hpp has no " + name);
  return y;
}

} // namespace

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "network.hpp: a feed-forward network tuned to the machine, at one instruction-set level.";
  module.attr("vector_bytes") = tuned::vector_bytes;
  bind_model<float>(module, "Mlp32");
  bind_model<double>(module, "Mlp64");
  bind_ensemble<float>(module, "Ensemble32");
  bind_ensemble<double>(module, "Ensemble64");
  module.def("vector_math", vector_math<float>, py::arg("name"), py::arg("x").noconvert());
  module.def("vector_math", vector_math<double>, py::arg("name"), py::arg("x").noconvert());
}
