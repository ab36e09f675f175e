/* persistent.cuh: the persistent kernel, for small networks. One block a network keeps parameters, activations and
 * deltas in shared memory and walks its order: one launch trains any number of networks over any number of minibatches.
 *
 * Not here: launches, and which networks are small (persistent_plan.hpp).
 *
 * Both products read W without bank conflicts. Forward, a warp takes 8 outputs x 4 lanes: lane s of an output takes the
 * inputs 4s .. 4s+3 of every 16. Backward, it takes 4 inputs x 8 lanes: the inputs are i, i+4, i+8, i+12, and lane s
 * takes the outputs s, s+8, ... W's rows are 2 * odd numbers apart, so that 4 rows are 8 * odd banks apart: the four
 * groups of eight lanes fall on disjoint banks in both directions, in float, and in double half a warp at a time.
 */
#pragma once
#include "functions.cuh"
#include "matrix.cuh"
#include <cuda_pipeline.h>

namespace fnn {

constexpr int most_persistent_layers = 16;

/* Offsets are in numbers: theta_* from the start of a theta, all others from the start of shared memory. */
struct PersistentLayer {
  int inputs, outputs, activation;
  double parameter;        /* of the activation */
  int W, W_stride, b;      /* W: (inputs rounded up to 4, W_stride), the added rows zero */
  int A, A_stride;         /* A_l: (batch, A_stride) */
  int delta, delta_stride; /* (batch, delta_stride); the slope that is kept, until delta takes its place */
  int kept; /* what f_l' is computed from: A, or delta where f_l keeps its slope; both strides are equal */
  int theta_W, theta_b, theta_stride;
};

template <typename Real> struct PersistentArguments {
  int n_layers, first_narrow; /* one warp alone walks the layers first_narrow .. n_layers - 1 */
  int loss, batch;
  Real loss_derivative;
  int X, X_stride, X_packs, T, T_stride, T_packs; /* (2, batch, stride): this minibatch and the next */
  int order_ring;                                 /* (2, batch) of int64_t; this offset is in bytes */
  int shared_numbers;                             /* numbers in shared memory, before the ring */
  const Real *x, *y;                              /* (rows, packs) */
  const int64_t *order;                           /* (members, n_order) */
  int64_t n_order, first, count;
  Real *theta; /* (members, theta_size) */
  int64_t theta_size;
  const double *rates, *l2s; /* (members) */
  PersistentLayer layers[most_persistent_layers];
};

/* The warps that share a layer: all of a block, or its first one alone. */
struct Block {
  static __device__ __forceinline__ int warp() {
    return threadIdx.x / warp_size;
  }
  static __device__ __forceinline__ int warps() {
    return blockDim.x / warp_size;
  }
};

struct Warp {
  static __device__ __forceinline__ int warp() {
    return 0;
  }
  static __device__ __forceinline__ int warps() {
    return 1;
  }
};

/* Add up the sums of an output's four lanes; with four rows, lane s returns the sum of row s. */
template <typename Real> __device__ __forceinline__ Real sum_lanes(const Real (&z)[1], int) {
  const Real half = z[0] + __shfl_xor_sync(all_lanes, z[0], 16);
  return half + __shfl_xor_sync(all_lanes, half, 8);
}

template <typename Real> __device__ __forceinline__ Real sum_lanes(const Real (&z)[4], int s) {
  const bool high = s >= 2, odd = s % 2 == 1;
  const Real even_sent = high ? z[0] : z[2], odd_sent = high ? z[1] : z[3];
  const Real even = (high ? z[2] : z[0]) + __shfl_xor_sync(all_lanes, even_sent, 16);
  const Real other = (high ? z[3] : z[1]) + __shfl_xor_sync(all_lanes, odd_sent, 16);
  const Real sent = odd ? even : other;
  return (odd ? other : even) + __shfl_xor_sync(all_lanes, sent, 8);
}

/* One step on a minibatch of `rows` rows in shared memory; X and T are offsets. */
template <typename Real, int Rows> struct PersistentStep {
  const PersistentArguments<Real> &arguments;
  Real *shared;
  int rows, X, T;
  Real rate, l2, scale;

  struct Below {
    Real *A, *delta, *kept;
    int A_stride, delta_stride, activation;
  };

  __device__ __forceinline__ Below below(int l) const {
    if (l == 0)
      return {shared + X, nullptr, nullptr, arguments.X_stride, 0, identity_row};
    const PersistentLayer &layer = arguments.layers[l - 1];
    return {shared + layer.A, shared + layer.delta, shared + layer.kept,
            layer.A_stride,   layer.delta_stride,   layer.activation};
  }

  /* Store A_l[n][j] from z, and delta_L where l is the last layer; for softmax store z alone. */
  __device__ __forceinline__ void activate(int l, const PersistentLayer &layer, int n, int j, Real z) const {
    if (layer.activation == softmax_row) {
      shared[layer.A + n * layer.A_stride + j] = z;
      return;
    }
    Real a, kept;
    if (keeps_slope(layer.activation)) {
      const Point<Real> point = value_and_slope(layer.activation, z, Real(layer.parameter));
      a = point.value, kept = point.slope;
      shared[layer.kept + n * layer.delta_stride + j] = kept;
    } else
      a = kept = activation_value(layer.activation, z);
    shared[layer.A + n * layer.A_stride + j] = a;
    if (l < arguments.n_layers - 1)
      return;
    const Real delta = scale * (a - shared[T + n * arguments.T_stride + j]);
    shared[layer.delta + n * layer.delta_stride + j] =
        arguments.loss == sigmoid_cross_entropy_row ? delta : activation_backward(layer.activation, kept, delta);
  }

  template <class Team> __device__ __forceinline__ void forward(int l) const {
    const PersistentLayer &layer = arguments.layers[l];
    const Below under = below(l);
    const int lane = threadIdx.x % warp_size, s = lane / 8;
    const int groups = (layer.outputs + 7) / 8, tasks = groups * ((rows + Rows - 1) / Rows);
    for (int task = Team::warp(); task < tasks; task += Team::warps()) {
      const int n = Rows == 1 ? 0 : task / groups * Rows; /* one row needs no division */
      const int j = (Rows == 1 ? task : task % groups) * 8 + lane % 8;
      const Real *W = shared + layer.W + (j < layer.outputs ? j : 0);
      Real z[Rows] = {};
      for (int i = 4 * s; i < layer.inputs; i += 16) {
        Real w[4];
#pragma unroll
        for (int c = 0; c < 4; c++)
          w[c] = W[(i + c) * layer.W_stride];
#pragma unroll
        for (int r = 0; r < Rows; r++) {
          const Real *a = under.A + (n + r < rows ? n + r : n) * under.A_stride + i;
          constexpr int length = Pack<Real>::length;
#pragma unroll
          for (int p = 0; p < 4; p += length) {
            const Pack<Real> pack = load(a + p);
#pragma unroll
            for (int v = 0; v < length; v++)
              z[r] += pack.at[v] * w[p + v];
          }
        }
      }
      const Real sum = sum_lanes(z, s);
      const int row = n + (Rows == 1 ? 0 : s);
      if (j < layer.outputs && row < rows && (Rows == 4 || s == 0))
        activate(l, layer, row, j, sum + shared[layer.b + j]);
    }
  }

  /* Compute the softmax of the last layer and delta_L, one warp a row. */
  template <class Team> __device__ __forceinline__ void softmax() const {
    const PersistentLayer &layer = arguments.layers[arguments.n_layers - 1];
    const int lane = threadIdx.x % warp_size;
    for (int n = Team::warp(); n < rows; n += Team::warps()) {
      Real *a = shared + layer.A + n * layer.A_stride;
      Real max = lane < layer.outputs ? a[lane] : -Real(INFINITY), sum = 0;
      for (int j = lane; j < layer.outputs; j += warp_size)
        max = a[j] > max ? a[j] : max;
      max = warp_max(max);
      for (int j = lane; j < layer.outputs; j += warp_size)
        sum += exp(a[j] - max);
      sum = warp_sum(sum);
      for (int j = lane; j < layer.outputs; j += warp_size)
        shared[layer.delta + n * layer.delta_stride + j] =
            scale * (exp(a[j] - max) / sum - shared[T + n * arguments.T_stride + j]);
    }
  }

  /* Compute delta_{l-1} from delta_l. With `update`, for a single row, W_l changes in the same pass. */
  template <class Team, bool update> __device__ __forceinline__ void propagate(int l) const {
    const PersistentLayer &layer = arguments.layers[l];
    const Below under = below(l);
    const int lane = threadIdx.x % warp_size, s = lane % 8;
    const int groups = (layer.inputs + 15) / 16 * 4, tasks = groups * ((rows + Rows - 1) / Rows);
    for (int task = Team::warp(); task < tasks; task += Team::warps()) {
      const int n = Rows == 1 ? 0 : task / groups * Rows;
      const int i = (Rows == 1 ? task : task % groups) / 4 * 16 + task % 4 + lane / 8 * 4;
      const bool inside = i < layer.inputs;
      const int end = inside ? layer.outputs : 0; /* lanes outside the matrix do no work */
      Real *W = shared + layer.W + i * layer.W_stride;
      const Real a = update && inside ? under.A[i] : Real(0);
      Real sums[Rows] = {};
      for (int j = s; j < end; j += 8) {
        const Real w = W[j];
#pragma unroll
        for (int r = 0; r < Rows; r++)
          sums[r] += w * shared[layer.delta + (n + r < rows ? n + r : n) * layer.delta_stride + j];
        if (update)
          W[j] = w - rate * (a * shared[layer.delta + j] + l2 * w);
      }
      if (l == 0)
        continue;
#pragma unroll
      for (int r = 0; r < Rows; r++) {
#pragma unroll
        for (int distance = 4; distance > 0; distance /= 2)
          sums[r] += __shfl_xor_sync(all_lanes, sums[r], distance);
        if (s == r && inside && n + r < rows)
          under.delta[(n + r) * under.delta_stride + i] =
              activation_backward(under.activation, under.kept[(n + r) * under.delta_stride + i], sums[r]);
      }
    }
  }

  /* b_l -= rate sum_n delta_l. */
  template <class Team> __device__ __forceinline__ void update_biases(int l) const {
    const PersistentLayer &layer = arguments.layers[l];
    for (int j = Team::warp() * warp_size + threadIdx.x % warp_size; j < layer.outputs;
         j += Team::warps() * warp_size) {
      Real sum = 0;
      for (int n = 0; n < rows; n++)
        sum += shared[layer.delta + n * layer.delta_stride + j];
      shared[layer.b + j] -= rate * sum;
    }
  }

  /* W_l -= rate (A_{l-1}^T delta_l + l2 W_l); a thread takes four inputs of one output. */
  __device__ __forceinline__ void update_weights(int l) const {
    const PersistentLayer &layer = arguments.layers[l];
    const Below under = below(l);
    constexpr int length = Pack<Real>::length;
    const int size = (layer.inputs + 3) / 4 * layer.outputs;
    for (int e = threadIdx.x; e < size; e += blockDim.x) {
      const int i = e / layer.outputs * 4, j = e % layer.outputs;
      Real dW[4] = {};
      for (int n = 0; n < rows; n++) {
        const Real delta = shared[layer.delta + n * layer.delta_stride + j];
#pragma unroll
        for (int p = 0; p < 4; p += length) {
          const Pack<Real> a = load(under.A + n * under.A_stride + i + p);
#pragma unroll
          for (int v = 0; v < length; v++)
            dW[p + v] += a.at[v] * delta;
        }
      }
      Real *W = shared + layer.W + i * layer.W_stride + j;
#pragma unroll
      for (int c = 0; c < 4; c++)
        W[c * layer.W_stride] -= rate * (dW[c] + l2 * W[c * layer.W_stride]);
    }
  }

  /* Walk the narrow layers up and down again, for a single row, by the first warp alone. */
  __device__ __forceinline__ void walk_narrow_layers() const {
    for (int l = arguments.first_narrow; l < arguments.n_layers; l++) {
      forward<Warp>(l);
      __syncwarp();
    }
    if (arguments.loss == softmax_cross_entropy_row) {
      softmax<Warp>();
      __syncwarp();
    }
    for (int l = arguments.n_layers - 1; l >= arguments.first_narrow; l--) {
      propagate<Warp, true>(l);
      update_biases<Warp>(l);
      __syncwarp();
    }
  }

  /* The step on one row: W_l changes while delta_l passes through it. */
  __device__ __forceinline__ void step_single_row() const {
    for (int l = 0; l < arguments.first_narrow; l++) {
      forward<Block>(l);
      __syncthreads();
    }
    if (threadIdx.x < warp_size)
      walk_narrow_layers();
    for (int l = arguments.first_narrow - 1; l >= 0; l--) {
      __syncthreads();
      propagate<Block, true>(l);
      update_biases<Block>(l);
    }
  }

  /* The step on several rows: W_{l+1} changes while delta_l passes through W_l, between the same barriers. */
  __device__ __forceinline__ void step_minibatch() const {
    for (int l = 0; l < arguments.n_layers; l++) {
      forward<Block>(l);
      __syncthreads();
    }
    if (arguments.loss == softmax_cross_entropy_row) {
      softmax<Block>();
      __syncthreads();
    }
    for (int l = arguments.n_layers - 1; l > 0; l--) {
      propagate<Block, false>(l);
      if (l + 1 < arguments.n_layers)
        update(l + 1);
      __syncthreads();
    }
    if (arguments.n_layers > 1)
      update(1);
    update(0);
  }

  __device__ __forceinline__ void update(int l) const {
    update_weights(l);
    update_biases<Block>(l);
  }
};

/* Start copying X and T of a minibatch into one of the two places, by the row numbers in the ring. */
template <typename Real>
__device__ __forceinline__ void fetch_rows(const PersistentArguments<Real> &arguments, Real *shared,
                                           const int64_t *numbers, int place, int rows) {
  constexpr int length = Pack<Real>::length;
  const int packs = arguments.X_packs + arguments.T_packs;
  for (int e = threadIdx.x; e < rows * packs; e += blockDim.x) {
    const int n = e / packs, p = e % packs, q = p - arguments.X_packs;
    const int64_t row = numbers[n];
    if (q < 0)
      __pipeline_memcpy_async(shared + arguments.X + (place * arguments.batch + n) * arguments.X_stride + p * length,
                              arguments.x + (row * arguments.X_packs + p) * length, 16);
    else
      __pipeline_memcpy_async(shared + arguments.T + (place * arguments.batch + n) * arguments.T_stride + q * length,
                              arguments.y + (row * arguments.T_packs + q) * length, 16);
  }
}

/* Start copying the row numbers of a minibatch into the ring. */
__device__ __forceinline__ void fetch_numbers(int64_t *numbers, const int64_t *order, int rows) {
  for (int n = threadIdx.x; n < rows; n += blockDim.x)
    __pipeline_memcpy_async(numbers + n, order + n, sizeof(int64_t));
}

template <typename Real, bool store_back>
__device__ __forceinline__ void move_theta(const PersistentArguments<Real> &arguments, Real *shared, Real *theta) {
  for (int l = 0; l < arguments.n_layers; l++) {
    const PersistentLayer &layer = arguments.layers[l];
    for (int e = threadIdx.x; e < (layer.inputs + 1) * layer.outputs; e += blockDim.x) {
      const int i = e / layer.outputs, j = e % layer.outputs;
      Real &here = shared[i < layer.inputs ? layer.W + i * layer.W_stride + j : layer.b + j];
      Real &there = theta[i < layer.inputs ? layer.theta_W + i * layer.theta_stride + j : layer.theta_b + j];
      if (store_back)
        there = here;
      else
        here = there;
    }
  }
}

/* Train: block k takes member k. Rows is 1 for batches of one row, 4 for larger ones. */
template <typename Real, int Rows>
__global__ void __launch_bounds__(512) persistent_train(PersistentArguments<Real> arguments) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Real *shared = reinterpret_cast<Real *>(shared_memory);
  int64_t *ring = reinterpret_cast<int64_t *>(shared_memory + arguments.order_ring);
  Real *theta = arguments.theta + blockIdx.x * arguments.theta_size;
  const int64_t *order = arguments.order + blockIdx.x * arguments.n_order + arguments.first;
  const int64_t batch = arguments.batch, count = arguments.count;
  const auto rows_at = [&](int64_t at) { return int(count - at < batch ? count - at : batch); };
  const Real rate = Real(arguments.rates[blockIdx.x]), l2 = Real(arguments.l2s[blockIdx.x]);

  for (int e = threadIdx.x; e < arguments.shared_numbers; e += blockDim.x)
    shared[e] = 0; /* the padding of rows stays zero */
  fetch_numbers(ring, order, rows_at(0));
  if (batch < count)
    fetch_numbers(ring + batch, order + batch, rows_at(batch));
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();
  fetch_rows(arguments, shared, ring, 0, rows_at(0));
  __pipeline_commit();
  move_theta<Real, false>(arguments, shared, theta);
  __pipeline_wait_prior(0);
  __syncthreads();

  int place = 0;
  for (int64_t at = 0; at < count; at += batch, place ^= 1) {
    const int64_t next = at + batch, after = next + batch;
    if (next < count)
      fetch_rows(arguments, shared, ring + (place ^ 1) * batch, place ^ 1, rows_at(next));
    if (after < count)
      fetch_numbers(ring + place * batch, order + after, rows_at(after));
    __pipeline_commit();
    const int rows = rows_at(at);
    const PersistentStep<Real, Rows> step{arguments,
                                          shared,
                                          rows,
                                          arguments.X + place * arguments.batch * arguments.X_stride,
                                          arguments.T + place * arguments.batch * arguments.T_stride,
                                          rate,
                                          l2,
                                          arguments.loss_derivative / rows};
    if (Rows == 1)
      step.step_single_row();
    else
      step.step_minibatch();
    __pipeline_wait_prior(0);
    __syncthreads();
  }
  move_theta<Real, true>(arguments, shared, theta);
}

} // namespace fnn
