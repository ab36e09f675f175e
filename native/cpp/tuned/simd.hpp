// simd.hpp: vectors of one register, as wide as the target instruction set, through the vector extensions of GCC and
// Clang. It holds no mathematics and only the few intrinsics that those extensions lack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Inline the parts of a hot loop always: a call would pass vectors through memory.
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

// The number of vector registers.
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
template <class Real> using Bits = typename Register<Real>::Bits; // the lanes as integers; the result of comparisons
template <class Real> constexpr std::size_t lanes = vector_bytes / sizeof(Real);

// Return n rounded up to whole vectors.
template <class Real> constexpr std::size_t padded(std::size_t n) {
  return (n + lanes<Real> - 1) / lanes<Real> * lanes<Real>;
}

// load and store need aligned rows, which our own matrices have; load_unaligned takes a caller's.
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
  return x - Vector<Real>{}; // the scalar operand fills every lane; x - 0 is x, even for -0
}

template <class Real> FNN_INLINE Bits<Real> bits(Vector<Real> x) {
  return reinterpret_cast<Bits<Real>>(x);
}
template <class Real> FNN_INLINE Vector<Real> from_bits(Bits<Real> x) {
  return reinterpret_cast<Vector<Real>>(x);
}

// Return min(x, high) per lane; NaN where x is NaN.
template <class Real> FNN_INLINE Vector<Real> at_most(Vector<Real> x, Real high) {
  const Vector<Real> bound = broadcast(high);
#if defined(__AVX512F__) // one instruction; compilers turn the comparison below into two
  // (The mask is all ones: GCC 12 warns that the plain intrinsic uses an uninitialized register.)
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

// Return the square root of each lane. (Compilers make no vector instruction of a loop over sqrt, which sets errno.)
template <class Real> FNN_INLINE Vector<Real> root(Vector<Real> x) {
#if defined(__AVX512F__) // (the masks: as in at_most)
  if constexpr (sizeof(Real) == 4)
    return (Vector<Real>)_mm512_mask_sqrt_ps((__m512)x, 0xffff, (__m512)x);
  else
    return (Vector<Real>)_mm512_mask_sqrt_pd((__m512d)x, 0xff, (__m512d)x);
#elif defined(__AVX__)
  if constexpr (sizeof(Real) == 4)
    return (Vector<Real>)_mm256_sqrt_ps((__m256)x);
  else
    return (Vector<Real>)_mm256_sqrt_pd((__m256d)x);
#elif defined(__SSE2__)
  if constexpr (sizeof(Real) == 4)
    return (Vector<Real>)_mm_sqrt_ps((__m128)x);
  else
    return (Vector<Real>)_mm_sqrt_pd((__m128d)x);
#else
  for (std::size_t i = 0; i < lanes<Real>; ++i)
    x[i] = static_cast<Real>(sizeof(Real) == 4 ? __builtin_sqrtf(static_cast<float>(x[i])) : __builtin_sqrt(x[i]));
  return x;
#endif
}

// Return a mask of the lanes before `count`.
template <class Real> FNN_INLINE Bits<Real> lanes_before(std::size_t count) {
  Bits<Real> lane;
  for (std::size_t i = 0; i < lanes<Real>; ++i)
    lane[i] = static_cast<typename Register<Real>::Word>(i);
  return lane < static_cast<typename Register<Real>::Word>(count);
}

// Return x with 0 in the lanes from `count` on.
template <class Real> FNN_INLINE Vector<Real> first_lanes(Vector<Real> x, std::size_t count) {
  return from_bits<Real>(bits<Real>(x) & lanes_before<Real>(count));
}

// Return the sum of the lanes, by halving: always in the same order.
template <class Real> FNN_INLINE Real sum(Vector<Real> x) {
  Real parts[lanes<Real>];
  std::memcpy(parts, &x, sizeof parts);
  for (std::size_t half = lanes<Real> / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i)
      parts[i] += parts[i + half];
  return parts[0];
}

// Return x with its lanes moved by `half`, which is a power of two: lane i is lane i ^ half of x.
template <class Real, std::size_t half, std::size_t... i>
FNN_INLINE Vector<Real> exchanged(Vector<Real> x, std::index_sequence<i...>) {
  return __builtin_shufflevector(x, x, (i ^ half)...);
}

// Return the largest lane, in every lane.
template <class Real, std::size_t half = lanes<Real> / 2> FNN_INLINE Vector<Real> largest_lane(Vector<Real> x) {
  if constexpr (half == 0) {
    return x;
  } else {
    const Vector<Real> other = exchanged<Real, half>(x, std::make_index_sequence<lanes<Real>>());
    return largest_lane<Real, half / 2>(x > other ? x : other);
  }
}

} // namespace fnn::tuned
