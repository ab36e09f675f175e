/* cublas.hpp: the products of a step by cuBLAS, opened at run time: building and loading this library need no cuBLAS.
 *
 * CUBLAS_PEDANTIC_MATH keeps float32 in float32: no TF32. A workspace of its own makes each call give the same bits.
 */
#pragma once
#include "device.hpp"
#include "product.cuh"
#include <dlfcn.h>

namespace fnn {

/* Values and types of cublas_v2.h, which the build does not need. */
enum { cublas_plain = 0, cublas_transposed = 1, cublas_pedantic_math = 2 };
using CublasHandle = struct cublasContext *;

/* The epilogue of a product that lies in C. */
template <Product product, typename Real>
__global__ void __launch_bounds__(256) epilogue_all(ProductArguments<Real> arguments) {
  constexpr int length = Pack<Real>::length;
  const int64_t packs = arguments.C.stride / length, all = arguments.m * packs;
  for (int64_t e = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; e < all; e += int64_t(gridDim.x) * blockDim.x) {
    const int64_t row = e / packs, column = e % packs * length;
    epilogue<product>(arguments, row, column, load(arguments.C.data + row * arguments.C.stride + column));
  }
}

/* The functions of libcublas that this file calls. */
struct CublasLibrary {
  int (*create)(CublasHandle *);
  int (*destroy)(CublasHandle);
  int (*property)(int, int *);
  int (*set_stream)(CublasHandle, cudaStream_t);
  int (*set_workspace)(CublasHandle, void *, std::size_t);
  int (*set_math_mode)(CublasHandle, int);
  int (*sgemm)(CublasHandle, int, int, int, int, int, const float *, const float *, int, const float *, int,
               const float *, float *, int);
  int (*dgemm)(CublasHandle, int, int, int, int, int, const double *, const double *, int, const double *, int,
               const double *, double *, int);
};

/* The products of one model, with a handle of its own. */
class Cublas {
public:
  Cublas() : library_(open()), workspace_(workspace_bytes) {
    check(library_.create(&handle_), "cublasCreate");
    try {
      check(library_.set_math_mode(handle_, cublas_pedantic_math), "cublasSetMathMode");
    } catch (...) {
      library_.destroy(handle_);
      throw;
    }
  }
  Cublas(const Cublas &) = delete;
  Cublas &operator=(const Cublas &) = delete;
  ~Cublas() {
    library_.destroy(handle_);
  }

  /* Return the cuBLAS that is loaded already, or that the system finds; throw DeviceUnavailable without one. */
  static CublasLibrary open() {
    void *found = nullptr;
    for (const int mode : {RTLD_NOW | RTLD_NOLOAD, RTLD_NOW}) /* open until the process ends */
      for (const char *name : {"libcublas.so.13", "libcublas.so.12", "libcublas.so"})
        if (found == nullptr)
          found = dlopen(name, mode);
    if (found == nullptr)
      throw DeviceUnavailable{"no cuBLAS is found: neither libcublas.so.13 nor libcublas.so.12 can be loaded",
                              "install the CUDA toolkit's cuBLAS, or: pip install nvidia-cublas"};
    CublasLibrary library{};
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
    const CublasLibrary library = open();
    std::string words;
    for (int part = 0; part < 3; part++) { /* MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL */
      int number = 0;
      check(library.property(part, &number), "cublasGetProperty");
      words += (part > 0 ? "." : "") + std::to_string(number);
    }
    return words;
  }

  /* Compute a product and its epilogue, as launch_product does. An update in place needs no epilogue: cuBLAS itself
   * scales it, W <- -rate A^T B + (1 - rate l2) W. */
  template <Product product, typename Real>
  void multiply(cudaStream_t stream, const ProductArguments<Real> &given) const {
    check(library_.set_stream(handle_, stream), "cublasSetStream");
    check(library_.set_workspace(handle_, workspace_.data(), workspace_bytes), "cublasSetWorkspace");
    const bool update = product == update_product && given.in_place;
    const Real scale = update ? -given.rate : Real(1), keep = update ? 1 - given.rate * given.l2 : Real(0);
    /* cuBLAS expects matrices by columns, and so reads ours as their transposes: C^T = B^T A^T. */
    const int b = product == propagate_product ? cublas_transposed : cublas_plain;
    const int a = product == update_product ? cublas_transposed : cublas_plain;
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
      launch(stream, dim3(512), 256, 0, "the launch of epilogue_all", epilogue_all<product, Real>, given);
  }

private:
  static constexpr int64_t workspace_bytes = 32 << 20; /* cuBLAS's own default on Hopper */

  static void check(int status, const char *call) {
    if (status != 0)
      throw Failure(FNN_DEVICE, std::string(call) + ": cuBLAS returned status " + std::to_string(status));
  }

  static int number(int64_t size) {
    if (size > INT32_MAX)
      throw Failure(FNN_UNSUPPORTED, "a matrix with a side of " + std::to_string(size) + ": cuBLAS takes 32-bit sizes");
    return int(size);
  }

  template <typename Function> static void take(void *library, const char *name, Function *&function) {
    function = reinterpret_cast<Function *>(dlsym(library, name));
    if (function == nullptr)
      throw DeviceUnavailable{std::string("the cuBLAS found here has no ") + name, "install cuBLAS 12 or 13"};
  }

  CublasLibrary library_;
  Buffer<unsigned char> workspace_;
  CublasHandle handle_ = nullptr;
};

} // namespace fnn
