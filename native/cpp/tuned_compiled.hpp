// tuned_compiled.hpp: implements tuned_models.hpp by tuned/network.hpp and tuned/ensemble.hpp, for the files that
// compile it.
#pragma once

#include "tuned/ensemble.hpp"
#include "tuned_models.hpp"

namespace fnn::tuned {

template <class Real> class CompiledModel final : public ThreadedModel<Real> {
public:
  CompiledModel(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions,
                const std::string &loss, double l2, const Real *theta, std::size_t threads)
      : pool_(threads), mlp_(sizes, functions, loss, l2, theta, &pool_) {}

  std::size_t threads() const override {
    return pool_.size();
  }
  std::size_t n_outputs() const override {
    return mlp_.n_outputs();
  }
  std::size_t n_parameters() const override {
    return mlp_.n_parameters();
  }
  void load(const Real *x, const Real *y, std::size_t rows, const std::int64_t *order, std::size_t n_order) override {
    mlp_.load(std::make_shared<Data<Real>>(x, y, rows, mlp_.n_inputs(), mlp_.n_outputs()), order, n_order);
  }

  void copy_theta(Real *flat) const override {
    mlp_.theta(flat);
  }
  void set_theta(const Real *theta) override {
    mlp_.set_theta(theta);
  }
  void reset() override {
    mlp_.reset();
  }
  bool is_finite() const override {
    return mlp_.is_finite();
  }

  void outputs(std::size_t first, std::size_t count, Real *y) override {
    mlp_.outputs(first, count, y);
  }
  double loss(std::size_t first, std::size_t count) override {
    return mlp_.loss(first, count);
  }
  double loss_and_gradient(std::size_t first, std::size_t count, Real *gradient) override {
    return mlp_.loss_and_gradient(first, count, gradient);
  }

  double train(std::size_t first, std::size_t count, std::size_t batch_size, double rate) override {
    mlp_.prepare(count, batch_size);
    const auto start = Clock::now();
    mlp_.train(first, count, batch_size, static_cast<Real>(rate));
    return seconds_since(start);
  }
  double train_with(std::size_t first, std::size_t count, std::size_t batch_size, double rate) override {
    mlp_.prepare(count, batch_size);
    const auto start = Clock::now();
    mlp_.train_with(first, count, batch_size, rate);
    return seconds_since(start);
  }
  double train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, double rate, bool optimized,
                         double &seconds) override {
    mlp_.prepare(count, batch_size);
    const auto start = Clock::now();
    const double loss = mlp_.train_with_loss(first, count, batch_size, rate, optimized);
    seconds = seconds_since(start);
    return loss;
  }

  void set_optimizer(const std::string &name, const std::vector<double> &settings, std::int64_t steps,
                     const Real *state) override {
    mlp_.set_optimizer(name, settings, steps, state);
  }
  std::int64_t optimizer_steps() const override {
    return mlp_.optimizer().steps();
  }
  std::size_t optimizer_vectors() const override {
    return mlp_.optimizer().vectors();
  }
  void copy_optimizer_state(Real *state) const override {
    mlp_.optimizer_state(state);
  }

  Timing timed_pass(Operation operation, std::size_t first, std::size_t count, std::size_t repeats,
                    const std::int64_t *probes, std::size_t n_probes) override {
    return mlp_.timed_pass(operation, first, count, repeats, probes, n_probes);
  }

private:
  Pool pool_;
  Mlp<Real> mlp_;
};

template <class Real> class CompiledEnsemble final : public ThreadedEnsemble<Real> {
public:
  CompiledEnsemble(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions,
                   const std::string &loss, const double *l2, const Real *thetas, std::size_t members,
                   std::size_t n_parameters, std::size_t threads)
      : pool_(threads), networks_(sizes, functions, loss, l2, thetas, members, n_parameters, &pool_),
        inputs_(sizes.front()), outputs_(sizes.back()) {}

  std::size_t threads() const override {
    return pool_.size();
  }
  std::size_t size() const override {
    return networks_.size();
  }
  std::size_t n_parameters() const override {
    return networks_.n_parameters();
  }
  void load(const Real *x, const Real *y, std::size_t rows, const std::int64_t *orders, std::size_t n_order) override {
    networks_.load(std::make_shared<Data<Real>>(x, y, rows, inputs_, outputs_), orders, n_order);
  }
  double train(std::size_t first, std::size_t count, std::size_t batch_size, const double *rates) override {
    return networks_.train(first, count, batch_size, rates);
  }
  double train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, const double *rates,
                         double *losses) override {
    return networks_.train_with_loss(first, count, batch_size, rates, losses);
  }
  void copy_thetas(Real *flat) const override {
    networks_.thetas(flat);
  }
  void reset() override {
    networks_.reset();
  }

private:
  Pool pool_;
  Ensemble<Real> networks_;
  std::size_t inputs_, outputs_;
};

template <class Real>
std::unique_ptr<ThreadedModel<Real>> make_model(const std::vector<std::size_t> &sizes,
                                                const std::vector<LayerFunction> &functions, const std::string &loss,
                                                double l2, const Real *theta, std::size_t threads) {
  return std::make_unique<CompiledModel<Real>>(sizes, functions, loss, l2, theta, threads);
}

template <class Real>
std::unique_ptr<ThreadedEnsemble<Real>>
make_ensemble(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions,
              const std::string &loss, const double *l2, const Real *thetas, std::size_t members,
              std::size_t n_parameters, std::size_t threads) {
  return std::make_unique<CompiledEnsemble<Real>>(sizes, functions, loss, l2, thetas, members, n_parameters, threads);
}

template <class Real> bool apply_vector_math(const std::string &name, Real *x, std::size_t n) {
  constexpr std::size_t V = lanes<Real>;
  using Function = Vector<Real> (*)(Vector<Real>);
  static constexpr std::pair<const char *, Function> table[] = {
      {"exp", [](Vector<Real> v) { return exp<Real>(v); }},
      {"expm1", [](Vector<Real> v) { return expm1<Real>(v); }},
      {"tanh", [](Vector<Real> v) { return tanh(v); }},
      {"sigmoid", [](Vector<Real> v) { return sigmoid<Real>(v); }},
      {"softplus", [](Vector<Real> v) { return softplus<Real>(v); }},
  };
  for (const auto &[known, function] : table)
    if (name == known) {
      for (std::size_t i = 0; i < n; i += V) {
        const std::size_t taken = std::min(V, n - i);
        Vector<Real> v{};
        std::memcpy(&v, x + i, taken * sizeof(Real));
        v = function(v);
        std::memcpy(x + i, &v, taken * sizeof(Real));
      }
      return true;
    }
  return false;
}

} // namespace fnn::tuned

// Compile the functions of tuned_models.hpp for one type of numbers.
#define FNN_COMPILE(Real)                                                                                              \
  template std::unique_ptr<fnn::tuned::ThreadedModel<Real>> fnn::tuned::make_model(                                    \
      const std::vector<std::size_t> &, const std::vector<LayerFunction> &, const std::string &, double, const Real *, \
      std::size_t);                                                                                                    \
  template std::unique_ptr<fnn::tuned::ThreadedEnsemble<Real>> fnn::tuned::make_ensemble(                              \
      const std::vector<std::size_t> &, const std::vector<LayerFunction> &, const std::string &, const double *,       \
      const Real *, std::size_t, std::size_t, std::size_t);                                                            \
  template bool fnn::tuned::apply_vector_math(const std::string &, Real *, std::size_t);
