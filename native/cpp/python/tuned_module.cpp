// tuned_module.cpp: pyfnn.backends._tuned_<level>, the bindings of tuned/network.hpp and tuned/ensemble.hpp, compiled
// for one instruction-set level. It holds bindings only: tuned/ computes, pyfnn/backend.py and pyfnn/ensemble.py
// validate.
#include "../tuned/ensemble.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
namespace tuned = fnn::tuned;

namespace {

// Without forcecast and with noconvert() on the argument, pybind11 refuses another dtype or layout and never copies.
template <class T> using Array = py::array_t<T, py::array::c_style>;
using Sizes = std::vector<std::size_t>;
using Functions = std::vector<std::pair<std::string, double>>; // name and parameter of each layer's activation

// A call can take minutes and touches no Python object, so it lets other Python threads run. (Only one thread at a time
// uses a model.)
using ReleaseGil = py::gil_scoped_release;

std::vector<tuned::LayerFunction> layer_functions(const Functions &functions) {
  std::vector<tuned::LayerFunction> result;
  for (const auto &[name, parameter] : functions)
    result.push_back({name, parameter});
  return result;
}

// A network with its own threads.
template <class Real> struct Model {
  tuned::Pool pool;
  tuned::Mlp<Real> mlp;

  Model(const Sizes &sizes, const Functions &functions, const std::string &loss, double l2, const Array<Real> &theta,
        std::size_t threads)
      : pool(threads), mlp(sizes, layer_functions(functions), loss, l2, theta.data(), &pool) {}

  void load(const Array<Real> &x, const Array<Real> &y, const Array<std::int64_t> &order) {
    mlp.load(std::make_shared<tuned::Data<Real>>(x.data(), y.data(), x.shape(0), mlp.n_inputs(), mlp.n_outputs()),
             order.data(), order.size());
  }
  Array<Real> forward(std::size_t first, std::size_t count) {
    Array<Real> outputs({count, mlp.n_outputs()});
    Real *data = outputs.mutable_data();
    const ReleaseGil release;
    mlp.outputs(first, count, data);
    return outputs;
  }
  double loss(std::size_t first, std::size_t count) {
    const ReleaseGil release;
    return mlp.loss(first, count);
  }
  py::tuple loss_and_gradient(std::size_t first, std::size_t count) {
    Array<Real> gradient(mlp.n_parameters());
    Real *data = gradient.mutable_data();
    double loss;
    {
      const ReleaseGil release;
      loss = mlp.loss_and_gradient(first, count, data);
    }
    return py::make_tuple(loss, gradient);
  }
  double train(std::size_t first, std::size_t count, std::size_t batch_size, double rate) {
    const ReleaseGil release;
    mlp.prepare(count, batch_size);
    const auto start = tuned::Clock::now();
    mlp.train(first, count, batch_size, static_cast<Real>(rate));
    return tuned::seconds_since(start);
  }
  double train_with(std::size_t first, std::size_t count, std::size_t batch_size, double rate) {
    const ReleaseGil release;
    mlp.prepare(count, batch_size);
    const auto start = tuned::Clock::now();
    mlp.train_with(first, count, batch_size, rate);
    return tuned::seconds_since(start);
  }
  // Return the seconds and the running loss.
  std::pair<double, double> train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, double rate,
                                            bool optimized) {
    const ReleaseGil release;
    mlp.prepare(count, batch_size);
    const auto start = tuned::Clock::now();
    const double loss = mlp.train_with_loss(first, count, batch_size, rate, optimized);
    return {tuned::seconds_since(start), loss};
  }
  // state: (vectors, n_parameters)
  void set_optimizer(const std::string &name, const std::vector<double> &settings, std::int64_t steps,
                     const Array<Real> &state) {
    mlp.set_optimizer(name, settings, steps, state.data());
  }
  // Return the number of steps and the state: (vectors, n_parameters).
  py::tuple optimizer_state() const {
    Array<Real> state({mlp.optimizer().vectors(), mlp.n_parameters()});
    mlp.optimizer_state(state.mutable_data());
    return py::make_tuple(mlp.optimizer().steps(), state);
  }
  py::tuple time(const std::string &operation, std::size_t first, std::size_t count, std::size_t repeats,
                 const Array<std::int64_t> &probes) {
    const auto timed = operation == "forward" ? tuned::Operation::forward : tuned::Operation::gradient;
    const std::int64_t *entries = probes.data();
    const auto n_probes = static_cast<std::size_t>(probes.size());
    tuned::Timing timing;
    {
      const ReleaseGil release;
      timing = mlp.timed_pass(timed, first, count, repeats, entries, n_probes);
    }
    return py::make_tuple(timing.seconds, timing.checksum);
  }
  Array<Real> theta() const {
    Array<Real> flat(mlp.n_parameters());
    mlp.theta(flat.mutable_data());
    return flat;
  }
};

// Many networks with the threads that they share.
template <class Real> struct Ensemble {
  tuned::Pool pool;
  tuned::Ensemble<Real> networks;
  std::size_t inputs, outputs;

  Ensemble(const Sizes &sizes, const Functions &functions, const std::string &loss, const Array<double> &l2,
           const Array<Real> &thetas, std::size_t threads)
      : pool(threads), networks(sizes, layer_functions(functions), loss, l2.data(), thetas.data(), thetas.shape(0),
                                thetas.shape(1), &pool),
        inputs(sizes.front()), outputs(sizes.back()) {}

  void load(const Array<Real> &x, const Array<Real> &y, const Array<std::int64_t> &orders) {
    networks.load(std::make_shared<tuned::Data<Real>>(x.data(), y.data(), x.shape(0), inputs, outputs), orders.data(),
                  orders.shape(1));
  }
  double train(std::size_t first, std::size_t count, std::size_t batch_size, const Array<double> &rates) {
    const double *each = rates.data();
    const ReleaseGil release;
    return networks.train(first, count, batch_size, each);
  }
  // Return the seconds, and the running loss of each member: (members).
  py::tuple train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, const Array<double> &rates) {
    Array<double> losses(networks.size());
    const double *each = rates.data();
    double *data = losses.mutable_data();
    double seconds;
    {
      const ReleaseGil release;
      seconds = networks.train_with_loss(first, count, batch_size, each, data);
    }
    return py::make_tuple(seconds, losses);
  }
  Array<Real> thetas() const {
    Array<Real> flat({networks.size(), networks.n_parameters()});
    networks.thetas(flat.mutable_data());
    return flat;
  }
};

template <class Real> void bind(py::module_ &module, const std::string &bits) {
  using M = Model<Real>;
  py::class_<M>(module, ("Mlp" + bits).c_str())
      .def(py::init<const Sizes &, const Functions &, const std::string &, double, const Array<Real> &, std::size_t>(),
           py::arg("sizes"), py::arg("functions"), py::arg("loss"), py::arg("l2"), py::arg("theta").noconvert(),
           py::arg("threads"))
      .def("load", &M::load, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("order").noconvert())
      .def("forward", &M::forward, py::arg("first"), py::arg("count"))
      .def("loss", &M::loss, py::arg("first"), py::arg("count"))
      .def("loss_and_gradient", &M::loss_and_gradient, py::arg("first"), py::arg("count"))
      .def("train", &M::train, py::arg("first"), py::arg("count"), py::arg("batch_size"), py::arg("learning_rate"))
      .def("train_with", &M::train_with, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rate"))
      .def("train_with_loss", &M::train_with_loss, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rate"), py::arg("optimized"))
      .def("set_optimizer", &M::set_optimizer, py::arg("name"), py::arg("settings"), py::arg("steps"),
           py::arg("state").noconvert())
      .def("optimizer_state", &M::optimizer_state)
      .def("time", &M::time, py::arg("operation"), py::arg("first"), py::arg("count"), py::arg("repeats"),
           py::arg("probes").noconvert())
      .def("is_finite", [](const M &model) { return model.mlp.is_finite(); })
      .def("theta", &M::theta)
      .def(
          "set_theta", [](M &model, const Array<Real> &theta) { model.mlp.set_theta(theta.data()); },
          py::arg("theta").noconvert())
      .def("reset", [](M &model) { model.mlp.reset(); })
      .def_property_readonly("threads", [](const M &model) { return model.pool.size(); });

  using E = Ensemble<Real>;
  py::class_<E>(module, ("Ensemble" + bits).c_str())
      .def(py::init<const Sizes &, const Functions &, const std::string &, const Array<double> &, const Array<Real> &,
                    std::size_t>(),
           py::arg("sizes"), py::arg("functions"), py::arg("loss"), py::arg("l2").noconvert(),
           py::arg("thetas").noconvert(), py::arg("threads"))
      .def("load", &E::load, py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("orders").noconvert())
      .def("train", &E::train, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rates").noconvert())
      .def("train_with_loss", &E::train_with_loss, py::arg("first"), py::arg("count"), py::arg("batch_size"),
           py::arg("learning_rates").noconvert())
      .def("thetas", &E::thetas)
      .def("reset", [](E &ensemble) { ensemble.networks.reset(); })
      .def_property_readonly("threads", [](const E &ensemble) { return ensemble.pool.size(); });
}

// Apply a function of vector_math.hpp to an array, so that tests can measure its errors.   x: (n)
template <class Real> Array<Real> vector_math(const std::string &name, const Array<Real> &x) {
  constexpr std::size_t V = tuned::lanes<Real>;
  using Function = tuned::Vector<Real> (*)(tuned::Vector<Real>);
  static constexpr std::pair<const char *, Function> table[] = {
      {"exp", [](tuned::Vector<Real> v) { return tuned::exp<Real>(v); }},
      {"expm1", [](tuned::Vector<Real> v) { return tuned::expm1<Real>(v); }},
      {"tanh", [](tuned::Vector<Real> v) { return tuned::tanh(v); }},
      {"sigmoid", [](tuned::Vector<Real> v) { return tuned::sigmoid<Real>(v); }},
      {"softplus", [](tuned::Vector<Real> v) { return tuned::softplus<Real>(v); }},
  };
  for (const auto &[known, function] : table)
    if (name == known) {
      Array<Real> y(x.size());
      for (std::size_t i = 0, size = x.size(); i < size; i += V) {
        const std::size_t n = std::min(V, size - i);
        tuned::Vector<Real> v{};
        std::memcpy(&v, x.data() + i, n * sizeof(Real));
        v = function(v);
        std::memcpy(y.mutable_data() + i, &v, n * sizeof(Real));
      }
      return y;
    }
  throw py::value_error("vector_math.hpp has no " + name);
}

} // namespace

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "network.hpp: a feed-forward network tuned to the machine, at one instruction-set level.";
  module.attr("vector_bytes") = tuned::vector_bytes;
  bind<float>(module, "32");
  bind<double>(module, "64");
  module.def("vector_math", vector_math<float>, py::arg("name"), py::arg("x").noconvert());
  module.def("vector_math", vector_math<double>, py::arg("name"), py::arg("x").noconvert());
}
