/* blas.hpp: the products of a step by cuBLAS, which is opened at run time: nothing of it is needed to build or load
 * this.
 *
 * In float32 its mathematics is float32's: CUBLAS_PEDANTIC_MATH keeps TF32 and other short cuts out. A workspace of its
 * own makes it give the same bits each time.
 */
#pragma once
#include "device.hpp"
#include "product.cuh"
#include <dlfcn.h>

namespace fnn {

/* Of cublas_v2.h, which need not be there. */
enum { blas_plain = 0, blas_transposed = 1, blas_pedantic_math = 2 };
using BlasHandle = struct cublasContext *;

/* finish() for a product that lies in `sums` (C itself, or dW). */
template <Product product, typename Real>
__global__ void __launch_bounds__(256) finish_all(ProductArguments<Real> arguments) {
  constexpr int length = Pack<Real>::length;
  const int64_t packs = arguments.C.stride / length, all = arguments.m * packs;
  for (int64_t e = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; e < all; e += int64_t(gridDim.x) * blockDim.x) {
    const int64_t row = e / packs, column = e % packs * length;
    finish<product>(arguments, row, column, load(arguments.C.data + row * arguments.C.stride + column));
  }
}

/* The functions of libcublas that are used. */
struct BlasLibrary {
  int (*create)(BlasHandle *);
  int (*destroy)(BlasHandle);
  int (*property)(int, int *);
  int (*set_stream)(BlasHandle, cudaStream_t);
  int (*set_workspace)(BlasHandle, void *, std::size_t);
  int (*set_math_mode)(BlasHandle, int);
  int (*sgemm)(BlasHandle, int, int, int, int, int, const float *, const float *, int, const float *, int,
               const float *, float *, int);
  int (*dgemm)(BlasHandle, int, int, int, int, int, const double *, const double *, int, const double *, int,
               const double *, double *, int);
};

/* Product of one network's matrices. A handle a model: nothing is shared. */
class Blas {
public:
  Blas() : library_(open()), workspace_(workspace_bytes) {
    check(library_.create(&handle_), "cublasCreate");
    try {
      check(library_.set_math_mode(handle_, blas_pedantic_math), "cublasSetMathMode");
    } catch (...) {
      library_.destroy(handle_);
      throw;
    }
  }
  Blas(const Blas &) = delete;
  Blas &operator=(const Blas &) = delete;
  ~Blas() {
    library_.destroy(handle_);
  }

  /* The library that is loaded already, or that the system finds; throws Unusable where there is none. */
  static BlasLibrary open() {
    void *found = nullptr;
    for (const int mode : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW}) /* stays open as long as the process */
      for (const char *name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"})
        if (found == nullptr)
          found = dlopen(name, mode);
    if (found == nullptr)
      throw Unusable{"no cuBLAS is found: neither libcublas.so.13 nor libcublas.so.12 can be loaded",
                     "install the CUDA toolkit's cuBLAS, or: pip install nvidia-cublas"};
    BlasLibrary library{};
    take(found, "cublasCreate_v2", library.create);
    take(found, "cublasDestroy_v2", library.destroy);
    take(found, "cublasGetProperty", library.property);
    take(found, "cublasSetStream_v2", library.set_stream);
    take(found, "cublasSetWorkspace_v2", library.set_workspace);
    take(found, "cublasSetMathMode", library.set_math_mode);
    take(found, "cublasSgemm_v2", library.sgemm);
    take(found, "cublasDgemm_v2", library.dgemm);
    return library;
  }

  static std::string version() {
    const BlasLibrary library = open();
    std::string words;
    for (int part = 0; part < 3; part++) { /* MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL */
      int number = 0;
      check(library.property(part, &number), "cublasGetProperty");
      words += (part > 0 ? "." : "") + std::to_string(number);
    }
    return words;
  }

  /* As launch_product: what a product is fused with there, follows it here, but for the update, which cuBLAS scales:
   * W <- -rate A^T B + (1 - rate l2) W. */
  template <Product product, typename Real>
  void multiply(cudaStream_t stream, const ProductArguments<Real> &given) const {
    check(library_.set_stream(handle_, stream), "cublasSetStream");
    check(library_.set_workspace(handle_, workspace_.data(), workspace_bytes), "cublasSetWorkspace");
    const bool update = product == update_product && given.move;
    const Real scale = update ? -given.rate : Real(1), keep = update ? 1 - given.rate * given.l2 : Real(0);
    /* cuBLAS reads a matrix row by row as its transpose: C^T = B^T A^T. */
    const int b = product == propagate_product ? blas_transposed : blas_plain;
    const int a = product == update_product ? blas_transposed : blas_plain;
    const int n = number(given.n), m = number(given.m), k = number(given.k);
    const int B_stride = number(given.B.stride), A_stride = number(given.A.stride), C_stride = number(given.C.stride);
    const auto call = [&](auto gemm) {
      check(gemm(handle_, b, a, n, m, k, &scale, given.B.data, B_stride, given.A.data, A_stride, &keep, given.C.data,
                 C_stride),
            "cublasGemm");
    };
    if constexpr (sizeof(Real) == sizeof(float))
      call(library_.sgemm);
    else
      call(library_.dgemm);
    if (!update)
      launch(stream, dim3(512), 256, 0, "the launch of finish_all", finish_all<product, Real>, given);
  }

private:
  static constexpr int64_t workspace_bytes = 32 << 20; /* what cuBLAS itself takes on Hopper */

  static void check(int status, const char *call) {
    if (status != 0)
      throw Failure(FNN_DEVICE, std::string(call) + ": cuBLAS's status " + std::to_string(status));
  }

  static int number(int64_t size) {
    if (size > INT32_MAX)
      throw Failure(FNN_UNSUPPORTED, "a matrix with a side of " + std::to_string(size) + ": cuBLAS takes 32-bit sizes");
    return int(size);
  }

  template <typename Function> static void take(void *library, const char *name, Function *&function) {
    function = reinterpret_cast<Function *>(dlsym(library, name));
    if (function == nullptr)
      throw Unusable{std::string("the cuBLAS that is found has no ") + name, "install cuBLAS 12 or 13"};
  }

  BlasLibrary library_;
  Buffer<unsigned char> workspace_;
  BlasHandle handle_ = nullptr;
};

} // namespace fnn
