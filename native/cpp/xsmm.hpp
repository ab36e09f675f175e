// xsmm.hpp: the products of mlp.hpp computed by LIBXSMM, by kernels that it generates at run time for each shape;
// mlp.hpp computes the rest of the step.
#pragma once

#include "library.hpp"
#include "mlp.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fnn {

// Call after each of LIBXSMM's kernels: they leave the upper halves of AVX's registers in use, and then code that was
// compiled without AVX, such as glibc's tanhf, takes several times as long: a step of wine-batch took 551 us in place
// of 112 (AMD EPYC with AVX2).
#if defined(__x86_64__)
[[gnu::target("avx"), gnu::noinline]] inline void clear_upper_halves_of_registers() {
  _mm256_zeroupper();
}
inline void clear_upper_halves() {
  static const bool has_avx = __builtin_cpu_supports("avx");
  if (has_avx)
    clear_upper_halves_of_registers();
}
#else
inline void clear_upper_halves() {}
#endif

// LIBXSMM 1.17 as a shared library.
class Xsmm {
public:
  // path: as for dlopen. Throws std::runtime_error if the file is not such a library, or generates no kernels for the
  // CPU that it has found or that LIBXSMM_TARGET names.
  explicit Xsmm(const std::string &path)
      : library_(path), target_(library_.find<const char *()>("libxsmm_get_target_arch")) {
    library_.find<void()>("libxsmm_init")();
    require_kernels<float>();
    require_kernels<double>();
  }

  // The prototypes of libxsmm.h. A kernel computes C <- A B, or C + A B. Matrices are stored by columns. Dispatch
  // returns the kernel of a shape, generated if need be, or null.
  template <class Real> using Kernel = void(const Real *a, const Real *b, Real *c);
  template <class Real>
  using Dispatch = Kernel<Real> *(int m, int n, int k, const int *lda, const int *ldb, const int *ldc,
                                  const Real *alpha, const Real *beta, const int *flags, const int *prefetch);
  using Transpose = void(void *out, const void *in, unsigned size, int m, int n, int ldi, int ldo);
  static constexpr int second_is_transposed = 2, no_prefetch = 0; // LIBXSMM_GEMM_FLAG_TRANS_B, ..._PREFETCH_NONE

  template <class Real> Dispatch<Real> *dispatch() const {
    return library_.find<Dispatch<Real>>(std::is_same_v<Real, float> ? "libxsmm_smmdispatch" : "libxsmm_dmmdispatch");
  }
  Transpose *transpose() const {
    return library_.find<Transpose>("libxsmm_otrans");
  }
  std::string target() const { // the CPU that it generates kernels for, such as hsw or skx
    return target_();
  }

private:
  template <class Real> void require_kernels() const {
    constexpr int n = 8, flags = 0;
    constexpr Real one = 1;
    if (!dispatch<Real>()(n, n, n, &n, &n, &n, &one, &one, &flags, &no_prefetch))
      throw std::runtime_error("it generates no kernels for " + target());
  }

  SharedLibrary library_;
  const char *(*target_)();
};

// Replaces Loops in Mlp. LIBXSMM generates a kernel when a shape first occurs, and finds it again by its shape.
//
// Since its matrices are stored by columns, each product is computed as its transpose: C^T = B^T A^T. Its kernels
// cannot transpose their first matrix, so B is transposed in a pass before. They take no factors, and where they add to
// C, they add term by term, each rounded as C is: what is added to W with a factor is computed apart, and added in a
// pass after.
template <class Real> class XsmmProducts {
public:
  explicit XsmmProducts(const Xsmm &library)
      : dispatch_(library.template dispatch<Real>()), transpose_(library.transpose()) {}

  static constexpr bool updates = true;

  // C <- keep C + factor A B.   A: (m, k), possibly a transposed view   B: (k, n)   C: (m, n)
  void add_product(Matrix<Real> C, Strided<Real> A, Matrix<const Real> B, Real factor = 1, Real keep = 1) {
    const bool direct = factor == 1 && (keep == 0 || keep == 1);
    const std::size_t entries = C.rows * C.columns;
    Real *to = direct ? C.data : scratch(entries);
    const bool plain = A.across == 1; // otherwise transposed; a single row or column matches both
    const std::size_t lda = plain ? std::max(A.down, A.columns) : std::max(A.across, A.rows);
    multiply({to, C.rows, C.columns}, B.rows, B.data, A.data, lda, plain ? 0 : Xsmm::second_is_transposed,
             direct && keep == 1);
    if (!direct)
      std::transform(C.data, C.data + entries, to, C.data, [=](Real c, Real ab) { return keep * c + factor * ab; });
  }

  // C = A B^T.   A: (m, k)   B: (n, k)   C: (m, n)
  void product_with_transposed(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B) {
    if (A.rows == 1) // to transpose B takes longer than its product with a vector
      return Loops<Real>::product_with_transposed(C, A, B);
    Real *transposed = scratch(B.rows * B.columns);
    transpose_(transposed, B.data, sizeof(Real), size(B.columns), size(B.rows), size(B.columns), size(B.rows));
    multiply(C, B.columns, transposed, A.data, A.columns, 0, false);
  }

private:
  // C^T <- B^T A^T, or C^T + B^T A^T.   k: columns of A   lda: from one row of A, as it is stored, to the next
  // In blocks of B^T that fit in the second cache, because each kernel reads its first matrix again and again.
  void multiply(Matrix<Real> C, std::size_t k, const Real *b, const Real *a, std::size_t lda, int flags, bool adds) {
    constexpr std::size_t most_k = 128, most_n = 1024 / sizeof(Real);             // 128 KiB
    const std::size_t from_column = flags & Xsmm::second_is_transposed ? lda : 1; // of A to the next
    for (std::size_t p = 0; p < k; p += most_k)
      for (std::size_t j = 0; j < C.columns; j += most_n) {
        const int n = size(std::min(most_n, C.columns - j)), depth = size(std::min(most_k, k - p));
        run(n, size(C.rows), depth, size(C.columns), size(lda), flags, adds || p > 0, b + p * C.columns + j,
            a + p * from_column, C.data + j);
      }
  }

  // c <- a b, or c + a b.   a: (m, k)   b: (k, n), or (n, k) to be transposed   c: (m, n); all by columns, those of a
  // and c `lda` apart
  void run(int m, int n, int k, int lda, int ldb, int flags, bool adds, const Real *a, const Real *b, Real *c) {
    const Real one = 1, beta = adds ? 1 : 0;
    Xsmm::Kernel<Real> *kernel = dispatch_(m, n, k, &lda, &ldb, &lda, &one, &beta, &flags, &Xsmm::no_prefetch);
    if (!kernel)
      throw std::runtime_error("LIBXSMM generates no kernel for a product of " + std::to_string(m) + " x " +
                               std::to_string(k) + " x " + std::to_string(n));
    kernel(a, b, c);
    clear_upper_halves();
  }

  // Return room for n numbers. It only grows, so that steps of one shape allocate and clear it once.
  Real *scratch(std::size_t n) {
    if (scratch_.size() < n)
      scratch_.resize(n);
    return scratch_.data();
  }

  static int size(std::size_t n) {
    return static_cast<int>(n);
  }

  Xsmm::Dispatch<Real> *dispatch_;
  Xsmm::Transpose *transpose_;
  Buffer<Real> scratch_; // A B, or B transposed
};

} // namespace fnn
