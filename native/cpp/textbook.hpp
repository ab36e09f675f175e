// textbook.hpp: the products of mlp.hpp as a textbook has them: every number is one sum, from its first term to its
// last. No blocking and no partial sums: Loops has those.
#pragma once

#include "mlp.hpp"

namespace fnn {

// Takes the place of Loops in Mlp.
template <class Real> struct TripleLoops {
  // C += A B.   A: (m, k), possibly a transposed view   B: (k, n)   C: (m, n)
  static void add_product(Matrix<Real> C, Strided<Real> A, Matrix<const Real> B) {
    for (std::size_t i = 0; i < C.rows; ++i)
      for (std::size_t j = 0; j < C.columns; ++j) {
        Real sum = C[i][j];
        for (std::size_t p = 0; p < B.rows; ++p)
          sum += A(i, p) * B[p][j];
        C[i][j] = sum;
      }
  }

  // C = A B^T.   A: (m, k)   B: (n, k)   C: (m, n)
  static void product_with_transposed(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B) {
    for (std::size_t i = 0; i < C.rows; ++i)
      for (std::size_t j = 0; j < C.columns; ++j) {
        Real sum = 0;
        for (std::size_t p = 0; p < B.columns; ++p)
          sum += A[i][p] * B[j][p];
        C[i][j] = sum;
      }
  }
};

} // namespace fnn
