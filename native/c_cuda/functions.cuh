/* functions.cuh: the activations, the losses and the reductions over a warp that all kernels share.
 *
 * What this file does not do: launch, or know how a network is laid out.
 */
#pragma once
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

namespace fnn {

constexpr int warp_size = 32;
constexpr unsigned all_lanes = 0xffffffffu;

enum Activation { identity_row, sigmoid_row, tanh_row, relu_row, softmax_row };
constexpr const char *activations[] = {"identity", "sigmoid", "tanh", "relu", "softmax"};

enum Loss { squared_row, half_squared_row, softmax_cross_entropy_row, sigmoid_cross_entropy_row };
struct LossRow {
  const char *name;
  int fuses;    /* the output activation that belongs to it; -1: any elementwise one */
  double slope; /* dL/dy, or where fused dL/dz, is this times y - t */
};
constexpr LossRow losses[] = {
    {"squared_error", -1, 2},
    {"half_squared_error", -1, 1},
    {"softmax_cross_entropy", softmax_row, 1},
    {"sigmoid_cross_entropy", sigmoid_row, 1},
};

/* a = f(z), for an elementwise f; the softmax of a row is its kernel's business. */
template <typename Real> __device__ __forceinline__ Real apply(int f, Real z) {
  switch (f) {
  case sigmoid_row:
    return 1 / (1 + exp(-z));
  case tanh_row:
    return tanh(z);
  case relu_row:
    return z < 0 ? Real(0) : z; /* this way round, NaN stays NaN */
  default:
    return z;
  }
}

/* f'(z) delta, where a = f(z). */
template <typename Real> __device__ __forceinline__ Real through(int f, Real a, Real delta) {
  switch (f) {
  case sigmoid_row:
    return delta * (a * (1 - a));
  case tanh_row:
    return delta * (1 - a * a);
  case relu_row:
    return a > 0 ? delta : Real(0);
  default:
    return delta;
  }
}

/* The sum and the largest of a warp's numbers, on all of its lanes, in a fixed order. */
template <typename Number> __device__ __forceinline__ Number warp_sum(Number number) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2)
    number += __shfl_xor_sync(all_lanes, number, distance);
  return number;
}

template <typename Number> __device__ __forceinline__ Number warp_largest(Number number) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2) {
    const Number other = __shfl_xor_sync(all_lanes, number, distance);
    number = other > number ? other : number;
  }
  return number;
}

/* 16 bytes: what one load, store or asynchronous copy moves at most. */
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

constexpr int64_t round_up(int64_t number, int64_t multiple) {
  return (number + multiple - 1) / multiple * multiple;
}

} // namespace fnn
