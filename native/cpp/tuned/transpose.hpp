// transpose.hpp: matrices transposed by whole vectors: for packing, of W, and to and from the feature-major layout.
#pragma once

#include "storage.hpp"

#include <algorithm>

namespace fnn::tuned {

// low, high = a[0] b[0] a[1] b[1] ...
template <class Real, std::size_t... i>
FNN_INLINE void interleave(Vector<Real> a, Vector<Real> b, Vector<Real> &low, Vector<Real> &high,
                           std::index_sequence<i...>) {
  constexpr std::size_t V = lanes<Real>;
  low = __builtin_shufflevector(a, b, (i / 2 + i % 2 * V)...);
  high = __builtin_shufflevector(a, b, (i / 2 + V / 2 + i % 2 * V)...);
}

// What a transposed matrix has in the padding of its rows: 0, or its last column again.
enum class Padding { zeros, last };

// B = A transposed. With Padding::last, R is the lanes of a vector.
//
// row(r): row r of A, (rows <= R, columns), readable up to whole vectors
// B: (columns, R), padded from column `rows` on
// R: a power of two   b_stride: R, unless R is the lanes of a vector
template <std::size_t R, Padding padding, class Real, class Row>
FNN_INLINE void transpose_rows(const Row &row, std::size_t rows, std::size_t columns, Real *B, std::size_t b_stride) {
  constexpr std::size_t V = lanes<Real>;
  std::size_t j = 0;
  const auto block = [&](std::size_t n_rows, std::size_t n_columns) FNN_LAMBDA {
    Vector<Real> x[R], y[R];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r)
      if (padding == Padding::last)
        x[r] = load_unaligned(row(std::min(r, n_rows - 1)) + j);
      else
        x[r] = r < n_rows ? load_unaligned(row(r) + j) : Vector<Real>{};
    // log2(R) perfect shuffles of the first half of the rows with the second.
#pragma GCC unroll 4
    for (std::size_t step = 1; step < R; step *= 2) {
#pragma GCC unroll 8
      for (std::size_t r = 0; r < R / 2; ++r)
        interleave<Real>(x[r], x[r + R / 2], y[2 * r], y[2 * r + 1], std::make_index_sequence<V>());
#pragma GCC unroll 16
      for (std::size_t r = 0; r < R; ++r)
        x[r] = y[r];
    }
    if (R == V) {
#pragma GCC unroll 16
      for (std::size_t c = 0; c < V; ++c)
        if (c < n_columns)
          store(B + (j + c) * b_stride, x[c]);
    } else { // b_stride is R: the rows of B follow one another
#pragma GCC unroll 16
      for (std::size_t r = 0; r < R; ++r)
        std::memcpy(B + j * R + r * V, &x[r], sizeof x[r]);
    }
  };
  if constexpr (R <= V) {
    if (rows == R)
      for (; j + V <= columns; j += V)
        block(R, V);
    else
      for (; j + V <= columns; j += V)
        block(rows, V);
    if (R == V && j < columns) {
      if (rows == R)
        block(R, columns - j);
      else
        block(rows, columns - j);
      j = columns;
    }
  }
  for (; j < columns; ++j)
    for (std::size_t r = 0; r < R; ++r)
      B[j * b_stride + r] = r < rows ? row(r)[j] : Real(0);
}

// The same of rows that lie a_stride apart.
template <std::size_t R, Padding padding = Padding::zeros, class Real>
FNN_INLINE void transpose_panel(const Real *A, std::size_t a_stride, std::size_t rows, std::size_t columns, Real *B,
                                std::size_t b_stride) {
  transpose_rows<R, padding, Real>([=](std::size_t r) FNN_LAMBDA { return A + r * a_stride; }, rows, columns, B,
                                   b_stride);
}

// B = A transposed.   A: (rows, columns)   B: (columns, padded rows)
template <Padding padding = Padding::zeros, class Real>
void transpose(const Real *A, std::size_t a_stride, std::size_t rows, std::size_t columns, Real *B,
               std::size_t b_stride) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t i = 0; i < rows; i += V)
    transpose_panel<V, padding>(A + i * a_stride, a_stride, std::min(V, rows - i), columns, B + i, b_stride);
}

} // namespace fnn::tuned
