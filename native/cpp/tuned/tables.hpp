// tables.hpp: the activations and losses by name: each over the part of a matrix, or over one row. Their formulas on
// vectors are functions.hpp's; fused into the products of single samples, single.hpp's.
#pragma once

#include "product.hpp"
#include "single.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fnn::tuned {

// The part of a matrix, laid out in rows `stride` apart, that a function is to be applied to.
template <class Real> struct Part {
  Real *data;
  std::size_t stride;
  Range rows, columns;
};

template <class Real> struct Activation {
  std::string_view name;
  // Z -> f(Z), in place; `outputs`: how many of the columns are more than padding
  void (*apply)(Part<Real> Z, std::size_t outputs, Real parameter);
  // delta -> delta * f'(Z); A lies as delta does. Null: only fused with a loss
  void (*times_slope)(Part<Real> delta, const Real *A, Real parameter);
  // For one sample, without and with l2.
  decltype(&forward_one<Identity, false, Real>) forward_one[2];
  decltype(&backward_one<Identity, false, Real>) backward_one[2];
  bool built_in; // those two apply the function themselves
};

template <class F, class Real> void apply(Part<Real> Z, std::size_t outputs, Real parameter) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n)
    for (std::size_t j = Z.columns.begin; j < Z.columns.end; j += V) {
      Real *z = Z.data + n * Z.stride + j;
      Vector<Real> a = F::template value<Real>(load(z), parameter);
      if constexpr (!F::from_zero)
        if (j + V > outputs)
          a = first_lanes<Real>(a, outputs - j);
      store(z, a);
    }
}

template <class F, class Real> void times_slope(Part<Real> delta, const Real *A, Real parameter) {
  for (std::size_t n = delta.rows.begin; n < delta.rows.end; ++n)
    for (std::size_t j = delta.columns.begin; j < delta.columns.end; j += lanes<Real>) {
      Real *d = delta.data + n * delta.stride + j;
      store(d, F::template times_slope<Real>(load(d), load(A + n * delta.stride + j), parameter));
    }
}

// exp(Z) over its row sum, each row shifted so that its greatest exponent is 0.
template <class Real> void softmax(Part<Real> Z, std::size_t outputs, Real) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n) {
    Real *z = Z.data + n * Z.stride;
    const Real top = *std::max_element(z, z + outputs);
    Vector<Real> sums{};
    for (std::size_t j = 0; j < Z.columns.end; j += V) {
      Vector<Real> e = exp<Real>(load(z + j) - top);
      if (j + V > outputs)
        e = first_lanes<Real>(e, outputs - j);
      store(z + j, e);
      sums += e;
    }
    const Vector<Real> scale = broadcast(1 / sum<Real>(sums));
    for (std::size_t j = 0; j < Z.columns.end; j += V)
      store(z + j, load(z + j) * scale);
  }
}

// One: what single samples' loops have built in; Identity where that is not F, which is then applied after them.
template <class F, class One, class Real> constexpr Activation<Real> row(std::string_view name) {
  return {name,
          apply<F, Real>,
          times_slope<F, Real>,
          {forward_one<One, false, Real>, forward_one<One, true, Real>},
          {backward_one<One, false, Real>, backward_one<One, true, Real>},
          std::is_same_v<F, One>};
}

template <class Real>
constexpr std::array<Activation<Real>, 10> activations{{
    row<Identity, Identity, Real>("identity"),
    row<Sigmoid, Sigmoid, Real>("sigmoid"),
    row<Tanh, Tanh, Real>("tanh"),
    row<Relu, Relu, Real>("relu"),
    row<LeakyRelu, Identity, Real>("leaky_relu"),
    row<Elu, Identity, Real>("elu"),
    row<Softplus, Identity, Real>("softplus"),
    row<HardSigmoid, Identity, Real>("hard_sigmoid"),
    row<HardTanh, Identity, Real>("hard_tanh"),
    {"softmax",
     softmax<Real>,
     nullptr,
     {forward_one<Identity, false, Real>, forward_one<Identity, true, Real>},
     {nullptr, nullptr},
     false},
}};

// The losses of one row, from z (pre-activations), y (outputs) and t (targets): (m) each.

template <class Real> double squared_error(const Real *, const Real *y, const Real *t, std::size_t m) {
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += (y[j] - t[j]) * (y[j] - t[j]);
  return loss;
}

template <class Real> double half_squared_error(const Real *z, const Real *y, const Real *t, std::size_t m) {
  return squared_error(z, y, t, m) / 2;
}

// sum t (log sum exp z - z), with the largest z taken out of the exponentials
template <class Real> double softmax_cross_entropy(const Real *z, const Real *, const Real *t, std::size_t m) {
  const Real top = *std::max_element(z, z + m);
  Real exponentials = 0;
  for (std::size_t j = 0; j < m; ++j)
    exponentials += std::exp(z[j] - top);
  const Real log_sum = std::log(exponentials);
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += t[j] * (log_sum - (z[j] - top));
  return loss;
}

// sum max(z, 0) - z t + log(1 + exp(-|z|))
template <class Real> double sigmoid_cross_entropy(const Real *z, const Real *, const Real *t, std::size_t m) {
  double loss = 0;
  for (std::size_t j = 0; j < m; j += lanes<Real>) {
    const Vector<Real> logarithms = log1p_exp<Real>(load(z + j));
    for (std::size_t i = 0; i < lanes<Real> && j + i < m; ++i)
      loss += (z[j + i] > 0 ? z[j + i] : 0) - z[j + i] * t[j + i] + logarithms[i];
  }
  return loss;
}

template <class Real> struct Loss {
  std::string_view name;
  double (*of_row)(const Real *z, const Real *y, const Real *t, std::size_t m);
  Real slope; // dL/dy = slope (y - t); where fused, dL/dz
  bool fused; // with the output activation: softmax or sigmoid
};

template <class Real>
constexpr std::array<Loss<Real>, 4> losses{{
    {"squared_error", squared_error<Real>, 2, false},
    {"half_squared_error", half_squared_error<Real>, 1, false},
    {"softmax_cross_entropy", softmax_cross_entropy<Real>, 1, true},
    {"sigmoid_cross_entropy", sigmoid_cross_entropy<Real>, 1, true},
}};

template <class Row, std::size_t size> const Row &find(const std::array<Row, size> &table, std::string_view name) {
  for (const Row &row : table)
    if (row.name == name)
      return row;
  throw std::invalid_argument("tables.hpp has no " + std::string(name));
}

} // namespace fnn::tuned
