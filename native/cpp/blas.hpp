// blas.hpp: the products of mlp.hpp computed by CBLAS; mlp.hpp computes the rest of the step. It opens an OpenBLAS at
// run time, because a process can hold several, NumPy's among them.
#pragma once

#include "library.hpp"
#include "mlp.hpp"

namespace fnn {

// An OpenBLAS with 32-bit sizes. The library has one number of threads for the whole process.
class OpenBlas {
public:
  // path: as for dlopen. Throws std::runtime_error if the file is not such a library.
  explicit OpenBlas(const std::string &path) : library_(path) {
    // SciPy's build prefixes its symbols so that they do not collide with another BLAS.
    prefix_ = library_.has("scipy_cblas_sgemm") ? "scipy_" : "";
    set_threads_ = find<void(int)>("openblas_set_num_threads");
    get_threads_ = find<int()>("openblas_get_num_threads");
    config_ = find<char *()>("openblas_get_config");
    core_ = find<char *()>("openblas_get_corename");
  }

  template <class Signature> Signature *find(const std::string &name) const {
    return library_.find<Signature>(prefix_ + name);
  }

  void set_threads(int threads) const {
    set_threads_(threads);
  }
  int threads() const {
    return get_threads_();
  }
  std::string config() const { // version and build options
    return config_();
  }
  std::string core() const { // the kernels in use: chosen for this CPU, or by OPENBLAS_CORETYPE
    return core_();
  }

private:
  SharedLibrary library_;
  std::string prefix_;
  void (*set_threads_)(int);
  int (*get_threads_)();
  char *(*config_)(), *(*core_)();
};

// Replaces Loops in Mlp. A product with one row becomes a matrix-vector product, one of rank 1 an outer product.
template <class Real> class Blas {
public:
  explicit Blas(const OpenBlas &library) {
    const std::string cblas = std::is_same_v<Real, float> ? "cblas_s" : "cblas_d";
    gemm_ = library.template find<Gemm>(cblas + "gemm");
    gemv_ = library.template find<Gemv>(cblas + "gemv");
    ger_ = library.template find<Ger>(cblas + "ger");
  }

  static constexpr bool updates = true;

  // C <- keep C + factor A B.   A: (m, k), possibly a transposed view   B: (k, n)   C: (m, n)
  void add_product(Matrix<Real> C, Strided<Real> A, Matrix<const Real> B, Real factor = 1, Real keep = 1) const {
    const int m = size(C.rows), n = size(C.columns), k = size(B.rows);
    const bool plain = A.across == 1; // otherwise transposed; a single row or column matches both
    const int lda = size(plain ? std::max(A.down, A.columns) : std::max(A.across, A.rows));
    if (m == 1)
      gemv_(row_major, transposed, k, n, factor, B.data, n, A.data, size(A.across), keep, C.data, 1);
    else if (k == 1 && keep == 1)
      ger_(row_major, m, n, factor, A.data, size(A.down), B.data, 1, C.data, n);
    else
      gemm_(row_major, plain ? not_transposed : transposed, not_transposed, m, n, k, factor, A.data, lda, B.data, n,
            keep, C.data, n);
  }

  // C = A B^T.   A: (m, k)   B: (n, k)   C: (m, n)
  void product_with_transposed(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B) const {
    const int m = size(C.rows), n = size(C.columns), k = size(B.columns);
    if (m == 1)
      gemv_(row_major, not_transposed, n, k, 1, B.data, k, A.data, 1, 0, C.data, 1);
    else
      gemm_(row_major, not_transposed, transposed, m, n, k, 1, A.data, k, B.data, k, 0, C.data, n);
  }

private:
  // The enums and prototypes of cblas.h.
  static constexpr int row_major = 101, not_transposed = 111, transposed = 112;
  using Gemm = void(int layout, int trans_a, int trans_b, int m, int n, int k, Real alpha, const Real *a, int lda,
                    const Real *b, int ldb, Real beta, Real *c, int ldc);
  using Gemv = void(int layout, int trans, int m, int n, Real alpha, const Real *a, int lda, const Real *x, int incx,
                    Real beta, Real *y, int incy);
  using Ger = void(int layout, int m, int n, Real alpha, const Real *x, int incx, const Real *y, int incy, Real *a,
                   int lda);

  static int size(std::size_t n) {
    return static_cast<int>(n);
  }

  Gemm *gemm_;
  Gemv *gemv_;
  Ger *ger_;
};

} // namespace fnn
