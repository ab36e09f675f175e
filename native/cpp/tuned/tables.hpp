// tables.hpp: the tables of activations and losses: activations over parts of matrices, losses of one sample.
// functions.hpp has the formulas on vectors, matrix_vector.hpp the products that the activations are fused into.
#pragma once

#include "matrix_vector.hpp"
#include "transpose.hpp"

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

// Z or delta of units with several pieces. Each row has, for each vector of units, a vector of their first pieces, then
// one of their second pieces, and so on.
template <class Real> struct Pieces {
  Real *data;
  std::size_t stride, count; // elements from row to row; pieces of a unit
};

template <class Real> struct Activation {
  std::string_view name;
  // Z <- f(Z). Columns from `outputs` on are padding.   p: the parameter, or the slopes that the layer learns:
  // (columns)
  void (*value)(const Part<Real> &Z, std::size_t outputs, const Real *p);
  // delta <- delta * f'(Z). A is laid out as delta. Null: only fused with a loss.
  void (*derivative)(const Part<Real> &delta, const Real *A, const Real *p);
  // The products of one sample, without and with l2.
  decltype(&forward_one<Identity, false, Real>) forward_one[2];
  decltype(&backward_one<Identity, false, Real>) backward_one[2];
  bool fused; // these products include the activation
  // dslopes = the gradient of the slopes, from delta before the derivative. Null: the layer learns none.
  void (*slope_gradient)(const Part<Real> &delta, const Real *Z, Real *dslopes) = nullptr;
  // With several pieces a unit, in place of value and derivative: A = the largest piece; delta = dA at that piece, at
  // the first of equal ones, and 0 at others. A, dA: one column for each unit.
  void (*largest)(const Part<Real> &A, const Pieces<const Real> &Z) = nullptr;
  void (*at_largest)(const Part<Real> &dA, const Pieces<const Real> &Z, Real *delta) = nullptr;
};

// Copy a part of Z to the same place of a matrix laid out as Z.
template <class Real> void keep(const Part<Real> &Z, Real *kept) {
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n)
    for (std::size_t j = Z.columns.begin; j < Z.columns.end; j += lanes<Real>)
      store(kept + n * Z.stride + j, load(Z.data + n * Z.stride + j));
}

template <class F, class Real> void map(const Part<Real> &Z, std::size_t outputs, const Real *p) {
  constexpr std::size_t V = lanes<Real>;
  const Real parameter = *p;
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

template <class F, class Real> void multiply_by_derivative(const Part<Real> &delta, const Real *A, const Real *p) {
  const Real parameter = *p;
  for (std::size_t n = delta.rows.begin; n < delta.rows.end; ++n)
    for (std::size_t j = delta.columns.begin; j < delta.columns.end; j += lanes<Real>) {
      Real *d = delta.data + n * delta.stride + j;
      store(d, F::template multiply_by_derivative<Real>(load(d), load(A + n * delta.stride + j), parameter));
    }
}

// Return the largest of z, in every lane; with NaN among them, one of them or NaN.   z: (m), padded to whole vectors
template <class Real> FNN_INLINE Vector<Real> largest_of(const Real *z, std::size_t m) {
  constexpr std::size_t V = lanes<Real>;
  const Vector<Real> least = broadcast(-std::numeric_limits<Real>::infinity());
  Vector<Real> largest = least;
  for (std::size_t j = 0; j < m; j += V) {
    const Vector<Real> own = j + V > m ? (lanes_before<Real>(m - j) ? load(z + j) : least) : load(z + j);
    largest = own > largest ? own : largest;
  }
  return largest_lane<Real>(largest);
}

// The softmax below for outputs that fit in one vector: a row to a lane, so that no lane is empty and no row's largest
// element and sum go across lanes.
template <class Real> void softmax_of_few(const Part<Real> &Z, std::size_t outputs) {
  constexpr std::size_t V = lanes<Real>;
  alignas(vector_bytes) Real columns[V * V];
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; n += V) {
    Real *z = Z.data + n * Z.stride;
    const std::size_t rows = std::min(V, Z.rows.end - n);
    transpose_panel<V>(z, Z.stride, rows, outputs, columns, V);
    Vector<Real> largest = load(columns), sums{};
    for (std::size_t j = 1; j < outputs; ++j) {
      const Vector<Real> own = load(columns + j * V);
      largest = own > largest ? own : largest;
    }
    for (std::size_t j = 0; j < outputs; ++j) {
      const Vector<Real> e = exp<Real>(load(columns + j * V) - largest);
      store(columns + j * V, e);
      sums += e;
    }
    const Vector<Real> scale = 1 / sums;
    for (std::size_t j = 0; j < outputs; ++j)
      store(columns + j * V, load(columns + j * V) * scale);
    transpose_panel<V>(columns, V, outputs, rows, z, Z.stride);
  }
}

// Z <- exp(Z) / its row sum. Each row is shifted so that its largest exponent is 0.
template <class Real> void softmax(const Part<Real> &Z, std::size_t outputs, const Real *) {
  constexpr std::size_t V = lanes<Real>;
  if (outputs <= V && 2 * Z.rows.size() >= V)
    return softmax_of_few(Z, outputs);
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n) {
    Real *z = Z.data + n * Z.stride;
    const Vector<Real> largest = largest_of(z, outputs);
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

// Z <- f(Z) with a slope for each column below 0.
template <class Real> void prelu(const Part<Real> &Z, std::size_t, const Real *slopes) {
  for (std::size_t n = Z.rows.begin; n < Z.rows.end; ++n)
    for (std::size_t j = Z.columns.begin; j < Z.columns.end; j += lanes<Real>) {
      const Vector<Real> z = load(Z.data + n * Z.stride + j);
      store(Z.data + n * Z.stride + j, z > 0 ? z : load(slopes + j) * z);
    }
}

template <class Real> void prelu_derivative(const Part<Real> &delta, const Real *Z, const Real *slopes) {
  for (std::size_t n = delta.rows.begin; n < delta.rows.end; ++n)
    for (std::size_t j = delta.columns.begin; j < delta.columns.end; j += lanes<Real>) {
      const std::size_t i = n * delta.stride + j;
      const Vector<Real> d = load(delta.data + i);
      store(delta.data + i, load(Z + i) > 0 ? d : load(slopes + j) * d);
    }
}

// The sum of delta min(z, 0) over the rows.
template <class Real> void prelu_slope_gradient(const Part<Real> &delta, const Real *Z, Real *dslopes) {
  for (std::size_t j = delta.columns.begin; j < delta.columns.end; j += lanes<Real>) {
    Vector<Real> sum{};
    for (std::size_t n = delta.rows.begin; n < delta.rows.end; ++n) {
      const Vector<Real> z = load(Z + n * delta.stride + j);
      sum += load(delta.data + n * delta.stride + j) * (z > 0 ? Vector<Real>{} : z);
    }
    store(dslopes + j, sum);
  }
}

template <class Real> void maxout(const Part<Real> &A, const Pieces<const Real> &Z) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t n = A.rows.begin; n < A.rows.end; ++n)
    for (std::size_t j = A.columns.begin; j < A.columns.end; j += V) {
      const Real *z = Z.data + n * Z.stride + j * Z.count;
      Vector<Real> top = load(z);
      for (std::size_t i = 1; i < Z.count; ++i) {
        const Vector<Real> piece = load(z + i * V);
        top = ((piece > top) | (piece != piece)) ? piece : top; // keeps NaN
      }
      store(A.data + n * A.stride + j, top);
    }
}

template <class Real> void maxout_derivative(const Part<Real> &dA, const Pieces<const Real> &Z, Real *delta) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t n = dA.rows.begin; n < dA.rows.end; ++n)
    for (std::size_t j = dA.columns.begin; j < dA.columns.end; j += V) {
      const Real *z = Z.data + n * Z.stride + j * Z.count;
      Real *d = delta + n * Z.stride + j * Z.count;
      Vector<Real> top = load(z), left = load(dA.data + n * dA.stride + j);
      for (std::size_t i = 1; i < Z.count; ++i) {
        const Vector<Real> piece = load(z + i * V);
        top = piece > top ? piece : top;
      }
      for (std::size_t i = 0; i < Z.count; ++i) { // the first that equals `top` takes what is left, all of dA
        const Bits<Real> first = load(z + i * V) == top;
        store(d + i * V, first ? left : Vector<Real>{});
        left = first ? Vector<Real>{} : left;
      }
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

// The row of an activation that the products of one sample do not include.
template <class Real>
constexpr Activation<Real> unfused(std::string_view name, decltype(Activation<Real>::value) value,
                                   decltype(Activation<Real>::derivative) derivative,
                                   decltype(Activation<Real>::slope_gradient) slope_gradient = nullptr,
                                   decltype(Activation<Real>::largest) largest = nullptr,
                                   decltype(Activation<Real>::at_largest) at_largest = nullptr) {
  Activation<Real> made = row<Identity, Identity, Real>(name);
  made.value = value;
  made.derivative = derivative;
  made.fused = false;
  made.slope_gradient = slope_gradient;
  made.largest = largest;
  made.at_largest = at_largest;
  return made;
}

template <class Real>
constexpr std::array<Activation<Real>, 12> activations{{
    row<Identity, Identity, Real>("identity"),
    row<Sigmoid, Sigmoid, Real>("sigmoid"),
    row<Tanh, Tanh, Real>("tanh"),
    row<Relu, Relu, Real>("relu"),
    row<LeakyRelu, Identity, Real>("leaky_relu"),
    row<Elu, Identity, Real>("elu"),
    row<Softplus, Identity, Real>("softplus"),
    row<HardSigmoid, Identity, Real>("hard_sigmoid"),
    row<HardTanh, Identity, Real>("hard_tanh"),
    unfused<Real>("prelu", prelu<Real>, prelu_derivative<Real>, prelu_slope_gradient<Real>),
    unfused<Real>("maxout", nullptr, nullptr, nullptr, maxout<Real>, maxout_derivative<Real>),
    unfused<Real>("softmax", softmax<Real>, nullptr),
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
  constexpr std::size_t V = lanes<Real>;
  const Vector<Real> largest = largest_of(z, m);
  Vector<Real> exponentials{};
  for (std::size_t j = 0; j < m; j += V) {
    const Vector<Real> e = exp<Real>(load(z + j) - largest);
    exponentials += j + V > m ? first_lanes<Real>(e, m - j) : e;
  }
  const Real log_sum = std::log(sum<Real>(exponentials));
  double loss = 0;
  for (std::size_t j = 0; j < m; ++j)
    loss += t[j] * (log_sum - (z[j] - largest[0]));
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
