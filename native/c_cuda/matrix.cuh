/* matrix.cuh: the layout of arrays on the device: matrices by rows, padded to packs of 16 bytes. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

namespace fnn {

/* 16 bytes: the most that one load, store or asynchronous copy moves. */
template <typename Real> struct alignas(16) Pack {
  static constexpr int length = 16 / sizeof(Real);
  Real at[length];
};

template <typename Real> __device__ __forceinline__ Pack<Real> load(const Real *from) {
  return *reinterpret_cast<const Pack<Real> *>(from);
}

template <typename Real> __device__ __forceinline__ void store(Real *to, const Pack<Real> &pack) {
  *reinterpret_cast<Pack<Real> *>(to) = pack;
}

template <typename Real> struct Matrix {
  Real *data;
  int64_t stride; /* of a row, in numbers: a multiple of a pack's length */
};

constexpr int64_t round_up(int64_t number, int64_t multiple) {
  return (number + multiple - 1) / multiple * multiple;
}

/* Return the number of blocks that share `size` items, `each` to a block. */
constexpr int64_t blocks_for(int64_t size, int64_t each) {
  return (size + each - 1) / each;
}

} // namespace fnn
