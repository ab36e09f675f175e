// simd.hpp: one register's worth of numbers, as wide as the instruction set that this file is compiled for, in the
// compiler's vector extensions (GCC's and Clang's). No mathematics here, and hardly an intrinsic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// What a hot loop is made of must become part of it: a vector in memory, on its way to a function, is time lost.
#define FNN_INLINE [[gnu::always_inline]] inline
#define FNN_LAMBDA __attribute__((always_inline))

namespace fnn::tuned {

#if defined(__AVX512F__)
constexpr std::size_t vector_bytes = 64;
#elif defined(__AVX__)
constexpr std::size_t vector_bytes = 32;
#else
constexpr std::size_t vector_bytes = 16; // SSE, NEON
#endif

// How many vector registers there are to plan for.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t n_registers = 32;
#else
constexpr std::size_t n_registers = 16;
#endif

template <class Real> struct Register;
template <> struct Register<float> {
  typedef float Vector __attribute__((vector_size(vector_bytes)));
  typedef std::int32_t Bits __attribute__((vector_size(vector_bytes)));
  using Word = std::int32_t;
};
template <> struct Register<double> {
  typedef double Vector __attribute__((vector_size(vector_bytes)));
  typedef std::int64_t Bits __attribute__((vector_size(vector_bytes)));
  using Word = std::int64_t;
};

template <class Real> using Vector = typename Register<Real>::Vector;
template <class Real> using Bits = typename Register<Real>::Bits; // its lanes as integers; also what comparisons give
template <class Real> constexpr std::size_t lanes = vector_bytes / sizeof(Real);

// n, rounded up to whole vectors.
template <class Real> constexpr std::size_t padded(std::size_t n) {
  return (n + lanes<Real> - 1) / lanes<Real> * lanes<Real>;
}

// Rows of our own matrices are aligned; what a caller hands us need not be.
template <class Real> FNN_INLINE Vector<Real> load(const Real *p) {
  return *reinterpret_cast<const Vector<Real> *>(__builtin_assume_aligned(p, vector_bytes));
}
template <class Real> FNN_INLINE void store(Real *p, Vector<Real> x) {
  *reinterpret_cast<Vector<Real> *>(__builtin_assume_aligned(p, vector_bytes)) = x;
}
template <class Real> FNN_INLINE Vector<Real> load_unaligned(const Real *p) {
  Vector<Real> x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
template <class Real> FNN_INLINE Vector<Real> broadcast(Real x) {
  return x - Vector<Real>{}; // a scalar beside a vector stands in every lane; x - 0 is x, even for -0
}

template <class Real> FNN_INLINE Bits<Real> bits(Vector<Real> x) {
  return reinterpret_cast<Bits<Real>>(x);
}
template <class Real> FNN_INLINE Vector<Real> from_bits(Bits<Real> x) {
  return reinterpret_cast<Vector<Real>>(x);
}

// The smaller of each pair; NaN where x is.
template <class Real> FNN_INLINE Vector<Real> at_most(Vector<Real> x, Real high) {
  const Vector<Real> bound = broadcast(high);
#if defined(__AVX512F__) // compilers turn the comparison below into two instructions, not into the one that there is
  // (masked by all ones: GCC 12 takes the plain intrinsic for a use of an uninitialized register)
  if constexpr (sizeof(Real) == 4)
    return (Vector<Real>)_mm512_mask_min_ps((__m512)x, 0xffff, (__m512)bound, (__m512)x);
  else
    return (Vector<Real>)_mm512_mask_min_pd((__m512d)x, 0xff, (__m512d)bound, (__m512d)x);
#else
  return x > bound ? bound : x;
#endif
}
template <class Real> FNN_INLINE Vector<Real> at_least(Vector<Real> x, Real low) {
  return -at_most<Real>(-x, -low);
}

// The lanes of x before `count`, 0 in the others.
template <class Real> FNN_INLINE Vector<Real> first_lanes(Vector<Real> x, std::size_t count) {
  Bits<Real> lane;
  for (std::size_t i = 0; i < lanes<Real>; ++i)
    lane[i] = static_cast<typename Register<Real>::Word>(i);
  return from_bits<Real>(bits<Real>(x) & (lane < static_cast<typename Register<Real>::Word>(count)));
}

// The sum of the lanes: halves upon halves, so in one order at every call.
template <class Real> FNN_INLINE Real sum(Vector<Real> x) {
  Real parts[lanes<Real>];
  std::memcpy(parts, &x, sizeof parts);
  for (std::size_t half = lanes<Real> / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i)
      parts[i] += parts[i + half];
  return parts[0];
}

} // namespace fnn::tuned
