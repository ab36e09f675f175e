/* functions.cuh: the tables of activations and losses, and the reductions over a warp that all kernels share.
 *
 * Not here: launches, and the layout of a network.
 */
#pragma once
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

namespace fnn {

constexpr int warp_size = 32;
constexpr unsigned all_lanes = 0xffffffffu;

/* --- Activations. A switch in place of function pointers: device code inlines it. --------------------------------- */

enum Activation { identity_row, sigmoid_row, tanh_row, relu_row, softmax_row };
constexpr const char *activations[] = {"identity", "sigmoid", "tanh", "relu", "softmax"};

/* Report whether an activation works number by number, and so needs no loss that fuses it. */
constexpr bool is_elementwise(int activation) {
  return activation != softmax_row;
}

/* a = f(z), for an elementwise f; a kernel computes the softmax of a whole row. */
template <typename Real> __device__ __forceinline__ Real activation_value(int f, Real z) {
  switch (f) {
  case sigmoid_row:
    return 1 / (1 + exp(-z));
  case tanh_row:
    return tanh(z);
  case relu_row:
    return z < 0 ? Real(0) : z; /* in this order, NaN stays NaN */
  default:
    return z;
  }
}

/* f'(z) delta, computed from a = f(z). */
template <typename Real> __device__ __forceinline__ Real activation_backward(int f, Real a, Real delta) {
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

/* --- Losses. ------------------------------------------------------------------------------------------------------ */

enum Loss { squared_row, half_squared_row, softmax_cross_entropy_row, sigmoid_cross_entropy_row };
struct LossRow {
  const char *name;
  int fuses;         /* the only output activation it takes; -1: it takes any elementwise one */
  double derivative; /* c in dL/dy = c (y - t); where an activation is fused, in dL/dz = c (y - t) */
};
constexpr LossRow losses[] = {
    {"squared_error", -1, 2},
    {"half_squared_error", -1, 1},
    {"softmax_cross_entropy", softmax_row, 1},
    {"sigmoid_cross_entropy", sigmoid_row, 1},
};

/* The loss of one output: z before a fused activation, y after it. max and log_sum are of the softmax. */
template <typename Real>
__device__ __forceinline__ double loss_value(int loss, Real z, Real y, Real t, Real max, Real log_sum) {
  switch (loss) {
  case softmax_cross_entropy_row:
    return t * (log_sum - (z - max));
  case sigmoid_cross_entropy_row:
    return (z > 0 ? z : Real(0)) - z * t + log1p(exp(-fabs(z)));
  case half_squared_row:
    return (y - t) * (y - t) / 2;
  default:
    return (y - t) * (y - t);
  }
}

/* --- Reductions: the result is on all lanes of the warp, computed in a fixed order. ------------------------------- */

template <typename Number> __device__ __forceinline__ Number warp_sum(Number number) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2)
    number += __shfl_xor_sync(all_lanes, number, distance);
  return number;
}

template <typename Number> __device__ __forceinline__ Number warp_max(Number number) {
#pragma unroll
  for (int distance = warp_size / 2; distance > 0; distance /= 2) {
    const Number other = __shfl_xor_sync(all_lanes, number, distance);
    number = other > number ? other : number;
  }
  return number;
}

} // namespace fnn
