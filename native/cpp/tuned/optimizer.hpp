// optimizer.hpp: the optimizers of ../optimizer.hpp on the padded matrices of a tuned network, a vector at a time. The
// threads share the weights of large layers. The padding stays 0: its gradient is 0.
#pragma once

#include "../optimizer.hpp"
#include "minibatch.hpp"

#include <algorithm>

namespace fnn::tuned {

// The state of one layer: up to two vectors for W, for b, and for the slopes.
template <class Real> struct LayerState {
  Buffer<Real> W[2], b[2], S[2]; // as Layer::W, Layer::b and Layer::S
};

template <class Real> class OptimizerStep {
public:
  // Select an optimizer; set_state sets its state.
  void select(const Layers<Real> &layers, const std::string &name, const std::vector<double> &settings) {
    const Row &row = find_optimizer(table, name, settings);
    std::vector<LayerState<Real>> states(layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l)
      for (std::size_t k = 0; k < 2; ++k) {
        states[l].W[k] = Buffer<Real>(k < row.vectors ? layers[l].W_size() : 0);
        states[l].b[k] = Buffer<Real>(k < row.vectors ? layers[l].columns : 0);
        states[l].S[k] = Buffer<Real>(k < row.vectors ? layers[l].S.size() : 0);
      }
    settings_ = settings;
    states_ = std::move(states);
    row_ = &row;
    steps_ = 0;
  }

  std::size_t vectors() const {
    return row_ ? row_->vectors : 0;
  }
  std::int64_t steps() const {
    return steps_;
  }

  // Copy the state out or in.   flat: (vectors, n_parameters), each vector laid out as theta
  void state(const Layers<Real> &layers, Real *flat, std::size_t n_parameters) const {
    for (std::size_t k = 0; k < vectors(); ++k)
      for (std::size_t l = 0; l < layers.size(); ++l)
        layers[l].flatten(states_[l].W[k], states_[l].b[k], states_[l].S[k], flat + k * n_parameters);
  }
  void set_state(const Layers<Real> &layers, const Real *flat, std::size_t n_parameters, std::int64_t steps) {
    for (std::size_t k = 0; k < vectors(); ++k)
      for (std::size_t l = 0; l < layers.size(); ++l)
        layers[l].unflatten(flat + k * n_parameters, states_[l].W[k], states_[l].b[k], states_[l].S[k]);
    steps_ = steps;
  }

  // Update W, b and slopes of every layer from their gradients.
  void step(Layers<Real> &layers, double rate, Pool *pool) {
    const Factors<Real> factors = row_->factors(settings_, rate, ++steps_);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Layer<Real> &layer = layers[l];
      LayerState<Real> &state = states_[l];
      share(pool, work_of_a_number * layer.W_size(), [&](std::size_t part, std::size_t parts) {
        row_->pass(layer.W, layer.dW, state.W, part_of(layer.W_size(), part, parts, lanes<Real>), factors);
      });
      row_->pass(layer.b, layer.db, state.b, {0, layer.columns}, factors);
      row_->pass(layer.S, layer.dS, state.S, {0, layer.S.size()}, factors);
    }
  }

  // Do what the backward pass and step do, for one sample whose delta_L is computed: W is read once for W delta and its
  // own update, and its gradient is not stored.   x: (m_0)
  void backward_and_step(Layers<Real> &layers, const Real *x, Real lambda, double rate, Pool *pool) {
    const Factors<Real> factors = row_->factors(settings_, rate, ++steps_);
    for (std::size_t l = layers.size(); l-- > 0;) {
      Layer<Real> &layer = layers[l], *below = l > 0 ? &layers[l - 1] : nullptr;
      LayerState<Real> &state = states_[l];
      const Real *a_below = below ? below->A.data() : x;
      Real *dA_below = below ? below->dA_before_delta() : nullptr;
      share(pool, work_of_a_number * layer.W_size(), [&](std::size_t part, std::size_t parts) {
        const Range inputs = part_of(layer.inputs, part, parts, lanes<Real>);
        row_->pass_of_sample(layer, state, a_below, dA_below, lambda, inputs, factors);
      });
      row_->pass(layer.b, layer.delta, state.b, {0, layer.columns}, factors);
      row_->pass(layer.S, layer.dS, state.S, {0, layer.S.size()}, factors);
      if (below) {
        std::fill(dA_below + layer.inputs, dA_below + layer.columns_below, Real(0));
        below->multiply_by_derivative(1, below->A.data());
      }
    }
  }

private:
  static constexpr std::size_t work_of_a_number = 10; // multiply-adds that take about as long as one update

  // Apply an update to a range of numbers, from their gradient.
  using Pass = void (*)(Buffer<Real> &theta, const Buffer<Real> &gradient, Buffer<Real> (&state)[2], Range numbers,
                        const Factors<Real> &factors);
  // Compute W delta for a range of the inputs, unless dA_below is null, and apply the update to their rows of W.
  using PassOfSample = void (*)(Layer<Real> &layer, LayerState<Real> &state, const Real *a_below, Real *dA_below,
                                Real lambda, Range inputs, const Factors<Real> &factors);
  struct Row : OptimizerRow<Real, Pass> {
    PassOfSample pass_of_sample;
  };

  // Theta and its state, or a matrix of it.
  template <std::size_t vectors> struct Numbers {
    Real *theta, *first, *second;

    Numbers(const Buffer<Real> &of, const Buffer<Real> (&state)[2])
        : theta(of.data()), first(state[0].data()), second(state[vectors - 1].data()) {}

    // Update the vector of numbers from i on, from their gradient g.
    template <class Update> FNN_INLINE void update(std::size_t i, Vector<Real> g, const Factors<Real> &factors) const {
      Vector<Real> value = load(theta + i), one = load(first + i), other = load(second + i);
      Update::apply(value, g, one, other, factors, [](Vector<Real> v) { return root<Real>(v); });
      store(theta + i, value);
      store(first + i, one);
      if constexpr (vectors > 1)
        store(second + i, other);
    }
  };

  template <class Update, std::size_t vectors>
  static void pass(Buffer<Real> &theta, const Buffer<Real> &gradient, Buffer<Real> (&state)[2], Range numbers,
                   const Factors<Real> &given) {
    const Numbers<vectors> to(theta, state);
    const Real *const from = gradient.data();
    const Factors<Real> factors = given; // a copy, which no store can change
    for (std::size_t i = numbers.begin; i < numbers.end; i += lanes<Real>)
      to.template update<Update>(i, load(from + i), factors);
  }

  template <class Update, std::size_t vectors>
  static void pass_of_sample(Layer<Real> &layer, LayerState<Real> &state, const Real *a_below, Real *dA_below,
                             Real lambda, Range inputs, const Factors<Real> &given) {
    const Numbers<vectors> W(layer.W, state.W);
    const Real *const delta = layer.delta.data();
    const std::size_t stride = layer.stride, columns = layer.columns;
    const Factors<Real> factors = given;
    for (std::size_t i = inputs.begin; i < inputs.end; ++i) {
      const Vector<Real> a = broadcast(a_below[i]);
      Vector<Real> products{};
      for (std::size_t j = 0; j < columns; j += lanes<Real>) {
        const Vector<Real> w = load(W.theta + i * stride + j), d = load(delta + j);
        products += w * d;
        W.template update<Update>(i * stride + j, a * d + lambda * w, factors);
      }
      if (dA_below)
        dA_below[i] = sum<Real>(products);
    }
  }

  static constexpr std::array<Row, 3> table{{
      {{"momentum", 1, 1, momentum_factors<Real>, pass<MomentumUpdate, 1>}, pass_of_sample<MomentumUpdate, 1>},
      {{"nesterov", 1, 1, momentum_factors<Real>, pass<NesterovUpdate, 1>}, pass_of_sample<NesterovUpdate, 1>},
      {{"adam", 2, 3, adam_factors<Real>, pass<AdamUpdate, 2>}, pass_of_sample<AdamUpdate, 2>},
  }};

  const Row *row_ = nullptr;
  std::vector<double> settings_;
  std::int64_t steps_ = 0;
  std::vector<LayerState<Real>> states_; // one per layer
};

} // namespace fnn::tuned
