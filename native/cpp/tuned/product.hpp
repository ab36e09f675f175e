// product.hpp: C = start + P Q, by tiles that stay in registers, in blocks that stay in the caches. The three products
// of a layer are this one: they differ in where a tile starts, what becomes of it, and how P and Q lie in memory.
//
// Every element of C is a sum in the order of k, or, of blocks of k, the sum of theirs, whatever the tiles and threads:
// so their number and sizes do not show in the bits of a result, and of a block only its depth.
#pragma once

#include "storage.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace fnn::tuned {

// ---- The tile: R rows by N vectors of C ----

// As many sums as two multiply-adds a cycle, each four or five cycles long, can keep going, in the registers there are.
constexpr std::size_t tile_rows = n_registers == 32 ? 8 : 4;
constexpr std::size_t tile_vectors = 3;

// How P lies: element (r, k) at P[r * stride + k], or, transposed, at P[k * stride + r].
enum class Layout { rows, transposed };

// What becomes of a tile's sums S: C = S, C + S, C + (S + scale C), or S + scale W.
enum class Finish { store, add, update, gradient };

template <class Real> struct Result {
  Real *C;
  std::size_t stride;
  Finish finish = Finish::store;
  const Real *bias = nullptr; // what the sums start from, if not from 0: (columns), or, a row each, (rows)
  bool bias_by_row = false;
  const Real *W = nullptr; // Finish::gradient: laid out as C
  Real scale = 0;
};

// C's rows `row`.. and columns `column`.. : R rows, N vectors.   Q: k rows of N vectors, `q_stride` apart
template <std::size_t R, std::size_t N, Layout layout, bool large, class Real>
FNN_INLINE void tile(const Real *P, std::size_t p_stride, const Real *Q, std::size_t q_stride, std::size_t K,
                     const Result<Real> &to, std::size_t row, std::size_t column) {
  constexpr std::size_t V = lanes<Real>;
  Vector<Real> sums[R][N];
  Real *C = to.C + row * to.stride + column;
#define FNN_EACH                                                                                                       \
  _Pragma("GCC unroll 12") for (std::size_t r = 0; r < R; ++r)                                                         \
      _Pragma("GCC unroll 3") for (std::size_t v = 0; v < N; ++v)
  if (to.bias && to.bias_by_row)
    FNN_EACH sums[r][v] = broadcast(to.bias[row + r]);
  else
    FNN_EACH sums[r][v] = to.bias ? load(to.bias + column + v * V) : Vector<Real>{};
  if constexpr (large)
    FNN_EACH __builtin_prefetch(C + r * to.stride + v * V, 1); // wanted when the sums are done
  // Rows of P by a pointer for every three, from which the others are one or two strides away: what an address can
  // express. The compiler would keep eight offsets, more than there are registers for.
  constexpr std::size_t groups = layout == Layout::rows ? (R + 2) / 3 : 1;
  const Real *p[groups];
#pragma GCC unroll 8
  for (std::size_t g = 0; g < groups; ++g) {
    p[g] = P + 3 * g * p_stride;
    asm("" : "+r"(p[g])); // and may not guess that they are related
  }
  for (std::size_t k = 0; k < K; ++k) {
    Vector<Real> q[N];
#pragma GCC unroll 3
    for (std::size_t v = 0; v < N; ++v)
      q[v] = load(Q + v * V);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < R; ++r) {
      const Vector<Real> p_r = broadcast(layout == Layout::rows ? p[r / 3 % groups][r % 3 * p_stride] : p[0][r]);
#pragma GCC unroll 3
      for (std::size_t v = 0; v < N; ++v)
        sums[r][v] += p_r * q[v];
    }
#pragma GCC unroll 8
    for (std::size_t g = 0; g < groups; ++g)
      p[g] += layout == Layout::rows ? 1 : p_stride;
    Q += q_stride;
  }
  const auto c = [&](std::size_t r, std::size_t v) FNN_LAMBDA { return load(C + r * to.stride + v * V); };
  switch (to.finish) {
  case Finish::store:
    break;
  case Finish::add:
    FNN_EACH sums[r][v] = c(r, v) + sums[r][v];
    break;
  case Finish::update:
    FNN_EACH sums[r][v] = c(r, v) + (sums[r][v] + to.scale * c(r, v));
    break;
  case Finish::gradient:
    FNN_EACH sums[r][v] += to.scale * load(to.W + (row + r) * to.stride + column + v * V);
    break;
  }
  FNN_EACH store(C + r * to.stride + v * V, sums[r][v]);
#undef FNN_EACH
}

// Tiles of 1 to most_rows rows, to be called by their number.
constexpr std::size_t most_rows = n_registers == 32 ? 12 : 6;

template <class Real>
using Tile = void (*)(const Real *P, std::size_t p_stride, const Real *Q, std::size_t q_stride, std::size_t K,
                      const Result<Real> &to, std::size_t row, std::size_t column);

template <std::size_t N, Layout layout, class Real, std::size_t... r>
constexpr std::array<Tile<Real>, most_rows> all_tiles(std::index_sequence<r...>) {
  return {[](const Real *P, std::size_t p_stride, const Real *Q, std::size_t q_stride, std::size_t K,
             const Result<Real> &to, std::size_t row,
             std::size_t column) { tile<r + 1, N, layout, false>(P, p_stride, Q, q_stride, K, to, row, column); }...};
}

template <std::size_t N, Layout layout, class Real>
constexpr std::array<Tile<Real>, most_rows> tiles_of =
    all_tiles<N, layout, Real>(std::make_index_sequence<most_rows>());

// ---- Blocks ----

// Half-open ranges of rows and of columns.
struct Range {
  std::size_t begin, end;
  std::size_t size() const {
    return end - begin;
  }
};

// Calls f(first, R) for pieces of `range`, R a compile-time size: as many of tile_rows as there are, then halves.
template <std::size_t R = tile_rows, class F> FNN_INLINE void for_rows(Range range, F f) {
  for (; range.size() >= R; range.begin += R)
    f(range.begin, std::integral_constant<std::size_t, R>());
  if constexpr (R > 1)
    for_rows<R / 2>(range, f);
}

// The same for columns, by vectors. A last strip of one vector has too few sums to keep the adders busy, so four
// vectors are two and two.
template <class Real, class F> FNN_INLINE void for_columns(Range range, F f) {
  constexpr std::size_t V = lanes<Real>;
  std::size_t column = range.begin, left = range.size() / V;
  for (; left >= 5 || left == 3; left -= 3, column += 3 * V)
    f(column, std::integral_constant<std::size_t, 3>());
  for (; left >= 2; left -= 2, column += 2 * V)
    f(column, std::integral_constant<std::size_t, 2>());
  if (left == 1)
    f(column, std::integral_constant<std::size_t, 1>());
}

// Calls f(Range) for pieces of `range` of at most `most`, as equal as multiples of `unit` allow.
template <class F> FNN_INLINE void for_pieces(Range range, std::size_t most, std::size_t unit, F f) {
  if (range.size() <= most)
    return f(range); // small products have no time for divisions
  const std::size_t n = std::max<std::size_t>(1, (range.size() + most - 1) / most);
  const std::size_t size = ((range.size() + n - 1) / n + unit - 1) / unit * unit;
  std::size_t begin = range.begin;
  do {
    const std::size_t end = std::min(begin + size, range.end);
    f(Range{begin, end});
    begin = end;
  } while (begin < range.end);
}

// ---- Rows side by side: how a product likes to find what it broadcasts, and W where it needs it transposed ----

// a[0] b[0] a[1] b[1] ..., in two vectors.
template <class Real, std::size_t... i>
FNN_INLINE void interleave(Vector<Real> a, Vector<Real> b, Vector<Real> &low, Vector<Real> &high,
                           std::index_sequence<i...>) {
  constexpr std::size_t V = lanes<Real>;
  low = __builtin_shufflevector(a, b, (i / 2 + i % 2 * V)...);
  high = __builtin_shufflevector(a, b, (i / 2 + V / 2 + i % 2 * V)...);
}

// B: for each column of A one row of R elements, `b_stride` apart, of which those beyond A's `rows` are 0.
// A: (rows <= R, columns), readable up to whole vectors   R: a power of two
template <std::size_t R, class Real>
FNN_INLINE void side_by_side(const Real *A, std::size_t a_stride, std::size_t rows, std::size_t columns, Real *B,
                             std::size_t b_stride) {
  constexpr std::size_t V = lanes<Real>;
  std::size_t j = 0;
  const auto block = [&](std::size_t n_rows, std::size_t n_columns) FNN_LAMBDA {
    Vector<Real> x[R], y[R];
#pragma GCC unroll 16
    for (std::size_t r = 0; r < R; ++r)
      x[r] = r < n_rows ? load_unaligned(A + r * a_stride + j) : Vector<Real>{};
    // log2(R) perfect shuffles: the first half of the rows with the second.
#pragma GCC unroll 4
    for (std::size_t step = 1; step < R; step *= 2) {
#pragma GCC unroll 8
      for (std::size_t r = 0; r < R / 2; ++r)
        interleave<Real>(x[r], x[r + R / 2], y[2 * r], y[2 * r + 1], std::make_index_sequence<V>());
#pragma GCC unroll 16
      for (std::size_t r = 0; r < R; ++r)
        x[r] = y[r];
    }
    if (R == V) {
#pragma GCC unroll 16
      for (std::size_t c = 0; c < V; ++c)
        if (c < n_columns)
          store(B + (j + c) * b_stride, x[c]);
    } else { // b_stride is R: the rows of B follow one another
#pragma GCC unroll 16
      for (std::size_t r = 0; r < R; ++r)
        std::memcpy(B + j * R + r * V, &x[r], sizeof x[r]);
    }
  };
  if constexpr (R <= V) {
    if (rows == R)
      for (; j + V <= columns; j += V)
        block(R, V);
    else
      for (; j + V <= columns; j += V)
        block(rows, V);
    if (R == V && j < columns) {
      block(rows, columns - j);
      j = columns;
    }
  }
  for (; j < columns; ++j)
    for (std::size_t r = 0; r < R; ++r)
      B[j * b_stride + r] = r < rows ? A[r * a_stride + j] : Real(0);
}

// ---- The product ----

// How much is worked on at once: blocks of Q and of P stay in the second cache, a strip of Q in the first for as long
// as it is in use.
template <class Real> struct Blocking {
  std::size_t depth, columns, rows;
  std::size_t small; // bytes that lie well in the first cache wherever they are

  explicit Blocking(Caches caches) {
    constexpr std::size_t strip = tile_vectors * lanes<Real>;
    columns = 4 * strip;
    depth = std::max<std::size_t>(64, caches.l2 / 10 / (columns * sizeof(Real)) / lanes<Real> * lanes<Real>);
    rows = std::max(tile_rows, caches.l2 / 3 / (depth * sizeof(Real)) / tile_rows * tile_rows);
    small = caches.l1 / 3;
  }

  // P is gone through once for each strip of columns, Q once for each panel of rows. A copy in the order of use is
  // worth its time where that is often (bench/experiments/sweep.py shows the borders).
  bool copies_P(std::size_t rows_, std::size_t columns_, std::size_t K) const {
    return columns_ >= 128 && rows_ * K * sizeof(Real) > small;
  }
  bool copies_Q(std::size_t rows_, std::size_t columns_, std::size_t K) const {
    return rows_ >= 64 && columns_ * K * sizeof(Real) > small;
  }
};

// Room for one thread's copies of blocks, made before any product.
template <class Real> struct Workspace {
  Buffer<Real> P, Q;

  // For products of so many rows and so deep.
  void reserve(const Blocking<Real> &blocking, std::size_t rows, std::size_t K) {
    if (Q.size() == 0)
      Q = Buffer<Real>(blocking.depth * blocking.columns);
    if (P.size() < rows * K)
      P = Buffer<Real>(rows * K);
  }
};

template <class Real> struct Matrix {
  const Real *data;
  std::size_t stride;
};

// Q of a product: (K, columns), or, with `transposed`, what it is the transpose of: (columns, K), of which there may be
// fewer than the product's columns, the others being 0.
template <class Real> struct Factor {
  Matrix<Real> of;
  bool transposed = false;
  std::size_t columns = 0;
};

// The rows of P in panels of R rows, each [k][r].
template <Layout layout, class Real> void copy_panels(Matrix<Real> P, Range rows, std::size_t K, Real *panels) {
  for_rows(rows, [&](std::size_t row, auto R) {
    Real *panel = panels + (row - rows.begin) * K;
    if constexpr (layout == Layout::rows)
      side_by_side<decltype(R)::value>(P.data + row * P.stride, P.stride, R, K, panel, R);
    else
      for (std::size_t k = 0; k < K; ++k)
        std::memcpy(panel + k * R, P.data + k * P.stride + row, R * sizeof(Real));
  });
}

// Some columns of Q in strips of N vectors, each [k][column].
template <class Real> void copy_strips(const Factor<Real> &Q, Range k, Range columns, Real *strips) {
  constexpr std::size_t V = lanes<Real>;
  for_columns<Real>(columns, [&](std::size_t column, auto N) {
    Real *strip = strips + (column - columns.begin) * k.size();
    if (Q.transposed)
      for (std::size_t v = 0; v < N; ++v) {
        const std::size_t row = column + v * V;
        side_by_side<V>(Q.of.data + row * Q.of.stride + k.begin, Q.of.stride,
                        row < Q.columns ? std::min(V, Q.columns - row) : 0, k.size(), strip + v * V, N * V);
      }
    else
      for (std::size_t i = 0; i < k.size(); ++i)
        for (std::size_t v = 0; v < N; ++v)
          store(strip + (i * N + v) * V, load(Q.of.data + (k.begin + i) * Q.of.stride + column + v * V));
  });
}

// A block of C, and where its factors are found.
template <class Real> struct Block {
  Range rows, columns, k;
  Matrix<Real> P, Q;  // from their first row, column and k on
  const Real *panels; // null, or a copy of P, from the panel of the block's first row on
  std::size_t K;      // how deep the panels are
  const Real *strips; // null, or a copy of Q, from the block's first column and k on
};

// All its tiles. Apart from `product`, so that each layout is compiled once; panels are of the transposed one.
template <Layout layout, class Real> void tiles(const Block<Real> &block, const Result<Real> &to) {
  const Range rows = block.rows, columns = block.columns, k = block.k;
  const Matrix<Real> P = block.P, Q = block.Q;
  const Real *panels = block.panels, *strips = block.strips;
  for_columns<Real>(columns, [&](std::size_t column, auto N) FNN_LAMBDA {
    const Real *q = strips ? strips + (column - columns.begin) * k.size() : Q.data + k.begin * Q.stride + column;
    const std::size_t q_stride = strips ? N * lanes<Real> : Q.stride;
    for_rows(rows, [&](std::size_t row, auto R) FNN_LAMBDA {
      const Real *p = panels                   ? panels + (row - rows.begin) * block.K + k.begin * R
                      : layout == Layout::rows ? P.data + row * P.stride + k.begin
                                               : P.data + k.begin * P.stride + row;
      tile<R, N, layout, true>(p, panels ? R : P.stride, q, q_stride, k.size(), to, row, column);
    });
  });
}

// Something to call with the rows and columns of a block: a reference to a lambda, whatever its type.
class BlockDone {
public:
  template <class F>
  BlockDone(const F &f)
      : context_(&f), call_([](const void *context, Range rows, Range columns) {
          (*static_cast<const F *>(context))(rows, columns);
        }) {}
  void operator()(Range rows, Range columns) const {
    call_(context_, rows, columns);
  }

private:
  const void *context_;
  void (*call_)(const void *, Range, Range);
};

// C = start + P Q over the given rows and columns (from and to whole vectors).   P: (rows, K), laid out as `layout`
// says done(rows, columns) is called for each block of C when it is complete, while it is still in the cache.
template <Layout layout, class Real>
void product(const Blocking<Real> &blocking, Workspace<Real> &room, Range rows, Range columns, std::size_t K,
             Matrix<Real> P, Factor<Real> Q, Result<Real> result, const BlockDone &done) {
  Real *const panels = blocking.copies_P(rows.size(), columns.size(), K) ? room.P.data() : nullptr;
  Real *const strips = Q.transposed || blocking.copies_Q(rows.size(), columns.size(), K) ? room.Q.data() : nullptr;
  if (panels)
    copy_panels<layout>(P, rows, K, panels);
  for_pieces(columns, blocking.columns, lanes<Real>, [&](Range n) {
    Result<Real> to = result;
    for_pieces({0, K}, blocking.depth, lanes<Real>, [&](Range k) {
      if (strips)
        copy_strips(Q, k, n, strips);
      for_pieces(rows, blocking.rows, tile_rows, [&](Range m) {
        if (panels)
          tiles<Layout::transposed>(Block<Real>{m, n, k, P, Q.of, panels + (m.begin - rows.begin) * K, K, strips}, to);
        else
          tiles<layout>(Block<Real>{m, n, k, P, Q.of, nullptr, K, strips}, to);
      });
      to.bias = nullptr;
      if (to.finish != Finish::update)
        to.finish = Finish::add;
      to.scale = 0;
    });
    done(rows, n);
  });
}

// The same for small matrices, of which nothing is copied. Starting and ending a tile takes as long as some ten steps
// of it, so the rows are cut into few pieces, as equal as can be.
template <Layout layout, class Real>
void small_product(std::size_t rows, std::size_t columns, std::size_t K, Matrix<Real> P, Matrix<Real> Q,
                   const Result<Real> &to) {
  constexpr std::size_t V = lanes<Real>;
  const std::size_t pieces = (rows + most_rows - 1) / most_rows, least = rows / pieces, longer = rows % pieces;
  std::size_t column = 0;
  const auto strip = [&](const Tile<Real> *tiles) {
    std::size_t row = 0;
    for (std::size_t i = 0; i < pieces; ++i) {
      const std::size_t R = least + (i < longer);
      tiles[R - 1](layout == Layout::rows ? P.data + row * P.stride : P.data + row, P.stride, Q.data + column, Q.stride,
                   K, to, row, column);
      row += R;
    }
  };
  for (; column + 2 * V <= columns; column += 2 * V)
    strip(tiles_of<2, layout, Real>.data());
  if (column < columns)
    strip(tiles_of<1, layout, Real>.data());
}

// B = A transposed.   A: (rows, columns)   B: (columns, padded rows), 0 beyond the rows
template <class Real>
void transpose(const Real *A, std::size_t a_stride, std::size_t rows, std::size_t columns, Real *B,
               std::size_t b_stride) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t i = 0; i < rows; i += V)
    side_by_side<V>(A + i * a_stride, a_stride, std::min(V, rows - i), columns, B + i, b_stride);
}

} // namespace fnn::tuned
