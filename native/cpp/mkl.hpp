// mkl.hpp: the products of mlp.hpp computed by Intel's MKL, by kernels that it generates at run time for each shape;
// mlp.hpp computes the rest of the step. It opens MKL at run time and uses it on one thread.
#pragma once

#include "library.hpp"
#include "mlp.hpp"

#include <array>

namespace fnn {

// MKL's single dynamic library, libmkl_rt, with 32-bit sizes and its sequential layer.
class Mkl {
public:
  // path: as for dlopen. Throws std::runtime_error if the file is not such a library, or another part of the process
  // has chosen another layer.
  explicit Mkl(const std::string &path) : library_(path) {
    constexpr int lp64 = 0, sequential = 1; // MKL_INTERFACE_LP64, MKL_THREADING_SEQUENTIAL of mkl_service.h
    if (find<int(int)>("MKL_Set_Interface_Layer")(lp64) != lp64)
      throw std::runtime_error("it keeps another interface than LP64");
    if (find<int(int)>("MKL_Set_Threading_Layer")(sequential) != sequential)
      throw std::runtime_error("it keeps another threading layer than the sequential one");
    find<void(char *, int)>("MKL_Get_Version_String")(version_.data(), static_cast<int>(version_.size()));
    branch_ = find<int(int)>("MKL_CBWR_Get_Auto_Branch");
  }

  template <class Signature> Signature *find(const std::string &name) const {
    return library_.find<Signature>(name);
  }

  std::string version() const {
    return version_.data();
  }
  int branch() const { // the kernels that it chooses for this CPU: MKL_CBWR_... of mkl_types.h
    return branch_(0);
  }

private:
  SharedLibrary library_;
  std::array<char, 256> version_{};
  int (*branch_)(int) = nullptr;
};

// Replaces Loops in Mlp. MKL generates a kernel when a shape first occurs, in about a millisecond; where it has none
// for a shape, which holds for large ones, its kernel calls gemm.
template <class Real> class MklProducts {
public:
  explicit MklProducts(const Mkl &library) {
    const std::string type = std::is_same_v<Real, float> ? "s" : "d";
    create_ = library.template find<Create>("mkl_cblas_jit_create_" + type + "gemm");
    get_ = library.template find<Run *(const void *)>("mkl_jit_get_" + type + "gemm_ptr");
    destroy_ = library.template find<int(void *)>("mkl_jit_destroy");
    gemm_ = library.template find<Gemm>("cblas_" + type + "gemm");
  }

  static constexpr bool updates = true;

  // C <- keep C + factor A B.   A: (m, k), possibly a transposed view   B: (k, n)   C: (m, n)
  void add_product(Matrix<Real> C, Strided<Real> A, Matrix<const Real> B, Real factor = 1, Real keep = 1) {
    const bool plain = A.across == 1; // otherwise transposed; a single row or column matches both
    const std::size_t lda = plain ? std::max(A.down, A.columns) : std::max(A.across, A.rows);
    multiply({plain ? not_transposed : transposed, not_transposed, size(C.rows), size(C.columns), size(B.rows),
              size(lda), size(B.columns), factor, keep},
             A.data, B.data, C.data);
  }

  // C = A B^T.   A: (m, k)   B: (n, k)   C: (m, n)
  void product_with_transposed(Matrix<Real> C, Matrix<const Real> A, Matrix<const Real> B) {
    multiply({not_transposed, transposed, size(C.rows), size(C.columns), size(B.columns), size(A.columns),
              size(B.columns), 1, 0},
             A.data, B.data, C.data);
  }

private:
  // The enums and prototypes of mkl.h.
  static constexpr int row_major = 101, not_transposed = 111, transposed = 112, failed = 2;
  using Run = void(void *kernel, const Real *a, const Real *b, Real *c);
  using Create = int(void **kernel, int layout, int trans_a, int trans_b, int m, int n, int k, Real alpha, int lda,
                     int ldb, Real beta, int ldc);
  using Gemm = void(int layout, int trans_a, int trans_b, int m, int n, int k, Real alpha, const Real *a, int lda,
                    const Real *b, int ldb, Real beta, Real *c, int ldc);

  // What a kernel is generated for: C <- beta C + alpha A B.   C: (m, n), dense
  struct Shape {
    int trans_a, trans_b, m, n, k, lda, ldb;
    Real alpha, beta;

    bool operator==(const Shape &other) const {
      return trans_a == other.trans_a && trans_b == other.trans_b && m == other.m && n == other.n && k == other.k &&
             lda == other.lda && ldb == other.ldb && alpha == other.alpha && beta == other.beta;
    }
  };
  struct Kernel {
    Shape shape;
    Run *run;
    std::unique_ptr<void, int (*)(void *)> of;
  };
  static constexpr std::size_t most_kernels = 64; // of one network; further shapes go through gemm

  void multiply(const Shape &shape, const Real *a, const Real *b, Real *c) {
    if (Kernel *kernel = find(shape))
      kernel->run(kernel->of.get(), a, b, c);
    else
      gemm_(row_major, shape.trans_a, shape.trans_b, shape.m, shape.n, shape.k, shape.alpha, a, shape.lda, b, shape.ldb,
            shape.beta, c, shape.n);
  }

  // Return the kernel of this shape, generated if need be; null if there is none. Steps repeat their products in one
  // order, so the search begins after the kernel that was used last.
  Kernel *find(const Shape &shape) {
    for (std::size_t i = 0; i < kernels_.size(); ++i) {
      next_ = next_ + 1 < kernels_.size() ? next_ + 1 : 0;
      if (kernels_[next_].shape == shape)
        return &kernels_[next_];
    }
    if (kernels_.size() == most_kernels)
      return nullptr;
    void *kernel = nullptr;
    const Shape &s = shape;
    if (create_(&kernel, row_major, s.trans_a, s.trans_b, s.m, s.n, s.k, s.alpha, s.lda, s.ldb, s.beta, s.n) == failed)
      return nullptr;
    next_ = kernels_.size();
    kernels_.push_back({shape, get_(kernel), {kernel, destroy_}});
    return &kernels_.back();
  }

  static int size(std::size_t n) {
    return static_cast<int>(n);
  }

  Create *create_;
  Run *(*get_)(const void *);
  int (*destroy_)(void *);
  Gemm *gemm_;
  std::vector<Kernel> kernels_;
  std::size_t next_ = 0;
};

} // namespace fnn
