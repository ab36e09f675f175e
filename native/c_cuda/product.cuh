/* product.cuh: the three matrix products of a step, each with its epilogue: forward, propagate, update.
 *
 * Not here: launches, memory, layers. Every matrix is row-major, its rows padded with zeros to whole packs of 16 bytes:
 * loads need no edge cases, and stores keep the padding zero.
 */
#pragma once
#include "functions.cuh"
#include "matrix.cuh"
#include <cuda_pipeline.h>

namespace fnn {

enum Product {
  forward_product,   /* C = f(A B + b)                 A: (m, k)   B: (k, n) */
  propagate_product, /* C = f'(below) * (A B^T)        A: (m, k)   B: (n, k) */
  update_product,    /* W -= rate (A^T B + l2 W), or   A: (k, m)   B: (k, n)
                        C = A^T B + l2 W where not `in_place` */
};

template <typename Real> struct ProductArguments {
  int64_t m, n, k;
  Matrix<const Real> A, B;
  Matrix<Real> C;
  int activation;
  const Real *b;            /* forward: (n) */
  Matrix<const Real> below; /* propagate: A_{l-1} or the slope that is kept, (m, n); update: W */
  bool in_place;            /* update: C is W. A flag of its own, because a small rate is 0 in float */
  Real rate, l2;
};

/* The work of a block of 256 threads: Rows x Columns of C, Down x Across of them a thread, Depth of k at a time. With
 * Slices > 1, each of that many groups of threads takes its share of every Depth, and the groups' sums are added in
 * order at the end. */
template <typename Real_, int Rows_, int Columns_, int Down_, int Across_, int Depth_, int Slices_> struct Tile {
  using Real = Real_;
  static constexpr int rows = Rows_, columns = Columns_, down = Down_, across = Across_, depth = Depth_,
                       slices = Slices_;
  static constexpr int pack = Pack<Real>::length, stages = 3;
  static constexpr int blocks =
      sizeof(Real) == 4 ? 2 : 1; /* the fewest a multiprocessor: 128 or 255 registers a thread */
  static constexpr int slice_threads = rows / down * (columns / across), threads = slice_threads * slices;
  static constexpr int A_stride = rows + pack, B_stride = columns + pack; /* spreads transposed stores over banks */
  static constexpr int stage = depth * (A_stride + B_stride);
  static constexpr int sums = slices > 1 ? slice_threads * down * across : 0;
  static constexpr int64_t shared_bytes = sizeof(Real) * (stages * stage > sums ? stages * stage : sums);
  static_assert(threads == 256 && depth % slices == 0 && down % pack == 0 && across % pack == 0 &&
                rows % (4 * down) == 0 && columns % (8 * across) == 0);
};

/* Return how many of `most` rows a matrix has from row `top` on. */
__device__ __forceinline__ int rows_left(int64_t height, int64_t top, int most) {
  return height - top < most ? int(height - top) : most;
}

/* to[i][j] = from[top + i][left + j] for i < Height, j < Width: 16 bytes a copy, and zeros beyond the matrix's edges,
 * which a whole tile does not cross. A thread keeps one pointer and walks down: more would cost the sums registers. */
template <int Height, int Width, int Threads, bool whole, typename Real>
__device__ __forceinline__ void copy_rows(Real *to, int to_stride, Matrix<const Real> from, int64_t height, int64_t top,
                                          int64_t left) {
  constexpr int length = Pack<Real>::length, packs = Width / length, step = Threads / packs;
  static_assert(Threads % packs == 0);
  const int i = threadIdx.x / packs, j = threadIdx.x % packs * length;
  const int rows = left + j < from.stride ? rows_left(height, top, Height) : 0;
  const Real *source = from.data + (top + i) * from.stride + left + j;
  to += i * to_stride + j;
#pragma unroll
  for (int at = 0; at < Height; at += step, source += step * from.stride) {
    const bool inside = i + at < rows;
    if (Height % step != 0 && i + at >= Height)
      continue;
    if (whole)
      __pipeline_memcpy_async(to + at * to_stride, source, 16);
    else
      __pipeline_memcpy_async(to + at * to_stride, inside ? source : from.data, 16, inside ? 0 : 16);
  }
}

/* to[i][j] = from[top + j][left + i]: transposes, one number a copy. Neighbouring threads read neighbouring numbers. */
template <int Height, int Width, int Threads, bool whole, typename Real>
__device__ __forceinline__ void copy_columns(Real *to, int to_stride, Matrix<const Real> from, int64_t height,
                                             int64_t top, int64_t left) {
  constexpr int step = Threads / Height;
  static_assert(Threads % Height == 0 && Width % step == 0);
  const int i = threadIdx.x % Height, j = threadIdx.x / Height;
  const int rows = left + i < from.stride ? rows_left(height, top, Width) : 0;
  const Real *source = from.data + (top + j) * from.stride + left + i;
  to += i * to_stride + j;
#pragma unroll
  for (int at = 0; at < Width; at += step, source += step * from.stride) {
    const bool inside = j + at < rows;
    if (whole)
      __pipeline_memcpy_async(to + at, source, sizeof(Real));
    else
      __pipeline_memcpy_async(to + at, inside ? source : from.data, sizeof(Real), inside ? 0 : sizeof(Real));
  }
}

/* Copy tile number t of both operands, as (depth, rows) and (depth, columns), into one stage of shared memory. */
template <class T, Product product, bool whole>
__device__ __forceinline__ void fetch(typename T::Real *stage, const ProductArguments<typename T::Real> &arguments,
                                      int64_t top, int64_t left, int t) {
  const int64_t k = int64_t(t) * T::depth;
  if (product == update_product)
    copy_rows<T::depth, T::rows, T::threads, whole>(stage, T::A_stride, arguments.A, arguments.k, k, top);
  else
    copy_columns<T::depth, T::rows, T::threads, whole>(stage, T::A_stride, arguments.A, arguments.m, top, k);
  stage += T::depth * T::A_stride;
  if (product == propagate_product)
    copy_columns<T::depth, T::columns, T::threads, whole>(stage, T::B_stride, arguments.B, arguments.n, left, k);
  else
    copy_rows<T::depth, T::columns, T::threads, whole>(stage, T::B_stride, arguments.B, arguments.k, k, left);
}

/* Return how many of the first tiles lie within both operands. */
template <class T, Product product>
__device__ __forceinline__ int whole_tiles(const ProductArguments<typename T::Real> &arguments, int64_t top,
                                           int64_t left) {
  const bool inside = top + T::rows <= (product == update_product ? arguments.A.stride : arguments.m) &&
                      left + T::columns <= (product == propagate_product ? arguments.n : arguments.B.stride);
  return inside ? int(arguments.k / T::depth) : 0;
}

/* The place of a thread's part of the tile: packs of rows 4 packs apart, packs of columns 8 packs apart, so that a
 * warp's loads are coalesced and free of bank conflicts. */
template <class T> struct Place {
  int slice, row, column;
  __device__ __forceinline__ Place() {
    const int lane = threadIdx.x % warp_size, warp = threadIdx.x % T::slice_threads / warp_size;
    constexpr int across = T::columns / (8 * T::across); /* warps side by side */
    slice = threadIdx.x / T::slice_threads;
    row = warp / across * (4 * T::down) + lane / 8 * T::pack;
    column = warp % across * (8 * T::across) + lane % 8 * T::pack;
  }
};

template <int Length, int Distance, typename Real>
__device__ __forceinline__ void load_packs(Real (&into)[Length], const Real *from) {
  constexpr int length = Pack<Real>::length;
#pragma unroll
  for (int p = 0; p < Length / length; p++) {
    const Pack<Real> pack = load(from + p * Distance * length);
#pragma unroll
    for (int v = 0; v < length; v++)
      into[p * length + v] = pack.at[v];
  }
}

/* Add this slice's share of one stage to sums. */
template <class T>
__device__ __forceinline__ void multiply(typename T::Real (&sums)[T::down][T::across], const typename T::Real *stage,
                                         const Place<T> &place) {
  constexpr int share = T::depth / T::slices;
  const typename T::Real *A = stage + place.slice * share * T::A_stride + place.row;
  const typename T::Real *B = stage + T::depth * T::A_stride + place.slice * share * T::B_stride + place.column;
#pragma unroll
  for (int k = 0; k < share; k++) {
    typename T::Real a[T::down], b[T::across];
    load_packs<T::down, 4>(a, A + k * T::A_stride);
    load_packs<T::across, 8>(b, B + k * T::B_stride);
#pragma unroll
    for (int i = 0; i < T::down; i++)
#pragma unroll
      for (int j = 0; j < T::across; j++)
        sums[i][j] += a[i] * b[j];
  }
}

/* Add the sums of the other slices to those of the first, slice by slice. */
template <class T>
__device__ __forceinline__ void add_slices(typename T::Real (&sums)[T::down][T::across], typename T::Real *shared,
                                           const Place<T> &place) {
  typename T::Real *own = shared + threadIdx.x % T::slice_threads;
  for (int slice = 1; slice < T::slices; slice++) {
    __syncthreads(); /* the earlier contents have been read */
    if (place.slice == slice)
#pragma unroll
      for (int e = 0; e < T::down * T::across; e++)
        own[e * T::slice_threads] = sums[e / T::across][e % T::across];
    __syncthreads();
    if (place.slice == 0)
#pragma unroll
      for (int e = 0; e < T::down * T::across; e++)
        sums[e / T::across][e % T::across] += own[e * T::slice_threads];
  }
}

/* Turn a pack of sums into C[row][column ..]: bias and activation, derivative, or the step. */
template <Product product, typename Real>
__device__ __forceinline__ void epilogue(const ProductArguments<Real> &arguments, int64_t row, int64_t column,
                                         Pack<Real> sums) {
  constexpr int length = Pack<Real>::length;
  if (row >= arguments.m || column >= arguments.C.stride)
    return;
  if (product == forward_product) {
    const Pack<Real> b = load(arguments.b + column);
#pragma unroll
    for (int v = 0; v < length; v++)
      sums.at[v] = column + v < arguments.n ? activation_value(arguments.activation, sums.at[v] + b.at[v]) : Real(0);
  } else {
    const Pack<Real> below = load(arguments.below.data + row * arguments.below.stride + column);
#pragma unroll
    for (int v = 0; v < length; v++)
      if (product == propagate_product)
        sums.at[v] = activation_backward(arguments.activation, below.at[v], sums.at[v]);
      else {
        const Real dW = sums.at[v] + arguments.l2 * below.at[v];
        sums.at[v] = arguments.in_place ? below.at[v] - arguments.rate * dW : dW;
      }
  }
  store(arguments.C.data + row * arguments.C.stride + column, sums);
}

/* Compute C, one tile a block. */
template <class T, Product product>
__global__ void __launch_bounds__(T::threads, T::blocks) multiply_tile(ProductArguments<typename T::Real> arguments) {
  using Real = typename T::Real;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  Real *shared = reinterpret_cast<Real *>(shared_memory);
  const int64_t left = int64_t(blockIdx.x) * T::columns, top = int64_t(blockIdx.y) * T::rows;
  const int tiles = int((arguments.k + T::depth - 1) / T::depth), whole = whole_tiles<T, product>(arguments, top, left);
  const Place<T> place;
  Real sums[T::down][T::across] = {};

  for (int t = 0; t < T::stages - 1; t++) {
    if (t < tiles)
      fetch<T, product, false>(shared + t * T::stage, arguments, top, left, t);
    __pipeline_commit();
  }
  int here = 0,
      next_place = (T::stages - 1) * T::stage; /* offsets of tile t and of the tile to fetch, in shared memory */
  for (int t = 0; t < tiles; t++) {
    __pipeline_wait_prior(T::stages - 2);
    __syncthreads(); /* all threads have tile t, and have finished with the tile before it */
    const int next = t + T::stages - 1;
    if (next < whole) /* without edges the loop has a tenth fewer instructions */
      fetch<T, product, true>(shared + next_place, arguments, top, left, next);
    else if (next < tiles)
      fetch<T, product, false>(shared + next_place, arguments, top, left, next);
    __pipeline_commit();
    multiply<T>(sums, shared + here, place);
    next_place = here;
    here = here == (T::stages - 1) * T::stage ? 0 : here + T::stage;
  }
  if (T::slices > 1)
    add_slices<T>(sums, shared, place);
  if (place.slice > 0)
    return;
#pragma unroll
  for (int i = 0; i < T::down; i++)
#pragma unroll
    for (int j = 0; j < T::across; j += T::pack) {
      Pack<Real> pack;
#pragma unroll
      for (int v = 0; v < T::pack; v++)
        pack.at[v] = sums[i][j + v];
      epilogue<product>(arguments, top + place.row + i / T::pack * 4 * T::pack + i % T::pack,
                        left + place.column + j / T::pack * 8 * T::pack, pack);
    }
}

} // namespace fnn
