// binding.hpp: the Python class of an Mlp, for any implementation of its products. It holds bindings only: mlp.hpp
// computes, pyfnn/backend.py validates.
#pragma once

#include "../bare_products.hpp"
#include "../mlp.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace fnn {

// Without forcecast and with noconvert() on the argument, pybind11 refuses another dtype or layout and never copies.
template <class T> using Array = py::array_t<T, py::array::c_style>;

// A call can take minutes and touches no Python object, so it lets other Python threads run. (Only one thread at a time
// uses a model.)
using ReleaseGil = py::gil_scoped_release;

template <class Real, class Products>
Array<Real> forward(Mlp<Real, Products> &mlp, std::size_t first, std::size_t count) {
  Array<Real> outputs({count, mlp.n_outputs()});
  Real *data = outputs.mutable_data();
  const ReleaseGil release;
  mlp.outputs(first, count, data);
  return outputs;
}

template <class Real, class Products>
py::tuple loss_and_gradient(Mlp<Real, Products> &mlp, std::size_t first, std::size_t count) {
  Array<Real> gradient(mlp.theta().size());
  Real *data = gradient.mutable_data();
  double loss;
  {
    const ReleaseGil release;
    loss = mlp.loss_and_gradient(first, count, data);
  }
  return py::make_tuple(loss, gradient);
}

template <class Real, class Products>
py::tuple time(Mlp<Real, Products> &mlp, const std::string &operation, std::size_t first, std::size_t count,
               std::size_t repeats, const Array<std::int64_t> &probes) {
  const auto timed = operation == "forward" ? Operation::forward : Operation::gradient;
  const std::int64_t *entries = probes.data();
  const auto n_probes = static_cast<std::size_t>(probes.size());
  Timing timing;
  {
    const ReleaseGil release;
    timing = mlp.timed_pass(timed, first, count, repeats, entries, n_probes);
  }
  return py::make_tuple(timing.seconds, timing.checksum);
}

// Select an optimizer, with its state.   state: (vectors, n_parameters)
template <class Model, class Real>
void set_optimizer(Model &model, const std::string &name, const std::vector<double> &settings, std::int64_t steps,
                   const Array<Real> &state) {
  model.set_optimizer(name, settings, steps, state.data());
}

// Return the number of steps and the state: (vectors, n_parameters).
template <class Real, class Products> py::tuple optimizer_state(const Mlp<Real, Products> &mlp) {
  const auto &vectors = mlp.optimizer().vectors();
  Array<Real> state({vectors.size(), mlp.theta().size()});
  for (std::size_t k = 0; k < vectors.size(); ++k)
    std::copy(vectors[k].begin(), vectors[k].end(), state.mutable_data(k));
  return py::make_tuple(mlp.optimizer().steps(), state);
}

// Add the class `name` to the module. Further: the types of the arguments that construct Products, with a py::arg each.
template <class Real, class Products, class... Further, class... Arg>
void bind(py::module_ &module, const char *name, Arg... further) {
  using Model = Mlp<Real, Products>;
  using Functions = std::vector<LayerFunction>;
  using Sizes = std::vector<std::size_t>;
  py::class_<Model>(module, name)
      .def(py::init([](const Sizes &sizes, const Functions &functions, const std::string &loss, double l2,
                       const Array<Real> &theta, const Further &...arguments) {
             return Model(sizes, functions, loss, l2, theta.data(), Products(arguments...));
           }),
           py::arg("sizes"), py::arg("functions"), py::arg("loss"), py::arg("l2"), py::arg("theta").noconvert(),
           further...)
      .def(
          "load",
          [](Model &mlp, const Array<Real> &x, const Array<Real> &y, const Array<std::int64_t> &order) {
            mlp.load(x.data(), y.data(), x.shape(0), order.data(), order.size());
          },
          py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("order").noconvert())
      .def("forward", forward<Real, Products>, py::arg("first"), py::arg("count"))
      .def(
          "loss", [](Model &mlp, std::size_t first, std::size_t count) { return mlp.loss(first, count); },
          py::arg("first"), py::arg("count"), py::call_guard<ReleaseGil>())
      .def("loss_and_gradient", loss_and_gradient<Real, Products>, py::arg("first"), py::arg("count"))
      .def("train", &Model::train, py::arg("first"), py::arg("count"), py::arg("batch_size"), py::arg("learning_rate"),
           py::call_guard<ReleaseGil>())
      .def("train_with", &Model::train_with, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rate"), py::call_guard<ReleaseGil>())
      .def("set_optimizer", set_optimizer<Model, Real>, py::arg("name"), py::arg("settings"), py::arg("steps"),
           py::arg("state").noconvert())
      .def("optimizer_state", optimizer_state<Real, Products>)
      .def("time", time<Real, Products>, py::arg("operation"), py::arg("first"), py::arg("count"), py::arg("repeats"),
           py::arg("probes").noconvert())
      .def("is_finite", &Model::is_finite)
      .def("theta", [](const Model &mlp) { return Array<Real>(mlp.theta().size(), mlp.theta().data()); })
      .def(
          "set_theta", [](Model &mlp, const Array<Real> &theta) { mlp.set_theta(theta.data()); },
          py::arg("theta").noconvert())
      .def("reset", &Model::reset);
}

// Add the function `name` to the module: the seconds of the products of a step alone, through this library.
template <class Real, class Products, class Library> void bind_bare_products(py::module_ &module, const char *name) {
  module.def(
      name,
      [](const Library &library, const std::vector<std::size_t> &sizes, std::size_t batch, double seconds) {
        return BareProducts<Real, Products>(Products(library), sizes, batch).fastest(seconds);
      },
      py::arg("library"), py::arg("sizes"), py::arg("batch"), py::arg("seconds"), py::call_guard<ReleaseGil>());
}

} // namespace fnn
