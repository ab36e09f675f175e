// product.hpp: C = start + P Q, by a micro-kernel whose sums stay in registers, over blocks that stay in the caches.
// All three products of a layer use it: they differ in the start, the epilogue, and the layouts of P and Q.
//
// An element of C is summed in the order of k within each block of k, and blocks are added in order. So the bits of a
// result depend on the depth of the blocks alone, not on the micro-kernels or the number of threads.
#pragma once

#include "transpose.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace fnn::tuned {

// ---- The micro-kernel: R rows by N vectors of C ----

// Enough independent sums for two multiply-adds a cycle with a latency of four or five cycles, within the registers.
constexpr std::size_t micro_rows = n_registers == 32 ? 8 : 4;
constexpr std::size_t micro_vectors = 3;

// The layout of P: element (r, k) is P[r * stride + k] or, transposed, P[k * stride + r]. transposed_panels: P^T is in
// panels, see Panels.
enum class Layout { rows, transposed, transposed_panels };

// A matrix in panels of micro_rows rows: element (r, k) is data[r / micro_rows * stride + k * micro_rows + r %
// micro_rows]. The last panel has room for as many rows as the others.
template <class Real> struct Panels {
  Real *data = nullptr;
  std::size_t stride = 0; // from one panel to the next
};

// The use of the sums S: C = S, C + S, C + (S + scale C), or S + scale W.
enum class Epilogue { store, add, update, gradient };

template <class Real> struct Result {
  Real *C;
  std::size_t stride;
  Epilogue epilogue = Epilogue::store;
  const Real *bias = nullptr; // the start of the sums, if not 0: (columns), or (rows) if bias_by_row
  bool bias_by_row = false;
  const Real *W = nullptr; // Epilogue::gradient: laid out as C
  Real scale = 0;
};

// Compute R rows from `row` on and N vectors from `column` on of C.   Q: (K, N vectors), rows q_stride apart
template <std::size_t R, std::size_t N, Layout layout, bool large, class Real>
FNN_INLINE void micro_kernel(const Real *P, std::size_t p_stride, const Real *Q, std::size_t q_stride, std::size_t K,
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
    FNN_EACH __builtin_prefetch(C + r * to.stride + v * V, 1); // needed when the sums are complete
  // Add the products with a row of Q; p_of(r) is P's element of the same k.
  const auto add = [&](const auto &p_of) FNN_LAMBDA {
    Vector<Real> q[N];
#pragma GCC unroll 3
    for (std::size_t v = 0; v < N; ++v)
      q[v] = load(Q + v * V);
#pragma GCC unroll 12
    for (std::size_t r = 0; r < R; ++r) {
      const Vector<Real> p_r = broadcast(p_of(r));
#pragma GCC unroll 3
      for (std::size_t v = 0; v < N; ++v)
        sums[r][v] += p_r * q[v];
    }
    Q += q_stride;
  };
  if constexpr (layout == Layout::transposed_panels) {
    constexpr std::size_t W = micro_rows; // columns of P in a panel
    const auto add_column = [&](std::size_t i)
                                FNN_LAMBDA { add([&](std::size_t r) FNN_LAMBDA { return P[r * W + i]; }); };
    std::size_t left = K;
    if constexpr (R == W) // fewer rows are rare
      for (; left >= W; left -= W, P += p_stride) {
#pragma GCC unroll 8
        for (std::size_t i = 0; i < W; ++i)
          add_column(i);
      }
    for (std::size_t i = 0; left > 0; --left) {
      add_column(i);
      if (++i == W) {
        i = 0;
        P += p_stride;
      }
    }
  } else {
    // One pointer serves three rows of P: an address can express the offsets of one and two strides. The compiler would
    // keep eight offsets, for which there are too few registers.
    constexpr std::size_t groups = layout == Layout::rows ? (R + 2) / 3 : 1;
    const Real *p[groups];
#pragma GCC unroll 8
    for (std::size_t g = 0; g < groups; ++g) {
      p[g] = P + 3 * g * p_stride;
      asm("" : "+r"(p[g])); // hides that the pointers are related
    }
    for (std::size_t k = 0; k < K; ++k) {
      add([&](std::size_t r)
              FNN_LAMBDA { return layout == Layout::rows ? p[r / 3 % groups][r % 3 * p_stride] : p[0][r]; });
#pragma GCC unroll 8
      for (std::size_t g = 0; g < groups; ++g)
        p[g] += layout == Layout::rows ? 1 : p_stride;
    }
  }
  const auto c = [&](std::size_t r, std::size_t v) FNN_LAMBDA { return load(C + r * to.stride + v * V); };
  switch (to.epilogue) {
  case Epilogue::store:
    break;
  case Epilogue::add:
    FNN_EACH sums[r][v] = c(r, v) + sums[r][v];
    break;
  case Epilogue::update:
    FNN_EACH sums[r][v] = c(r, v) + (sums[r][v] + to.scale * c(r, v));
    break;
  case Epilogue::gradient:
    FNN_EACH sums[r][v] += to.scale * load(to.W + (row + r) * to.stride + column + v * V);
    break;
  }
  FNN_EACH store(C + r * to.stride + v * V, sums[r][v]);
#undef FNN_EACH
}

// Micro-kernels of 1 to max_micro_rows rows, selected at run time by their number of rows.
constexpr std::size_t max_micro_rows = n_registers == 32 ? 12 : 6;

template <class Real>
using MicroKernel = void (*)(const Real *P, std::size_t p_stride, const Real *Q, std::size_t q_stride, std::size_t K,
                             const Result<Real> &to, std::size_t row, std::size_t column);

template <std::size_t N, Layout layout, class Real, std::size_t... r>
constexpr std::array<MicroKernel<Real>, max_micro_rows> make_micro_kernels(std::index_sequence<r...>) {
  return {[](const Real *P, std::size_t p_stride, const Real *Q, std::size_t q_stride, std::size_t K,
             const Result<Real> &to, std::size_t row, std::size_t column) {
    micro_kernel<r + 1, N, layout, false>(P, p_stride, Q, q_stride, K, to, row, column);
  }...};
}

template <std::size_t N, Layout layout, class Real>
constexpr std::array<MicroKernel<Real>, max_micro_rows> micro_kernels =
    make_micro_kernels<N, layout, Real>(std::make_index_sequence<max_micro_rows>());

// ---- Blocks ----

// Call f(first, R) for pieces of `range` with a compile-time size R: micro_rows as often as possible, then halves of
// it.
template <std::size_t R = micro_rows, class F> FNN_INLINE void for_rows(Range range, F f) {
  for (; range.size() >= R; range.begin += R)
    f(range.begin, std::integral_constant<std::size_t, R>());
  if constexpr (R > 1)
    for_rows<R / 2>(range, f);
}

// Call f(first, N) for pieces of `range` of N vectors. One vector has too few sums to keep the adders busy, so four
// vectors become two and two.
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

// Call f(Range) for pieces of `range` of at most `most`, as equal as multiples of `unit` allow.
template <class F> FNN_INLINE void for_pieces(Range range, std::size_t most, std::size_t unit, F f) {
  if (range.size() <= most)
    return f(range); // the divisions below take too long for small products
  const std::size_t n = std::max<std::size_t>(1, (range.size() + most - 1) / most);
  const std::size_t size = ((range.size() + n - 1) / n + unit - 1) / unit * unit;
  std::size_t begin = range.begin;
  do {
    const std::size_t end = std::min(begin + size, range.end);
    f(Range{begin, end});
    begin = end;
  } while (begin < range.end);
}

// ---- The product ----

// The sizes of blocks: blocks of Q and P fit in the L2 cache.
template <class Real> struct Blocking {
  // Depths are multiples of this, so that a block of P^T begins at a panel, and one of Q at a vector.
  static constexpr std::size_t unit = std::max(lanes<Real>, micro_rows);
  std::size_t columns;
  // Depths of a block. Each block reads and writes C once. Where C is in the L2 cache, that costs less than panels of Q
  // that are larger than the L1 cache; where C is in memory, it costs more.
  std::size_t depth, deep;
  std::size_t small;    // bytes that stay in the L1 cache at any address
  std::size_t l2_bytes; // of the L2 cache

  // largest_W: bytes of the largest W. If it stays in the L1 cache, so do its panels.
  Blocking(Caches caches, std::size_t largest_W) : small(caches.l1 / 3), l2_bytes(caches.l2) {
    columns = 4 * micro_vectors * lanes<Real>;
    const auto whole = [](std::size_t K) { return std::max<std::size_t>(64, K / unit * unit); };
    depth = whole(l2_bytes / 10 / (columns * sizeof(Real)));
    if (largest_W > small)
      depth = std::min(depth, whole(caches.l1 * 3 / 4 / (micro_vectors * vector_bytes)));
    deep = std::max(depth, whole(l2_bytes / 5 / (columns * sizeof(Real))));
  }

  // Return the most elements that a packed block of Q has, of a product with sums of K numbers.
  std::size_t block_of_Q(std::size_t K, std::size_t columns_) const {
    return std::min(K, deep) * std::min(columns_, columns);
  }

  // Return the rows of a block of P.
  std::size_t rows_of(std::size_t depth_) const {
    return std::max(micro_rows, l2_bytes / 3 / (depth_ * sizeof(Real)) / micro_rows * micro_rows);
  }

  // Return the depth of the blocks of a product with `elements` of C, of all threads' parts: these must have the same
  // bits as one.
  std::size_t depth_of(std::size_t elements) const {
    return elements * sizeof(Real) > l2_bytes ? deep : depth;
  }

  // Return true if the L1 cache holds the factors and the product, so that no order of the blocks is better than
  // another, and nothing needs packing.
  bool is_small(std::size_t rows_, std::size_t columns_, std::size_t K) const {
    return K <= depth && columns_ <= columns &&
           (rows_ * K + K * columns_ + rows_ * columns_) * sizeof(Real) <= 3 * small;
  }

  // Return true if the L2 cache holds P in panels, from which two products can then read. W's gradient reads a few
  // cache lines of each panel; if they come from beyond that cache, this takes longer than packing.
  bool keeps_panels(std::size_t rows_, std::size_t K) const {
    return rows_ * K * sizeof(Real) <= l2_bytes;
  }

  // A product reads P once for each panel of columns, and Q once for each panel of rows. Packing pays off if that is
  // often enough (bench/experiments/cliffs.py shows the limits).
  bool packs_P(std::size_t rows_, std::size_t columns_, std::size_t K) const {
    return columns_ >= 128 && rows_ * K * sizeof(Real) > small;
  }
  bool packs_Q(std::size_t rows_, std::size_t columns_, std::size_t K) const {
    return rows_ >= 64 && columns_ * K * sizeof(Real) > small;
  }
};

// One thread's memory for packed matrices, allocated before any product.
template <class Real> struct Workspace {
  Buffer<Real> P, Q;

  // Make room for a packed P of `p` elements, and for a packed block of Q of `q`.
  void reserve(std::size_t p, std::size_t q) {
    if (Q.size() < q)
      Q = Buffer<Real>(q);
    if (P.size() < p)
      P = Buffer<Real>(p);
  }
};

// Q of a product: `of` is Q, (K, columns), or, if transposed, Q^T: (columns, K). Q^T may have fewer rows than the
// product has columns; the missing ones count as 0.
template <class Real> struct Factor {
  Matrix<Real> of;
  bool transposed = false;
  std::size_t columns = 0;
};

// Copy these rows of P into panels; the first of them begins a panel.
template <Layout layout, class Real> void pack_P(Matrix<Real> P, Range rows, std::size_t K, Panels<Real> packed) {
  constexpr std::size_t W = micro_rows;
  for (std::size_t row = rows.begin; row < rows.end; row += W, packed.data += packed.stride) {
    const std::size_t n = std::min(W, rows.end - row);
    if constexpr (layout == Layout::rows)
      transpose_panel<W>(P.data + row * P.stride, P.stride, n, K, packed.data, W);
    else if (n == W)
      for (std::size_t k = 0; k < K; ++k)
        std::memcpy(packed.data + k * W, P.data + k * P.stride + row, W * sizeof(Real));
    else
      for (std::size_t k = 0; k < K; ++k)
        std::memcpy(packed.data + k * W, P.data + k * P.stride + row, n * sizeof(Real));
  }
}

// Copy a block of Q into panels of N vectors, each [k][column].
template <class Real> void pack_Q(const Factor<Real> &Q, Range k, Range columns, Real *packed) {
  constexpr std::size_t V = lanes<Real>;
  for_columns<Real>(columns, [&](std::size_t column, auto N) {
    Real *panel = packed + (column - columns.begin) * k.size();
    if (Q.transposed)
      for (std::size_t v = 0; v < N; ++v) {
        const std::size_t row = column + v * V;
        transpose_panel<V>(Q.of.data + row * Q.of.stride + k.begin, Q.of.stride,
                           row < Q.columns ? std::min(V, Q.columns - row) : 0, k.size(), panel + v * V, N * V);
      }
    else
      for (std::size_t i = 0; i < k.size(); ++i)
        for (std::size_t v = 0; v < N; ++v)
          store(panel + (i * N + v) * V, load(Q.of.data + (k.begin + i) * Q.of.stride + column + v * V));
  });
}

// Copy columns of a transposed Q to rows of `columns` elements.   B: (K, columns)
template <class Real> void transpose_columns(const Factor<Real> &Q, Range columns, std::size_t K, Real *B) {
  constexpr std::size_t V = lanes<Real>;
  for (std::size_t column = columns.begin; column < columns.end; column += V)
    transpose_panel<V>(Q.of.data + column * Q.of.stride, Q.of.stride,
                       column < Q.columns ? std::min(V, Q.columns - column) : 0, K, B + (column - columns.begin),
                       columns.size());
}

// A block of C and its factors.
template <class Real> struct Block {
  Range rows, columns, k;
  Matrix<Real> P, Q;    // from their first row, column and k on
  Panels<Real> panels;  // null, or P in panels, from that of the block's first row on; transposed_panels: all of P^T
  const Real *packed_Q; // null, or packed Q from the block's first column and k on
};

// Compute a block by micro-kernels. A function apart from `product` is compiled once per layout; P in panels counts as
// transposed.
template <Layout layout, class Real> void macro_kernel(const Block<Real> &block, const Result<Real> &to) {
  constexpr std::size_t W = micro_rows;
  const Range rows = block.rows, columns = block.columns, k = block.k;
  const Matrix<Real> P = block.P, Q = block.Q;
  const Panels<Real> panels = block.panels;
  const Real *packed_Q = block.packed_Q;
  for_columns<Real>(columns, [&](std::size_t column, auto N) FNN_LAMBDA {
    const Real *q = packed_Q ? packed_Q + (column - columns.begin) * k.size() : Q.data + k.begin * Q.stride + column;
    const std::size_t q_stride = packed_Q ? N * lanes<Real> : Q.stride;
    for_rows(rows, [&](std::size_t row, auto R) FNN_LAMBDA {
      const std::size_t at = row - rows.begin;
      const Real *p = layout == Layout::transposed_panels ? panels.data + k.begin / W * panels.stride + row * W
                      : panels.data                       ? panels.data + at / W * panels.stride + k.begin * W + at % W
                      : layout == Layout::rows            ? P.data + row * P.stride + k.begin
                                                          : P.data + k.begin * P.stride + row;
      const std::size_t p_stride = layout == Layout::transposed_panels ? panels.stride : panels.data ? W : P.stride;
      micro_kernel<R, N, layout, true>(p, p_stride, q, q_stride, k.size(), to, row, column);
    });
  });
}

// A reference to a function of a block's rows and columns. It hides the type of the lambda, so that `product` is
// compiled once for all of them.
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

// C = start + P Q for small matrices, without packing. Starting and ending a micro-kernel takes as long as about ten of
// its steps, so the rows are divided into as few pieces as possible, of nearly equal size.
// Q: from the first of these columns on
template <Layout layout, class Real>
void small_product(Range rows, Range columns, std::size_t K, Matrix<Real> P, Matrix<Real> Q, const Result<Real> &to) {
  constexpr std::size_t V = lanes<Real>;
  const std::size_t pieces = (rows.size() + max_micro_rows - 1) / max_micro_rows;
  const std::size_t least = rows.size() / pieces, longer = rows.size() % pieces;
  std::size_t column = columns.begin;
  const auto strip = [&](const MicroKernel<Real> *kernels) {
    std::size_t row = rows.begin;
    for (std::size_t i = 0; i < pieces; ++i) {
      const std::size_t R = least + (i < longer);
      kernels[R - 1](layout == Layout::rows ? P.data + row * P.stride : P.data + row, P.stride,
                     Q.data + (column - columns.begin), Q.stride, K, to, row, column);
      row += R;
    }
  };
  for (; column + 2 * V <= columns.end; column += 2 * V)
    strip(micro_kernels<2, layout, Real>.data());
  if (column < columns.end)
    strip(micro_kernels<1, layout, Real>.data());
}

// C = start + P Q over these rows and columns (columns: whole vectors).   P: (rows, K), in this layout
// panels: null, or P in panels (Layout::rows), or P^T in panels (Layout::transposed); P is read only if they are null
// depth: of the blocks, see Blocking::depth_of
// done(rows, columns) is called for each complete block of C, while the block is still in the cache.
template <Layout layout, class Real>
void product(const Blocking<Real> &blocking, std::size_t depth, Workspace<Real> &workspace, Range rows, Range columns,
             std::size_t K, Matrix<Real> P, Panels<Real> panels, Factor<Real> Q, Result<Real> result,
             const BlockDone &done) {
  if (!panels.data && blocking.is_small(rows.size(), columns.size(), K)) {
    Matrix<Real> own{Q.of.data + columns.begin, Q.of.stride};
    if (Q.transposed) {
      own = {workspace.Q.data(), columns.size()};
      transpose_columns(Q, columns, K, workspace.Q.data());
    }
    small_product<layout>(rows, columns, K, P, own, result);
    return done(rows, columns);
  }
  const bool across = panels.data && layout == Layout::transposed;
  if (panels.data && !across)
    panels.data += rows.begin / micro_rows * panels.stride;
  if (!panels.data && blocking.packs_P(rows.size(), columns.size(), K)) {
    panels = {workspace.P.data(), K * micro_rows};
    pack_P<layout>(P, rows, K, panels);
  }
  Real *const packed_Q =
      Q.transposed || blocking.packs_Q(rows.size(), columns.size(), K) ? workspace.Q.data() : nullptr;
  for_pieces(columns, blocking.columns, lanes<Real>, [&](Range n) {
    Result<Real> to = result;
    for_pieces({0, K}, depth, Blocking<Real>::unit, [&](Range k) {
      if (packed_Q)
        pack_Q(Q, k, n, packed_Q);
      for_pieces(rows, blocking.rows_of(depth), micro_rows, [&](Range m) {
        Block<Real> block{m, n, k, P, Q.of, panels, packed_Q};
        if (across)
          return macro_kernel<Layout::transposed_panels>(block, to);
        if (!panels.data)
          return macro_kernel<layout>(block, to);
        block.panels.data += (m.begin - rows.begin) / micro_rows * panels.stride;
        macro_kernel<Layout::transposed>(block, to);
      });
      to.bias = nullptr;
      if (to.epilogue != Epilogue::update)
        to.epilogue = Epilogue::add;
      to.scale = 0;
    });
    done(rows, n);
  });
}

} // namespace fnn::tuned
