// lane_sums.hpp: products whose sums run along the vectors: C = start + P Q^T, for rows of many samples. The lanes are
// added up at the end, for a whole vector of sums at once, which pays off for many samples.
#pragma once

#include "product.hpp"

namespace fnn::tuned {

// A matrix with one row per feature, in strips of samples: element (feature i, sample n of strip s) is
// data[(s * rows + i) * width + n]. The rows of a strip follow one another, so that a strip stays in the cache.
template <class Real> struct Strips {
  Real *data;
  std::size_t rows, width; // features, padded to whole vectors; samples of a strip

  Real *strip(std::size_t s) const {
    return data + s * rows * width;
  }
};

// Return a vector whose lane i is the sum of the lanes of x[i], by halving: always in the same order.
template <class Real, std::size_t n = lanes<Real>> FNN_INLINE Vector<Real> lane_sums(Vector<Real> (&x)[lanes<Real>]) {
  if constexpr (n > 1) {
#pragma GCC unroll 8
    for (std::size_t r = 0; r < n / 2; ++r) {
      Vector<Real> low, high;
      interleave<Real>(x[r], x[r + n / 2], low, high, std::make_index_sequence<lanes<Real>>());
      x[r] = low + high;
    }
    return lane_sums<Real, n / 2>(x);
  } else {
    return x[0];
  }
}

// Return, for each of a vector of rows of Q from `row` on, its sum over the samples: weighted by row i of P, or, if P
// is null, as they are.   samples: a multiple of the lanes
template <class Real>
FNN_INLINE Vector<Real> sums_of_rows(const Strips<Real> &Q, std::size_t row, const Strips<Real> *P, std::size_t i,
                                     std::size_t samples) {
  constexpr std::size_t V = lanes<Real>, groups = (V + 2) / 3;
  const std::size_t width = Q.width;
  Vector<Real> sums[V];
#pragma GCC unroll 16
  for (std::size_t r = 0; r < V; ++r)
    sums[r] = Vector<Real>{};
  const Real *q[groups]; // one pointer serves three rows: see micro_kernel
#pragma GCC unroll 6
  for (std::size_t g = 0; g < groups; ++g) {
    q[g] = Q.data + (row + 3 * g) * width;
    asm("" : "+r"(q[g]));
  }
  const Real *p = P ? P->data + i * width : nullptr;
  for (std::size_t left = samples; left > 0;) {
    const std::size_t here = std::min(width, left);
    for (std::size_t n = 0; n < here; n += V) {
      const Vector<Real> weight = P ? load(p) : broadcast(Real(1));
#pragma GCC unroll 16
      for (std::size_t r = 0; r < V; ++r)
        sums[r] += weight * load(q[r / 3] + r % 3 * width);
#pragma GCC unroll 6
      for (std::size_t g = 0; g < groups; ++g)
        q[g] += V;
      p += P ? V : 0;
    }
    left -= here;
#pragma GCC unroll 6
    for (std::size_t g = 0; g < groups; ++g)
      q[g] += Q.rows * width - here;
    p += P ? P->rows * width - here : 0;
  }
  return lane_sums<Real>(sums);
}

// Write the sums S of one vector of C, whose first element is C[at] of the result.
template <class Real> FNN_INLINE void write(const Result<Real> &to, std::size_t at, Vector<Real> S) {
  const Vector<Real> factor = to.scale * load(to.W + at);
  store(to.C + at, to.epilogue == Epilogue::update ? load(to.C + at) + (S + factor) : S + factor);
}

// C = start + P Q^T, which is dW or its update, from A_below and delta. The padding of C stays 0. row_sums(j, sums) is
// called with each vector of sums of the rows of Q, from row j on: they are db.
//
// P: (rows, samples)   Q: (columns, samples)   to: with Epilogue::gradient or update
template <class Real, class F>
void lane_product(const Strips<Real> &P, std::size_t rows, const Strips<Real> &Q, std::size_t columns,
                  std::size_t samples, const Result<Real> &to, F row_sums) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t j = 0; j < columns; j += V) {
    const auto unpadded = [&](Vector<Real> S)
                              FNN_LAMBDA { return j + V > columns ? first_lanes<Real>(S, columns - j) : S; };
    row_sums(j, unpadded(sums_of_rows<Real>(Q, j, nullptr, 0, samples)));
    for (std::size_t i = 0; i < rows; ++i)
      write(to, i * to.stride + j, unpadded(sums_of_rows<Real>(Q, j, &P, i, samples)));
  }
}

// The same for at most half a vector of columns: a vector of sums goes down the rows of C, and is stored by element.
template <class Real, class F>
void narrow_lane_product(const Strips<Real> &P, std::size_t rows, const Strips<Real> &Q, std::size_t columns,
                         std::size_t samples, const Result<Real> &to, F row_sums) {
  constexpr std::size_t V = lanes<Real>;
  row_sums(0, first_lanes<Real>(sums_of_rows<Real>(Q, 0, nullptr, 0, samples), columns));
  for (std::size_t j = 0; j < columns; ++j)
    for (std::size_t i = 0; i < rows; i += V) {
      const Vector<Real> S = sums_of_rows<Real>(P, i, &Q, j, samples);
      for (std::size_t lane = 0; lane < std::min(V, rows - i); ++lane) {
        const std::size_t at = (i + lane) * to.stride + j;
        const Real sum = S[lane] + to.scale * to.W[at];
        to.C[at] = to.epilogue == Epilogue::update ? to.C[at] + sum : sum;
      }
    }
}

} // namespace fnn::tuned
