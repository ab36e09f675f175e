// tables.hpp: the tables of activations and losses: activations over parts of matrices, losses of one sample.
// functions.hpp has the formulas on vectors, matrix_vector.hpp the products that the activations are fused into.
#pragma once

#include "matrix_vector.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fnn::tuned {

// A part of a matrix whose rows are `stride` elements apart. Functions take it by reference: a copy on the stack,
// stored by element and loaded by vector, stalls a step on one sample for several nanoseconds.
template <class Real> struct Part {
  Real *data;
  std::size_t stride;
  Range rows, columns;
};

template <class Real> struct Activation {
  std::string_view name;
  // Z <- f(Z). Columns from `outputs` on are padding.
  void (*value)(const Part<Real> &Z, std::size_t outputs, Real parameter);
  // delta <- delta * f'(Z). A is laid out as delta. Null: only fused with a loss.
  void (*derivative)(const Part<Real> &delta, const Real *A, Real parameter);
  // The products of one sample, without and with l2.
  decltype(&forward_one<Identity, false, Real>) forward_one[2];
  decltype(&backward_one<Identity, false, Real>) backward_one[2];
  bool fused; // these products include the activation
};

// Copy a part of Z to the same place of a matrix laid out as Z.
template <class Real> void keep(const Part<Real> &Z, Real *kept) {
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n)
    for (std::size_t j = Z.columns.begin; j < Z.columns.end; j += lanes<Real>)
      store(kept + n * Z.stride + j, load(Z.data + n * Z.stride + j));
}

template <class F, class Real> void map(const Part<Real> &Z, std::size_t outputs, Real parameter) {
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

template <class F, class Real> void multiply_by_derivative(const Part<Real> &delta, const Real *A, Real parameter) {
  for (std::size_t n = delta.rows.begin; n < delta.rows.end; ++n)
    for (std::size_t j = delta.columns.begin; j < delta.columns.end; j += lanes<Real>) {
      Real *d = delta.data + n * delta.stride + j;
      store(d, F::template multiply_by_derivative<Real>(load(d), load(A + n * delta.stride + j), parameter));
    }
}

// Z <- exp(Z) / its row sum. Each row is shifted so that its largest exponent is 0.
template <class Real> void softmax(const Part<Real> &Z, std::size_t outputs, Real) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n) {
    Real *z = Z.data + n * Z.stride;
    const Real largest = *std::max_element(z, z + outputs);
    Vector<Real> sums{};
    for (std::size_t j = 0; j < Z.columns.end; j += V) {
      Vector<Real> e = exp<Real>(load(z + j) - largest);
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

// Fused: the activation in the products of one sample: F, or Identity, after which F is applied by itself.
template <class F, class Fused, class Real> constexpr Activation<Real> row(std::string_view name) {
  return {name,
          map<F, Real>,
          multiply_by_derivative<F, Real>,
          {forward_one<Fused, false, Real>, forward_one<Fused, true, Real>},
          {backward_one<Fused, false, Real>, backward_one<Fused, true, Real>},
          std::is_same_v<F, Fused>};
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

// The rows for parameters below 0: their derivative takes Z in place of A. That of leaky_relu reads the sign alone.
template <class Real>
constexpr std::array<Activation<Real>, 2> activations_from_Z{{
    row<LeakyRelu, Identity, Real>("leaky_relu"),
    row<EluFromZ, Identity, Real>("elu"),
}};

// Losses of one sample, from z (pre-activations), y (outputs) and t (targets): (m) each.

template <class Real> double squared_error(const Real *, const Real *y, const Real *t, std::size_t m) {
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += (y[j] - t[j]) * (y[j] - t[j]);
  return loss;
}

template <class Real> double half_squared_error(const Real *z, const Real *y, const Real *t, std::size_t m) {
  return squared_error(z, y, t, m) / 2;
}

// sum t (log sum exp z - z). Subtracting the largest z first avoids overflow in exp.
template <class Real> double softmax_cross_entropy(const Real *z, const Real *, const Real *t, std::size_t m) {
  const Real largest = *std::max_element(z, z + m);
  Real exponentials = 0;
  for (std::size_t j = 0; j < m; ++j)
    exponentials += std::exp(z[j] - largest);
  const Real log_sum = std::log(exponentials);
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += t[j] * (log_sum - (z[j] - largest));
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
  std::string_view fuses; // the output activation that it is fused with; empty: any elementwise one
  double (*value)(const Real *z, const Real *y, const Real *t, std::size_t m);
  Real derivative; // c in dL/dy = c (y - t), or, fused, in dL/dz = c (y - t)
};

template <class Real>
constexpr std::array<Loss<Real>, 4> losses{{
    {"squared_error", "", squared_error<Real>, 2},
    {"half_squared_error", "", half_squared_error<Real>, 1},
    {"softmax_cross_entropy", "softmax", softmax_cross_entropy<Real>, 1},
    {"sigmoid_cross_entropy", "sigmoid", sigmoid_cross_entropy<Real>, 1},
}};

template <class Row, std::size_t size> const Row &find(const std::array<Row, size> &table, std::string_view name) {
  for (const Row &row : table)
    if (row.name == name)
      return row;
  throw std::invalid_argument("tables.hpp has no " + std::string(name));
}

} // namespace fnn::tuned
