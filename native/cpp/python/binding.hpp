// binding.hpp: the methods of the Python classes of all networks in C++. It holds bindings only: the implementations of
// ../model.hpp compute, pyfnn/backend.py validates.
#pragma once

#include "../model.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <utility>

namespace py = pybind11;

namespace fnn {

// Without forcecast and with noconvert() on the argument, pybind11 refuses another dtype or layout and never copies.
template <class T> using Array = py::array_t<T, py::array::c_style>;

// A call can take minutes and touches no Python object, so it lets other Python threads run. (Only one thread at a time
// uses a model.)
using ReleaseGil = py::gil_scoped_release;

using Sizes = std::vector<std::size_t>;
using Functions = std::vector<std::pair<std::string, double>>; // name and parameter of each layer's activation

inline std::vector<LayerFunction> layer_functions(const Functions &functions) {
  std::vector<LayerFunction> result;
  for (const auto &[name, parameter] : functions)
    result.push_back({name, parameter});
  return result;
}

template <class Real> Array<Real> forward(Model<Real> &model, std::size_t first, std::size_t count) {
  Array<Real> outputs({count, model.n_outputs()});
  Real *data = outputs.mutable_data();
  const ReleaseGil release;
  model.outputs(first, count, data);
  return outputs;
}

template <class Real> py::tuple loss_and_gradient(Model<Real> &model, std::size_t first, std::size_t count) {
  Array<Real> gradient(model.n_parameters());
  Real *data = gradient.mutable_data();
  double loss;
  {
    const ReleaseGil release;
    loss = model.loss_and_gradient(first, count, data);
  }
  return py::make_tuple(loss, gradient);
}

template <class Real>
py::tuple time(Model<Real> &model, const std::string &operation, std::size_t first, std::size_t count,
               std::size_t repeats, const Array<std::int64_t> &probes) {
  const auto timed = operation == "forward" ? Operation::forward : Operation::gradient;
  const std::int64_t *entries = probes.data();
  const auto n_probes = static_cast<std::size_t>(probes.size());
  Timing timing;
  {
    const ReleaseGil release;
    timing = model.timed_pass(timed, first, count, repeats, entries, n_probes);
  }
  return py::make_tuple(timing.seconds, timing.checksum);
}

// Return the number of steps and the state: (vectors, n_parameters).
template <class Real> py::tuple optimizer_state(const Model<Real> &model) {
  Array<Real> state({model.optimizer_vectors(), model.n_parameters()});
  model.copy_optimizer_state(state.mutable_data());
  return py::make_tuple(model.optimizer_steps(), state);
}

template <class Real> Array<Real> theta(const Model<Real> &model) {
  Array<Real> flat(model.n_parameters());
  model.copy_theta(flat.mutable_data());
  return flat;
}

// Add the methods of Model<Real> to the Python class of M: Model<Real>, or a class derived from it.
template <class Real, class M> void add_methods(py::class_<M> &bound) {
  bound
      .def(
          "load",
          [](M &model, const Array<Real> &x, const Array<Real> &y, const Array<std::int64_t> &order) {
            model.load(x.data(), y.data(), x.shape(0), order.data(), order.size());
          },
          py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("order").noconvert())
      .def(
          "forward", [](M &model, std::size_t first, std::size_t count) { return forward<Real>(model, first, count); },
          py::arg("first"), py::arg("count"))
      .def("loss", &M::loss, py::arg("first"), py::arg("count"), py::call_guard<ReleaseGil>())
      .def(
          "loss_and_gradient",
          [](M &model, std::size_t first, std::size_t count) { return loss_and_gradient<Real>(model, first, count); },
          py::arg("first"), py::arg("count"))
      .def("train", &M::train, py::arg("first"), py::arg("count"), py::arg("batch_size"), py::arg("learning_rate"),
           py::call_guard<ReleaseGil>())
      .def("train_with", &M::train_with, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rate"), py::call_guard<ReleaseGil>())
      .def(
          "set_optimizer", // state: (vectors, n_parameters)
          [](M &model, const std::string &name, const std::vector<double> &settings, std::int64_t steps,
             const Array<Real> &state) { model.set_optimizer(name, settings, steps, state.data()); },
          py::arg("name"), py::arg("settings"), py::arg("steps"), py::arg("state").noconvert())
      .def("optimizer_state", [](const M &model) { return optimizer_state<Real>(model); })
      .def(
          "time",
          [](M &model, const std::string &operation, std::size_t first, std::size_t count, std::size_t repeats,
             const Array<std::int64_t> &probes) { return time<Real>(model, operation, first, count, repeats, probes); },
          py::arg("operation"), py::arg("first"), py::arg("count"), py::arg("repeats"), py::arg("probes").noconvert())
      .def("is_finite", &M::is_finite)
      .def("theta", [](const M &model) { return theta<Real>(model); })
      .def(
          "set_theta", [](M &model, const Array<Real> &theta) { model.set_theta(theta.data()); },
          py::arg("theta").noconvert())
      .def("reset", &M::reset);
}

} // namespace fnn
