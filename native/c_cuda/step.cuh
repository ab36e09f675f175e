/* step.cuh: what a step needs besides its products: gather, output delta and losses, bias gradients, sums of squares.
 *
 * What this file does not do: launch or allocate. Sums over rows are taken in a fixed order; nothing here uses atomics.
 */
#pragma once
#include "product.cuh"

namespace fnn {

constexpr int block_threads = 256, block_warps = block_threads / warp_size;

/* X, T = the rows of x, y that order[cursor ..] names: a block a row. */
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

/* From the last layer, which holds Z_L of a fused activation and A_L of any other: A_L, and, where there are targets,
 * delta_L and each row's loss. A warp a row. */
template <typename Real> struct OutputArguments {
  int64_t rows, m;
  int loss, activation;
  Matrix<Real> A, delta;
  Matrix<const Real> T; /* data NULL: A_L alone is wanted */
  Real scale;           /* the loss's slope / B */
  double *row_losses;   /* NULL: not wanted */
};

/* The loss of one output: z before a fused activation, y after it. top and log_sum are the softmax's. */
template <typename Real>
__device__ __forceinline__ double output_loss(int loss, Real z, Real y, Real t, Real top, Real log_sum) {
  switch (loss) {
  case softmax_cross_entropy_row:
    return t * (log_sum - (z - top));
  case sigmoid_cross_entropy_row:
    return (z > 0 ? z : Real(0)) - z * t + log1p(exp(-fabs(z)));
  case half_squared_row:
    return (y - t) * (y - t) / 2;
  default:
    return (y - t) * (y - t);
  }
}

template <typename Real> __global__ void __launch_bounds__(block_threads) output(OutputArguments<Real> arguments) {
  const int64_t n = int64_t(blockIdx.x) * block_warps + threadIdx.x / warp_size;
  const int lane = threadIdx.x % warp_size;
  if (n >= arguments.rows)
    return;
  Real *a = arguments.A.data + n * arguments.A.stride;
  Real top = 0, sum = 0;
  if (arguments.loss == softmax_cross_entropy_row) {
    top = lane < arguments.m ? a[lane] : -Real(INFINITY);
    for (int64_t j = lane; j < arguments.m; j += warp_size)
      top = a[j] > top ? a[j] : top;
    top = warp_largest(top);
    for (int64_t j = lane; j < arguments.m; j += warp_size)
      sum += exp(a[j] - top);
    sum = warp_sum(sum);
  }
  const bool fused = arguments.activation == softmax_row || arguments.loss == sigmoid_cross_entropy_row;
  const Real log_sum = log(sum);
  double loss = 0;
  for (int64_t j = lane; j < arguments.m; j += warp_size) {
    const Real z = a[j];
    const Real y = arguments.activation == softmax_row ? exp(z - top) / sum
                   : fused                             ? apply(arguments.activation, z)
                                                       : z;
    a[j] = y;
    if (arguments.T.data == nullptr)
      continue;
    const Real t = arguments.T.data[n * arguments.T.stride + j], delta = arguments.scale * (y - t);
    arguments.delta.data[n * arguments.delta.stride + j] = fused ? delta : through(arguments.activation, y, delta);
    if (arguments.row_losses != nullptr)
      loss += output_loss(arguments.loss, z, y, t, top, log_sum);
  }
  if (arguments.row_losses == nullptr)
    return;
  loss = warp_sum(loss);
  if (lane == 0)
    arguments.row_losses[n] = loss;
}

/* b -= rate * sum_n delta[n], or db = that sum without `move`, of up to most_layers layers: blockIdx.y is the layer,
 * blockIdx.x its 32 columns. The first thread of all moves the cursor to the next minibatch. */
constexpr int most_layers = 16; /* a launch */

template <typename Real> struct BiasArguments {
  int64_t rows;
  bool move;
  Real rate;
  int64_t *cursor; /* NULL: leave it */
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
    layer.b[j] = arguments.move ? layer.b[j] - arguments.rate * sum : sum;
  if (arguments.cursor != nullptr && blockIdx.x == 0 && blockIdx.y == 0 && lane == 0)
    *arguments.cursor += arguments.rows;
}

/* A block's numbers added in a fixed order; the sum is thread 0's. parts: (block_warps). */
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

/* part[block] of the sum of squares of W: (rows, stride), its padding zero. */
template <typename Real>
__global__ void __launch_bounds__(block_threads) squares(const Real *W, int64_t size, double *part) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  double sum = 0;
  for (int64_t i = int64_t(blockIdx.x) * block_threads + threadIdx.x; i < size; i += int64_t(gridDim.x) * block_threads)
    sum += double(W[i]) * double(W[i]);
  sum = block_sum(sum, reinterpret_cast<double *>(shared_memory));
  if (threadIdx.x == 0)
    part[blockIdx.x] = sum;
}

/* *loss = the mean of the rows' losses + l2/2 sum W^2; *checksum += *loss + dW_1[0][0]. One block. */
template <typename Real>
__global__ void __launch_bounds__(block_threads)
    total_loss(const double *row_losses, int64_t rows, const double *parts, int64_t n_parts, double l2,
               const Real *gradient, double *loss, double *checksum) {
  extern __shared__ __align__(16) unsigned char shared_memory[];
  double sum = 0;
  for (int64_t n = threadIdx.x; n < rows; n += block_threads)
    sum += row_losses[n] / double(rows);
  for (int64_t p = threadIdx.x; p < n_parts; p += block_threads)
    sum += l2 / 2 * parts[p];
  sum = block_sum(sum, reinterpret_cast<double *>(shared_memory));
  if (threadIdx.x == 0) {
    *loss = sum;
    *checksum += sum + double(gradient[0]);
  }
}

/* *checksum += the first output of the first row + the last of the last. */
template <typename Real> __global__ void note_outputs(const Real *first, const Real *last, double *checksum) {
  *checksum += double(*first) + double(*last);
}

} // namespace fnn
