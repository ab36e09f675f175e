// optimizer.hpp: how theta follows from its gradient by momentum, Nesterov's momentum and Adam: the formulas of one
// number, and a state for vectors laid out as theta. tuned/optimizer.hpp applies the same formulas to padded matrices.
// Nothing here computes a gradient.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fnn {

// What one step multiplies by, in the type of theta.
template <class Real> struct Factors {
  Real rate, momentum; // momentum, nesterov
  Real keep_1, add_1;  // adam: beta_1 and 1 - beta_1
  Real keep_2, add_2;  // beta_2 and 1 - beta_2
  Real step, epsilon;  // the factor before m, and epsilon
};

// settings: mu, or beta_1, beta_2 and epsilon   t: the number of this step, from 1
template <class Real> Factors<Real> momentum_factors(const std::vector<double> &settings, double rate, std::int64_t) {
  Factors<Real> factors{};
  factors.rate = static_cast<Real>(rate);
  factors.momentum = static_cast<Real>(settings[0]);
  return factors;
}

// The powers are computed in double: 1 - beta_2^t loses most digits of a float.
template <class Real> Factors<Real> adam_factors(const std::vector<double> &settings, double rate, std::int64_t t) {
  const double beta_1 = settings[0], beta_2 = settings[1], steps = static_cast<double>(t);
  Factors<Real> factors{};
  factors.keep_1 = static_cast<Real>(beta_1);
  factors.add_1 = static_cast<Real>(1 - beta_1);
  factors.keep_2 = static_cast<Real>(beta_2);
  factors.add_2 = static_cast<Real>(1 - beta_2);
  factors.step = static_cast<Real>(rate * std::sqrt(1 - std::pow(beta_2, steps)) / (1 - std::pow(beta_1, steps)));
  factors.epsilon = std::max(static_cast<Real>(settings[2]), std::numeric_limits<Real>::min()); // 0/(0 + 0) is NaN
  return factors;
}

// ---- The update of one number, or of a vector of them: theta and its state from the gradient g ----
// Root: a function that returns the square root of a T.

// v <- mu v - rate g; theta <- theta + v
struct MomentumUpdate {
  template <class T, class Real, class Root>
  static void apply(T &theta, const T &g, T &v, T &, const Factors<Real> &f, Root) {
    v = f.momentum * v - f.rate * g;
    theta += v;
  }
};

// v <- mu v - rate g; theta <- theta + mu v - rate g
struct NesterovUpdate {
  template <class T, class Real, class Root>
  static void apply(T &theta, const T &g, T &v, T &, const Factors<Real> &f, Root) {
    v = f.momentum * v - f.rate * g;
    theta += f.momentum * v - f.rate * g;
  }
};

// m <- beta_1 m + (1 - beta_1) g; v <- beta_2 v + (1 - beta_2) g^2; theta <- theta - step m / (sqrt(v) + epsilon)
struct AdamUpdate {
  template <class T, class Real, class Root>
  static void apply(T &theta, const T &g, T &m, T &v, const Factors<Real> &f, Root root) {
    m = f.keep_1 * m + f.add_1 * g;
    v = f.keep_2 * v + f.add_2 * (g * g);
    theta -= f.step * m / (root(v) + f.epsilon);
  }
};

// One row of a table of optimizers. Pass: a function that applies the update to all of a network.
template <class Real, class Pass> struct OptimizerRow {
  std::string_view name;
  std::size_t vectors, settings; // of the state, each as long as theta; and how many numbers set it
  Factors<Real> (*factors)(const std::vector<double> &settings, double rate, std::int64_t t);
  Pass pass;
};

template <class Row, std::size_t size>
const Row &find_optimizer(const std::array<Row, size> &table, std::string_view name,
                          const std::vector<double> &settings) {
  for (const Row &row : table)
    if (row.name == name && row.settings == settings.size())
      return row;
  throw std::invalid_argument("optimizer.hpp has no " + std::string(name) + " with so many settings");
}

// The state of an optimizer for a theta that is one vector.   Buffer: a std::vector of Real
template <class Real, class Buffer> class FlatOptimizer {
public:
  // state: (vectors, n)
  void select(const std::string &name, const std::vector<double> &settings, std::int64_t steps, const Real *state,
              std::size_t n) {
    const Row &row = find_optimizer(table, name, settings);
    std::vector<Buffer> vectors(row.vectors, Buffer(n));
    for (std::size_t k = 0; k < row.vectors; ++k)
      vectors[k].assign(state + k * n, state + (k + 1) * n);
    row_ = &row;
    settings_ = settings;
    vectors_ = std::move(vectors);
    steps_ = steps;
  }

  const std::vector<Buffer> &vectors() const {
    return vectors_;
  }
  std::int64_t steps() const {
    return steps_;
  }

  // theta, gradient: (n)
  void step(Buffer &theta, const Buffer &gradient, double rate) {
    row_->pass(theta, gradient, vectors_, row_->factors(settings_, rate, ++steps_));
  }

private:
  using Pass = void (*)(Buffer &theta, const Buffer &gradient, std::vector<Buffer> &vectors, Factors<Real> factors);
  using Row = OptimizerRow<Real, Pass>;

  template <class Update, std::size_t vectors>
  static void pass(Buffer &theta, const Buffer &gradient, std::vector<Buffer> &state, Factors<Real> factors) {
    Real *__restrict to = theta.data(), *__restrict first = state.front().data();
    Real *__restrict second = state.back().data(); // unused where it is the first
    const Real *__restrict from = gradient.data();
    for (std::size_t i = 0; i < theta.size(); ++i) {
      Real other = vectors > 1 ? second[i] : 0;
      Update::apply(to[i], from[i], first[i], other, factors, [](Real v) { return std::sqrt(v); });
      if (vectors > 1)
        second[i] = other;
    }
  }

  static constexpr std::array<Row, 3> table{{
      {"momentum", 1, 1, momentum_factors<Real>, pass<MomentumUpdate, 1>},
      {"nesterov", 1, 1, momentum_factors<Real>, pass<NesterovUpdate, 1>},
      {"adam", 2, 3, adam_factors<Real>, pass<AdamUpdate, 2>},
  }};

  const Row *row_ = nullptr;
  std::vector<double> settings_;
  std::int64_t steps_ = 0;
  std::vector<Buffer> vectors_;
};

} // namespace fnn
