// xsmm.hpp: the products of mlp.hpp computed by LIBXSMM, by kernels that it generates at run time for each shape;
// mlp.hpp computes the rest of the step.
#pragma once

#include "library.hpp"
#include "mlp.hpp"

namespace fnn {

// LIBXSMM 1.17 as a shared library.
class Xsmm {
public:
  // path: as for dlopen. Throws std::runtime_error if the file is not such a library.
  explicit Xsmm(const std::string &path)
      : library_(path), target_(library_.find<const char *()>("libxsmm_get_target_arch")) {
    library_.find<void()>("libxsmm_init")();
  }

  template <class Signature> Signature *find(const std::string &name) const {
    return library_.find<Signature>(name);
  }
  std::string target() const { // the CPU that it generates kernels for, such as hsw or skx
    return target_();
  }

private:
  SharedLibrary library_;
  const char *(*target_)();
};

// Replaces Loops in Mlp. LIBXSMM generates a kernel when a shape first occurs, and finds it again by its shape.
//
// Its matrices are stored by columns, so each product is computed as its transpose: C^T = B^T A^T. Its kernels add A B
// to C or replace C by it, without factors, and cannot transpose their first matrix.
template <class Real> class XsmmProducts {
public:
  explicit XsmmProducts(std::shared_ptr<const Xsmm> library) : library_(std::move(library)) {
    const std::string type = std::is_same_v<Real, float> ? "s" : "d";
    dispatch_ = library_->template find<Dispatch>("libxsmm_" + type + "mmdispatch");
    transpose_ = library_->template find<Transpose>("libxsmm_otrans");
  }

  static constexpr bool updates = true;

  // C <- keep C + factor A B.   A: (m, k), possibly a transposed view   B: (k, n)   C: (m, n)
  void add_product(Matrix<Real> C, Strided<Real> A, Matrix<const Real> B, Real factor = 1, Real keep = 1) {
    if (keep != 0 && keep != 1)
      std::transform(C.data, C.data + C.rows * C.columns, C.data, [keep](Real c) { return keep * c; });
    const Real *b = B.data;
    if (factor != 1) {
      scratch_.resize(B.rows * B.columns);
      std::transform(b, b + scratch_.size(), scratch_.data(), [factor](Real v) { return factor * v; });
      b = scratch_.data();
    }
    const bool plain = A.across == 1; // otherwise transposed; a single row or column matches both
    const std::size_t lda = plain ? std::max(A.down, A.columns) : std::max(A.across, A.rows);
    multiply(C, B.rows, b, A.data, lda, plain ? 0 : second_is_transposed, keep != 0);
  }

  // C = A B^T.   A: (m, k)   B: (n, k)   C: (m, n)
  void product_with_transposed(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B) {
    if (A.rows == 1) // to transpose B takes longer than its product with a vector
      return Loops<Real>::product_with_transposed(C, A, B);
    scratch_.resize(B.rows * B.columns);
    transpose_(scratch_.data(), B.data, sizeof(Real), size(B.columns), size(B.rows), size(B.columns), size(B.rows));
    multiply(C, B.columns, scratch_.data(), A.data, A.columns, 0, false);
  }

private:
  // The prototypes and enums of libxsmm.h and libxsmm_typedefs.h.
  static constexpr int second_is_transposed = 2, no_prefetch = 0; // LIBXSMM_GEMM_FLAG_TRANS_B, ..._PREFETCH_NONE
  using Kernel = void(const Real *a, const Real *b, Real *c);
  using Dispatch = Kernel *(int m, int n, int k, const int *lda, const int *ldb, const int *ldc, const Real *alpha,
                            const Real *beta, const int *flags, const int *prefetch);
  using Transpose = void(void *out, const void *in, unsigned size, int m, int n, int ldi, int ldo);

  // C^T <- B^T A^T, or C^T + B^T A^T.   k: columns of A   lda: from one row of A, as it is stored, to the next
  void multiply(Matrix<Real> C, std::size_t k, const Real *b, const Real *a, std::size_t lda, int flags, bool adds) {
    const int n = size(C.columns), m = size(C.rows), stride = size(lda);
    const Real one = 1, beta = adds ? 1 : 0;
    Kernel *kernel = dispatch_(n, m, size(k), &n, &stride, &n, &one, &beta, &flags, &no_prefetch);
    if (!kernel)
      throw std::runtime_error("LIBXSMM generates no kernel for a product of " + std::to_string(m) + " x " +
                               std::to_string(k) + " x " + std::to_string(n) + " on this CPU");
    kernel(b, a, C.data);
  }

  static int size(std::size_t n) {
    return static_cast<int>(n);
  }

  std::shared_ptr<const Xsmm> library_;
  Dispatch *dispatch_;
  Transpose *transpose_;
  Buffer<Real> scratch_; // B scaled, or transposed
};

} // namespace fnn
