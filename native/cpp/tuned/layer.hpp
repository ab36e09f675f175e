// layer.hpp: one layer of a tuned network: its sizes, its matrices, and the parts of a step that are not products.
#pragma once

#include "product.hpp"
#include "tables.hpp"

#include <cmath>
#include <limits>
#include <vector>

namespace fnn::tuned {

// Return true if every number is finite.   x: (n)
template <class Real> bool all_finite(const Real *x, std::size_t n) {
  int others = 0; // a whole number: the compiler vectorizes the loop
  for (std::size_t i = 0; i < n; ++i)
    others |= !(std::abs(x[i]) <= std::numeric_limits<Real>::max());
  return others == 0;
}

template <class Real> struct Layer {
  std::size_t inputs, outputs, pieces; // pieces of each unit
  std::size_t width;                   // outputs; with several pieces, padded outputs times pieces
  std::size_t at;                      // index of W in theta; b and the slopes that the layer may learn follow it
  std::size_t columns, stride;         // padded width, and row stride of matrices as wide
  std::size_t A_columns, A_stride;     // padded outputs, and row stride of matrices with one column per output
  std::size_t columns_below, below;    // padded inputs, and row stride of matrices with one column per input
  const Activation<Real> &f;
  Real parameter;           // of f
  bool keeps_Z;             // the derivative of f takes Z in place of A
  Buffer<Real> W, b;        // (inputs, zero-padded to row_multiple, columns), (columns)
  Buffer<Real> dW, db;      // as W and b
  Buffer<Real> S, dS;       // the slopes and their gradient: (columns)
  Buffer<Real> Wt;          // W transposed: (width, columns_below); for single samples
  Buffer<Real> A, delta;    // (B, A_columns), (B, columns), rows A_stride and `stride` apart
  Buffer<Real> dA;          // with several pieces: dR/dA, laid out as A
  Buffer<Real> At, delta_t; // transposed, in strips of samples: see feature_major.hpp
  Buffer<Real> one[2];      // A of a single sample and of the previous one: (A_columns)
  Buffer<Real> Z;           // if keeps_Z: (B, columns), or laid out as At

  Layer(std::size_t n, std::size_t m, std::size_t where, const Activation<Real> &function, Real p, bool from_Z)
      : inputs(n), outputs(m), pieces(function.largest ? static_cast<std::size_t>(p) : 1),
        width(pieces == 1 ? m : padded<Real>(m) * pieces), at(where), columns(padded<Real>(width)),
        stride(row_stride<Real>(width)), A_columns(padded<Real>(m)), A_stride(row_stride<Real>(m)),
        columns_below(padded<Real>(n)), below(row_stride<Real>(n)), f(function), parameter(p),
        keeps_Z(from_Z || learns() || pieces > 1), W(W_size()), b(columns), S(learns() ? columns : 0), dS(S.size()) {}

  std::size_t W_size() const {
    return round_up(inputs, row_multiple) * stride;
  }
  bool learns() const {
    return f.slope_gradient != nullptr;
  }
  bool has_own_layout() const {
    return learns() || pieces > 1;
  }
  // The parameter of f, or the slopes.
  const Real *parameters() const {
    return learns() ? S.data() : &parameter;
  }

  // Return the column of W for a column of W in theta, where the pieces of a unit are adjacent.
  std::size_t place(std::size_t column) const {
    constexpr std::size_t V = lanes<Real>;
    const std::size_t unit = column / pieces, piece = column % pieces;
    return (unit / V * pieces + piece) * V + unit % V;
  }

  // Copy W, b and slopes, or their gradients, to their place in a vector laid out as theta.
  void flatten(const Buffer<Real> &W_of, const Buffer<Real> &b_of, const Buffer<Real> &S_of, Real *flat) const {
    Real *to = flat + at;
    for (std::size_t i = 0; i < inputs; ++i)
      to = flatten_row(W_of.data() + i * stride, to);
    to = flatten_row(b_of.data(), to);
    if (learns())
      std::copy_n(S_of.data(), outputs, to);
  }
  Real *flatten_row(const Real *row, Real *to) const {
    if (pieces == 1)
      return std::copy_n(row, outputs, to);
    for (std::size_t j = 0; j < outputs * pieces; ++j)
      *to++ = row[place(j)];
    return to;
  }

  // Copy to W, b and slopes, or to buffers laid out as they are, from their place in a vector laid out as theta.
  void unflatten(const Real *flat, const Buffer<Real> &W_to, const Buffer<Real> &b_to, const Buffer<Real> &S_to) const {
    std::fill_n(W_to.data(), W_size(), Real(0)); // the padding too: it can hold NaN after a divergence
    std::fill_n(b_to.data(), columns, Real(0));
    std::fill_n(S_to.data(), S.size(), Real(0));
    const Real *from = flat + at;
    for (std::size_t i = 0; i < inputs; ++i)
      from = unflatten_row(from, W_to.data() + i * stride);
    from = unflatten_row(from, b_to.data());
    if (learns())
      std::copy_n(from, outputs, S_to.data());
  }
  const Real *unflatten_row(const Real *from, Real *row) const {
    for (std::size_t j = 0; pieces > 1 && j < outputs * pieces; ++j)
      row[place(j)] = from[j];
    if (pieces == 1)
      std::copy_n(from, outputs, row);
    return from + outputs * pieces;
  }

  // Return true if W, b and the slopes are finite, padding included.
  bool is_finite() const {
    return all_finite(W.data(), W_size()) && all_finite(b.data(), columns) && all_finite(S.data(), S.size());
  }

  // Return the place of an entry of the layer's gradient, counted from its dW on as in theta.
  const Real *gradient_entry(std::size_t entry) const {
    const std::size_t i = entry / (outputs * pieces), j = entry % (outputs * pieces);
    return i < inputs ? dW.data() + i * stride + place(j) : i == inputs ? db.data() + place(j) : dS.data() + j;
  }

  // Where the products put Z, and dR/dA, laid out as A: in A and delta themselves, if units have one piece.
  Real *Z_before(Real *A_or_one) const {
    return pieces == 1 ? A_or_one : Z.data();
  }
  Real *dA_before_delta() const {
    return pieces == 1 ? delta.data() : dA.data();
  }

  // part <- f(part), a part of Z. Columns from `n` on are padding.
  void activate(const Part<Real> &part, std::size_t n) const {
    if (keeps_Z)
      keep(part, Z.data());
    f.value(part, n, parameters());
  }
  // A <- f(Z), from Z at Z_before(A_or_one), in these rows, and in these columns of Z or, with several pieces, for the
  // units whose last piece lies in them.   A: (B, A_columns)
  void activate(Real *A_or_one, Range row_range, Range column_range) const {
    if (pieces == 1)
      return activate({A_or_one, A_stride, row_range, column_range}, outputs);
    constexpr std::size_t V = lanes<Real>;
    const Range units{column_range.begin / (V * pieces) * V, column_range.end / (V * pieces) * V};
    f.largest({A_or_one, A_stride, row_range, units}, {Z.data(), stride, pieces});
  }
  void activate(Real *A_or_one, std::size_t B) const {
    activate(A_or_one, {0, B}, {0, columns});
  }

  // part <- part * f'(Z), a part of delta, from values = f(Z), laid out as delta.
  void multiply_by_derivative(const Part<Real> &part, const Real *values) const {
    if (learns())
      f.slope_gradient(part, Z.data(), dS.data());
    f.derivative(part, keeps_Z ? Z.data() : values, parameters());
  }
  // The same for these rows of delta and columns of A, from dR/dA at dA_before_delta(); values: A, or that of a single
  // sample. Rows: all, if the layer learns slopes.
  void multiply_by_derivative(Range row_range, Range column_range, const Real *values) const {
    if (pieces == 1)
      return multiply_by_derivative({delta.data(), stride, row_range, column_range}, values);
    f.at_largest({dA.data(), A_stride, row_range, column_range}, {Z.data(), stride, pieces}, delta.data());
  }
  void multiply_by_derivative(std::size_t B, const Real *values) const {
    multiply_by_derivative({0, B}, {0, A_columns}, values);
  }

  // s <- s + ds, if the layer learns slopes; delta had the factor -rate.
  void update_slopes() const {
    for (std::size_t j = 0; j < S.size(); j += lanes<Real>)
      store(S.data() + j, load(S.data() + j) + load(dS.data() + j));
  }

  // Compute delta of the last layer: scale (Y - T) * f'(Z), without f' if the loss is fused with f.   Y, T: (B, m_L)
  void output_delta(const Loss<Real> &loss, const Real *Y, Matrix<Real> T, std::size_t B, Real scale) const {
    for (std::size_t n = 0; n < B; ++n)
      for (std::size_t j = 0; j < columns; j += lanes<Real>) {
        const std::size_t i = n * stride + j;
        store(delta.data() + i, scale * (load(Y + i) - load(T.data + n * T.stride + j)));
      }
    if (loss.fuses.empty()) // the last layer has no layout of its own
      f.derivative({delta.data(), stride, {0, B}, {0, columns}}, keeps_Z ? Z.data() : Y, &parameter);
  }

  // The destination of the product that is the gradient of W: W itself with Epilogue::update, otherwise dW.
  Result<Real> weight_gradient(Epilogue epilogue, Real scale) const {
    Result<Real> to{epilogue == Epilogue::update ? W.data() : dW.data(), stride, epilogue};
    to.W = W.data();
    to.scale = scale;
    return to;
  }

  // db = the sum of the rows of delta, or, with Epilogue::update, b <- b + that sum, and s <- s + ds.
  void sum_bias_gradient(std::size_t B, Epilogue epilogue) const {
    if (epilogue == Epilogue::update)
      update_slopes();
    Real *to = epilogue == Epilogue::update ? b.data() : db.data();
    for (std::size_t j = 0; j < columns; j += lanes<Real>) {
      constexpr std::size_t chains = 4; // independent sums
      Vector<Real> sums[chains]{};
      std::size_t n = 0;
      for (; n + chains <= B; n += chains)
#pragma GCC unroll 4
        for (std::size_t c = 0; c < chains; ++c)
          sums[c] += load(delta.data() + (n + c) * stride + j);
      for (; n < B; ++n)
        sums[0] += load(delta.data() + n * stride + j);
      const Vector<Real> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      store(to + j, epilogue == Epilogue::update ? load(to + j) + sum : sum);
    }
  }
};

template <class Real> using Layers = std::vector<Layer<Real>>;

} // namespace fnn::tuned
