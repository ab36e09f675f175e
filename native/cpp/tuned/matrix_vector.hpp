// matrix_vector.hpp: the products of a step on one sample, each fused with its activation and the update of W. They use
// a weight once or twice, so the latency from layer to layer limits them. W and its transpose are both stored and
// updated: then neither pass has to sum the lanes of a vector.
#pragma once

#include "functions.hpp"
#include "storage.hpp"

#include <algorithm>
#include <type_traits>

namespace fnn::tuned {

// The number of vectors of a row that are computed together.
constexpr std::size_t strip = 4;

// Call f(first, N) with a compile-time N for strips of N vectors of a row of `vectors` vectors.
template <class F> FNN_INLINE void for_strips(std::size_t vectors, F f) {
  std::size_t v = 0;
  for (; v + strip <= vectors; v += strip)
    f(v, std::integral_constant<std::size_t, strip>());
  switch (vectors - v) {
  case 3:
    return f(v, std::integral_constant<std::size_t, 3>());
  case 2:
    return f(v, std::integral_constant<std::size_t, 2>());
  case 1:
    return f(v, std::integral_constant<std::size_t, 1>());
  }
}

// Return w + (a d + shrink w).   d: -rate * delta   shrink: -rate * lambda
template <bool l2, class Real>
FNN_INLINE Vector<Real> updated(Vector<Real> w, Vector<Real> a, Vector<Real> d, Real shrink) {
  if constexpr (l2)
    return w + (a * d + shrink * w);
  else
    return w + a * d;
}

// The update of W and b by the previous sample. The next forward pass applies it while it reads W: the update is then
// not on the critical path from layer to layer, and W is loaded once for both.
template <class Real> struct PendingUpdate {
  const Real *a_below, *delta; // of the previous sample; delta times -rate
  Real shrink;                 // -rate * lambda
};

// Apply the pending update to W and b, then compute a = f(b + a_below W).   W: (n, stride)   a_below: (n)
// Zeros follow both up to a multiple of row_multiple.
template <class F, bool l2, class Real>
void forward_one(Real *W, std::size_t n, std::size_t stride, std::size_t vectors, Real *b, const Real *a_below, Real *a,
                 std::size_t outputs, Real parameter, const PendingUpdate<Real> &pending) {
  constexpr std::size_t V = lanes<Real>;
  for_strips(vectors, [=](std::size_t first, auto width) FNN_LAMBDA {
    constexpr std::size_t N = decltype(width)::value,
                          chains = N <= 2 ? 4 : 2; // independent sums
    Vector<Real> z[chains][N], d[N];
#pragma GCC unroll 8
    for (std::size_t c = 1; c < chains; ++c)
#pragma GCC unroll 4
      for (std::size_t v = 0; v < N; ++v)
        z[c][v] = Vector<Real>{};
#pragma GCC unroll 4
    for (std::size_t v = 0; v < N; ++v) {
      d[v] = load(pending.delta + (first + v) * V);
      z[0][v] = load(b + (first + v) * V) + d[v];
      store(b + (first + v) * V, z[0][v]);
    }
    Real *w = W + first * V;
    for (std::size_t i = 0; i < n; i += chains)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < chains; ++c, w += stride) {
        const Vector<Real> before = broadcast(pending.a_below[i + c]), now = broadcast(a_below[i + c]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < N; ++v) {
          const Vector<Real> new_w = updated<l2, Real>(load(w + v * V), before, d[v], pending.shrink);
          store(w + v * V, new_w);
          z[c][v] += now * new_w;
        }
      }
#pragma GCC unroll 8
    for (std::size_t half = chains / 2; half > 0; half /= 2)
#pragma GCC unroll 8
      for (std::size_t c = 0; c < half; ++c)
#pragma GCC unroll 4
        for (std::size_t v = 0; v < N; ++v)
          z[c][v] += z[c + half][v];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < N; ++v) {
      Vector<Real> value = F::template value<Real>(z[0][v], parameter);
      if constexpr (!F::from_zero)
        value = first_lanes<Real>(value, std::min(outputs - (first + v) * V, V));
      store(a + (first + v) * V, value);
    }
  });
}

// Compute delta_below = f'(z_below) * (W delta), and update the transpose of W.   Wt: (m, stride)   delta: (m)
template <class F, bool l2, class Real>
void backward_one(Real *Wt, std::size_t m, std::size_t stride, std::size_t vectors, const Real *delta,
                  const Real *a_below, Real *delta_below, Real parameter, Real shrink) {
  constexpr std::size_t V = lanes<Real>;
  for_strips(vectors, [=](std::size_t first, auto width) FNN_LAMBDA {
    constexpr std::size_t N = decltype(width)::value, chains = N <= 2 ? 4 / N : 1;
    Vector<Real> sum[chains][N], a[N];
#pragma GCC unroll 4
    for (std::size_t c = 0; c < chains; ++c)
#pragma GCC unroll 4
      for (std::size_t v = 0; v < N; ++v)
        sum[c][v] = Vector<Real>{};
#pragma GCC unroll 4
    for (std::size_t v = 0; v < N; ++v)
      a[v] = load(a_below + (first + v) * V);
    Real *w = Wt + first * V;
    const auto add_row = [&](std::size_t c, Real delta_j) FNN_LAMBDA {
      const Vector<Real> d = broadcast(delta_j);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < N; ++v) {
        const Vector<Real> old = load(w + v * V);
        sum[c][v] += d * old;
        store(w + v * V, updated<l2, Real>(old, a[v], d, shrink));
      }
      w += stride;
    };
    std::size_t j = 0;
    for (; j + chains <= m; j += chains)
#pragma GCC unroll 4
      for (std::size_t c = 0; c < chains; ++c)
        add_row(c, delta[j + c]);
    for (; j < m; ++j)
      add_row(0, delta[j]);
#pragma GCC unroll 4
    for (std::size_t half = chains / 2; half > 0; half /= 2)
#pragma GCC unroll 4
      for (std::size_t c = 0; c < half; ++c)
#pragma GCC unroll 4
        for (std::size_t v = 0; v < N; ++v)
          sum[c][v] += sum[c + half][v];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < N; ++v)
      store(delta_below + (first + v) * V, F::template multiply_by_derivative<Real>(sum[0][v], a[v], parameter));
  });
}

// W <- W + (a_below delta^T + shrink W), b <- b + delta.   W: (n, stride)   delta: times -rate
template <bool l2, class Real>
void update_one(Real *W, Real *b, std::size_t n, std::size_t stride, std::size_t vectors, const Real *delta,
                const Real *a_below, Real shrink) {
  constexpr std::size_t V = lanes<Real>;
  for_strips(vectors, [=](std::size_t first, auto width) FNN_LAMBDA {
    constexpr std::size_t N = decltype(width)::value;
    Vector<Real> d[N];
#pragma GCC unroll 4
    for (std::size_t v = 0; v < N; ++v) {
      d[v] = load(delta + (first + v) * V);
      store(b + (first + v) * V, load(b + (first + v) * V) + d[v]);
    }
    Real *w = W + first * V;
    for (std::size_t i = 0; i < n; ++i, w += stride) {
      const Vector<Real> a = broadcast(a_below[i]);
#pragma GCC unroll 4
      for (std::size_t v = 0; v < N; ++v)
        store(w + v * V, updated<l2, Real>(load(w + v * V), a, d[v], shrink));
    }
  });
}

} // namespace fnn::tuned
