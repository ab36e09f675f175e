// layer.hpp: one layer of a tuned network: its sizes, its matrices, and the parts of a step that are not products.
#pragma once

#include "product.hpp"
#include "tables.hpp"

#include <vector>

namespace fnn::tuned {

template <class Real> struct Layer {
  std::size_t inputs, outputs;
  std::size_t at;                   // index of W in theta; b follows it
  std::size_t columns, stride;      // padded outputs, and row stride of matrices with one column per output
  std::size_t columns_below, below; // padded inputs, and row stride of matrices with one column per input
  const Activation<Real> &f;
  Real parameter;           // of f
  bool keeps_Z;             // the derivative of f takes Z in place of A
  Buffer<Real> W, b;        // (inputs, zero-padded to row_multiple, columns), (columns)
  Buffer<Real> dW, db;      // as W and b
  Buffer<Real> Wt;          // W transposed: (outputs, columns_below); for single samples
  Buffer<Real> A, delta;    // (B, columns), rows `stride` apart
  Buffer<Real> At, delta_t; // transposed: (outputs, row_stride of B); for feature-major minibatches
  Buffer<Real> one[2];      // A of a single sample and of the previous one: (columns)
  Buffer<Real> Z;           // if keeps_Z: laid out as A, At or one[0], whichever the step computes

  Layer(std::size_t n, std::size_t m, std::size_t where, const Activation<Real> &function, Real p, bool from_Z)
      : inputs(n), outputs(m), at(where), columns(padded<Real>(m)), stride(row_stride<Real>(m)),
        columns_below(padded<Real>(n)), below(row_stride<Real>(n)), f(function), parameter(p), keeps_Z(from_Z),
        W(W_size()), b(columns) {}

  std::size_t W_size() const {
    return round_up(inputs, row_multiple) * stride;
  }

  // Copy W and b, or dW and db, to their place in a vector laid out as theta.
  void flatten(const Buffer<Real> &W_of, const Buffer<Real> &b_of, Real *flat) const {
    for (std::size_t i = 0; i < inputs; ++i)
      std::copy_n(W_of.data() + i * stride, outputs, flat + at + i * outputs);
    std::copy_n(b_of.data(), outputs, flat + at + inputs * outputs);
  }

  // Copy to W and b, or to buffers laid out as they are, from their place in a vector laid out as theta.
  void unflatten(const Real *flat, const Buffer<Real> &W_to, const Buffer<Real> &b_to) const {
    std::fill_n(W_to.data(), W_size(), Real(0)); // the padding too: it can hold NaN after a divergence
    std::fill_n(b_to.data(), columns, Real(0));
    for (std::size_t i = 0; i < inputs; ++i)
      std::copy_n(flat + at + i * outputs, outputs, W_to.data() + i * stride);
    std::copy_n(flat + at + inputs * outputs, outputs, b_to.data());
  }

  // part <- f(part), a part of Z. Columns from `width` on are padding.
  void activate(const Part<Real> &part, std::size_t width) const {
    if (keeps_Z)
      keep(part, Z.data());
    f.value(part, width, parameter);
  }
  // A <- f(A) in these rows and columns.   A: (B, columns)
  void activate(Real *A_or_one, Range row_range, Range column_range) const {
    activate({A_or_one, stride, row_range, column_range}, outputs);
  }
  void activate(Real *A_or_one, std::size_t B) const {
    activate(A_or_one, {0, B}, {0, columns});
  }

  // part <- part * f'(Z), a part of delta, from values = f(Z), laid out as delta.
  void multiply_by_derivative(const Part<Real> &part, const Real *values) const {
    f.derivative(part, keeps_Z ? Z.data() : values, parameter);
  }
  // The same for these rows and columns of delta; values: A, or that of a single sample.
  void multiply_by_derivative(Range row_range, Range column_range, const Real *values) const {
    multiply_by_derivative({delta.data(), stride, row_range, column_range}, values);
  }
  void multiply_by_derivative(std::size_t B, const Real *values) const {
    multiply_by_derivative({0, B}, {0, columns}, values);
  }

  // Compute delta of the last layer: scale (Y - T) * f'(Z), without f' if the loss is fused with f.   Y, T: (B, m_L)
  void output_delta(const Loss<Real> &loss, const Real *Y, Matrix<Real> T, std::size_t B, Real scale) const {
    for (std::size_t n = 0; n < B; ++n)
      for (std::size_t j = 0; j < columns; j += lanes<Real>) {
        const std::size_t i = n * stride + j;
        store(delta.data() + i, scale * (load(Y + i) - load(T.data + n * T.stride + j)));
      }
    if (loss.fuses.empty())
      multiply_by_derivative(B, Y);
  }

  // The destination of the product that is the gradient of W: W itself with Epilogue::update, otherwise dW.
  Result<Real> weight_gradient(Epilogue epilogue, Real scale) const {
    Result<Real> to{epilogue == Epilogue::update ? W.data() : dW.data(), stride, epilogue};
    to.W = W.data();
    to.scale = scale;
    return to;
  }

  // db = the sum of the rows of delta, or, with Epilogue::update, b <- b + that sum.
  void sum_bias_gradient(std::size_t B, Epilogue epilogue) const {
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
