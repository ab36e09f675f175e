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

enum Activation {
  identity_row,
  sigmoid_row,
  tanh_row,
  relu_row,
  leaky_relu_row, /* from here to hard_tanh: these keep their slope */
  elu_row,
  softplus_row,
  hard_sigmoid_row,
  hard_tanh_row,
  softmax_row
};
struct ActivationRow {
  const char *name;
  double parameter; /* if none is given; NAN: it takes none */
};
constexpr ActivationRow activations[] = {
    {"identity", NAN}, {"sigmoid", NAN},  {"tanh", NAN},         {"relu", NAN},      {"leaky_relu", 0.01},
    {"elu", 1},        {"softplus", NAN}, {"hard_sigmoid", NAN}, {"hard_tanh", NAN}, {"softmax", NAN},
};

/* Report whether an activation works number by number, and so needs no loss that fuses it. */
constexpr bool is_elementwise(int activation) {
  return activation != softmax_row;
}

/* Report whether the forward pass keeps f'(z) for the backward pass, which otherwise computes it from a. With a
 * negative parameter, a does not show the sign of z. */
__host__ __device__ constexpr bool keeps_slope(int activation) {
  return activation >= leaky_relu_row && activation <= hard_tanh_row;
}

/* a = f(z), for an elementwise f that keeps no slope; a kernel computes the softmax of a whole row. */
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

template <typename Real> struct Point {
  Real value, slope;
};

/* f(z) and f'(z), for an f that keeps its slope; p: the parameter. In these comparisons, NaN stays NaN. */
template <typename Real> __device__ __forceinline__ Point<Real> value_and_slope(int f, Real z, Real p) {
  switch (f) {
  case leaky_relu_row:
    return {z > 0 ? z : p * z, z > 0 ? Real(1) : p};
  case elu_row: {
    const Real below = p * expm1(z); /* p exp(z) = p (exp(z) - 1) + p */
    return {z > 0 ? z : below, z > 0 ? Real(1) : below + p};
  }
  case softplus_row: {
    const Real e = exp(-fabs(z)); /* log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)) */
    return {(z < 0 ? Real(0) : z) + log1p(e), (z < 0 ? e : Real(1)) / (1 + e)};
  }
  case hard_sigmoid_row:
    return {z <= -2 ? Real(0) : z >= 2 ? Real(1) : z / 4 + Real(0.5), fabs(z) < 2 ? Real(0.25) : Real(0)};
  default: /* hard_tanh */
    return {z < -1 ? Real(-1) : z > 1 ? Real(1) : z, fabs(z) < 1 ? Real(1) : Real(0)};
  }
}

/* f'(z) delta, computed from a = f(z), or from a = f'(z) where f keeps its slope. */
template <typename Real> __device__ __forceinline__ Real activation_backward(int f, Real a, Real delta) {
  switch (f) {
  case identity_row:
    return delta;
  case sigmoid_row:
    return delta * (a * (1 - a));
  case tanh_row:
    return delta * (1 - a * a);
  case relu_row:
    return a > 0 ? delta : Real(0);
  default:
    return delta * a;
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
