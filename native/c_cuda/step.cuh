/* step.cuh: the kernels of a step besides its products: gather, activations that keep their slope, output delta and
 * losses, bias gradients, sums of squares.
 *
 * Not here: launches and memory. Every sum has a fixed order; no kernel uses atomics.
 */
#pragma once
#include "product.cuh"

namespace fnn {

constexpr int block_threads = 256, block_warps = block_threads / warp_size;

/* Copy the rows that order[cursor ..] names from x, y to X, T: one block a row. */
template <typename Real> struct GatherArguments {
  Matrix<const Real> x, y;
  Matrix<Real> X, T;
  const int64_t *order, *cursor;
};

template <typename Real>
__device__ __forceinline__ void copy_row(Matrix<Real> to, int64_t n, Matrix<const Real> from, int64_t row) {
  constexpr int length = Pack<Real>::length;
  for (int64_t j = threadIdx.x * length; j < to.stride; j += blockDim.x * length)
    store(to.data + n * to.stride + j, load(from.data + row * from.stride + j));
}

template <typename Real> __global__ void __launch_bounds__(block_threads) gather(GatherArguments<Real> arguments) {
  const int64_t n = blockIdx.x, row = arguments.order[*arguments.cursor + n];
  copy_row(arguments.X, n, arguments.x, row);
  copy_row(arguments.T, n, arguments.y, row);
}

/* A <- f(A), slope <- f'(A), for an f that keeps its slope; padding becomes 0. A kernel of its own, so that the
 * products keep the short epilogues of the other activations. */
template <typename Real> struct ActivateArguments {
  int64_t rows, m;
  int activation;
  Real parameter;
  Matrix<Real> A, slope; /* of the same stride */
};

template <typename Real> __global__ void __launch_bounds__(block_threads) activate(ActivateArguments<Real> arguments) {
  const int64_t stride = arguments.A.stride, all = arguments.rows * stride;
  for (int64_t e = int64_t(blockIdx.x) * block_threads + threadIdx.x; e < all;
       e += int64_t(gridDim.x) * block_threads) {
    Point<Real> point{};
    if (e % stride < arguments.m)
      point = value_and_slope(arguments.activation, arguments.A.data[e], arguments.parameter);
    arguments.A.data[e] = point.value;
    arguments.slope.data[e] = point.slope;
  }
}

/* Compute A_L, delta_L and each row's loss, one warp a row. On entry A holds Z_L where the loss fuses the activation,
 * and A_L otherwise. */
template <typename Real> struct OutputArguments {
  int64_t rows, m;
  int loss, activation;
  Matrix<Real> A, delta;
  Matrix<const Real> slope; /* data NULL: the activation keeps none */
  Matrix<const Real> T;     /* data NULL: compute A_L alone */
  Real scale;               /* the loss's derivative / B */
  double *row_losses;       /* NULL: do not compute them */
};

template <typename Real> __global__ void __launch_bounds__(block_threads) output_rows(OutputArguments<Real> arguments) {
  const int64_t n = int64_t(blockIdx.x) * block_warps + threadIdx.x / warp_size;
  const int lane = threadIdx.x % warp_size;
  if (n >= arguments.rows)
    return;
  Real *a = arguments.A.data + n * arguments.A.stride;
  Real max = 0, sum = 0;
  if (arguments.loss == softmax_cross_entropy_row) {
    max = lane < arguments.m ? a[lane] : -Real(INFINITY);
    for (int64_t j = lane; j < arguments.m; j += warp_size)
      max = a[j] > max ? a[j] : max;
    max = warp_max(max);
    for (int64_t j = lane; j < arguments.m; j += warp_size)
      sum += exp(a[j] - max);
    sum = warp_sum(sum);
  }
  const bool fused = arguments.activation == softmax_row || arguments.loss == sigmoid_cross_entropy_row;
  const Real log_sum = log(sum);
  double loss = 0;
  for (int64_t j = lane; j < arguments.m; j += warp_size) {
    const Real z = a[j];
    const Real y = arguments.activation == softmax_row ? exp(z - max) / sum
                   : fused                             ? activation_value(arguments.activation, z)
                                                       : z;
    a[j] = y;
    if (arguments.T.data == nullptr)
      continue;
    const Real t = arguments.T.data[n * arguments.T.stride + j], delta = arguments.scale * (y - t);
    const Real kept = arguments.slope.data != nullptr ? arguments.slope.data[n * arguments.slope.stride + j] : y;
    arguments.delta.data[n * arguments.delta.stride + j] =
        fused ? delta : activation_backward(arguments.activation, kept, delta);
    if (arguments.row_losses != nullptr)
      loss += loss_value(arguments.loss, z, y, t, max, log_sum);
  }
  if (arguments.row_losses == nullptr)
    return;
  loss = warp_sum(loss);
  if (lane == 0)
    arguments.row_losses[n] = loss;
}

/* b -= rate * sum_n delta[n], or, where not `in_place`, db = that sum, of up to most_layers layers: blockIdx.y is the
 * layer, blockIdx.x its 32 columns. The first thread of all moves the cursor to the next minibatch. */
constexpr int most_layers = 16; /* a launch */

template <typename Real> struct BiasArguments {
  int64_t rows;
  bool in_place;
  Real rate;
  int64_t *cursor; /* NULL: there is none */
  struct {
    int64_t m;
    Matrix<const Real> delta;
    Real *b;
  } layers[most_layers];
};

template <typename Real> __global__ void __launch_bounds__(block_threads) biases(BiasArguments<Real> arguments) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Real *parts = reinterpret_cast<Real *>(shared_memory); /* (block_warps, 32) */
  const auto &layer = arguments.layers[blockIdx.y];
  const int lane = threadIdx.x % warp_size, warp = threadIdx.x / warp_size;
  const int64_t j = int64_t(blockIdx.x) * warp_size + lane;
  Real sum = 0;
  if (j < layer.m)
    for (int64_t n = warp; n < arguments.rows; n += block_warps)
      sum += layer.delta.data[n * layer.delta.stride + j];
  parts[warp * warp_size + lane] = sum;
  __syncthreads();
  if (warp > 0)
    return;
  for (int other = 1; other < block_warps; other++)
    sum += parts[other * warp_size + lane];
  if (j < layer.m)
    layer.b[j] = arguments.in_place ? layer.b[j] - arguments.rate * sum : sum;
  if (arguments.cursor != nullptr && blockIdx.x == 0 && blockIdx.y == 0 && lane == 0)
    *arguments.cursor += arguments.rows;
}

/* Add a number of each thread of a block, in a fixed order; thread 0 has the sum. parts: (block_warps). */
__device__ __forceinline__ double block_sum(double number, double *parts) {
  number = warp_sum(number);
  if (threadIdx.x % warp_size == 0)
    parts[threadIdx.x / warp_size] = number;
  __syncthreads();
  double sum = 0;
  for (int warp = 0; warp < block_warps; warp++)
    sum += parts[warp];
  return sum;
}

/* part[block] = the block's part of the sum of squares of W: `size` numbers, the padding zero. */
template <typename Real>
__global__ void __launch_bounds__(block_threads) sum_squares(const Real *W, int64_t size, double *part) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  double sum = 0;
  for (int64_t i = int64_t(blockIdx.x) * block_threads + threadIdx.x; i < size; i += int64_t(gridDim.x) * block_threads)
    sum += double(W[i]) * double(W[i]);
  sum = block_sum(sum, reinterpret_cast<double *>(shared_memory));
  if (threadIdx.x == 0)
    part[blockIdx.x] = sum;
}

/* *loss = the mean of the rows' losses + l2/2 sum W^2; *checksum += *loss + *probed, an entry of the gradient. It takes
 * one block. */
template <typename Real>
__global__ void __launch_bounds__(block_threads)
    total_loss(const double *row_losses, int64_t rows, const double *parts, int64_t n_parts, double l2,
               const Real *probed, double *loss, double *checksum) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  double sum = 0;
  for (int64_t n = threadIdx.x; n < rows; n += block_threads)
    sum += row_losses[n] / double(rows);
  for (int64_t p = threadIdx.x; p < n_parts; p += block_threads)
    sum += l2 / 2 * parts[p];
  sum = block_sum(sum, reinterpret_cast<double *>(shared_memory));
  if (threadIdx.x == 0) {
    *loss = sum;
    *checksum += sum + double(*probed);
  }
}

/* *checksum += *probed, one of the outputs. */
template <typename Real> __global__ void add_to_checksum(const Real *probed, double *checksum) {
  *checksum += double(*probed);
}

} // namespace fnn
