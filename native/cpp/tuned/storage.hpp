// storage.hpp: memory for the matrices that we lay out ourselves, and what the CPU's caches hold.
#pragma once

#include "simd.hpp"

#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace fnn::tuned {

// `size` zeros, aligned for vectors; large ones on huge pages where the system has them. Owns them.
template <class Real> class Buffer {
public:
  Buffer() = default;
  explicit Buffer(std::size_t size) : size_(size) {
    if (size == 0)
      return;
    constexpr std::size_t huge = std::size_t(1) << 21, line = 64;
    const std::size_t bytes = size * sizeof(Real), unit = bytes >= huge ? huge : line;
    const std::size_t rounded = (bytes + unit - 1) / unit * unit;
    data_.reset(static_cast<Real *>(std::aligned_alloc(unit, rounded)));
    if (!data_)
      throw std::bad_alloc();
#if defined(__linux__)
    if (unit == huge)
      madvise(data_.get(), rounded, MADV_HUGEPAGE); // a wish: where it is not granted, only time is lost
#endif
    std::memset(static_cast<void *>(data_.get()), 0, rounded);
  }

  Real *data() const {
    return data_.get();
  }
  std::size_t size() const {
    return size_;
  }

private:
  struct Free {
    void operator()(Real *p) const {
      std::free(p);
    }
  };
  std::unique_ptr<Real, Free> data_;
  std::size_t size_ = 0;
};

// What sums over a row's elements may count on: rows end in zeros up to a multiple of this.
constexpr std::size_t row_multiple = 8;

// n, rounded up to a multiple of `unit`.
constexpr std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Elements from one row to the next, for rows of n: whole vectors and, but for short rows, an odd number of cache
// lines. Rows an even number of lines apart would share the few sets of the caches that their distance leads back to:
// at 1 KiB, 128 rows find room for 48.
template <class Real> constexpr std::size_t row_stride(std::size_t n) {
  constexpr std::size_t line = 64 / sizeof(Real);
  const std::size_t stride = round_up(n, lanes<Real> > row_multiple ? lanes<Real> : row_multiple);
  return stride >= 8 * line ? round_up(stride, line) + (round_up(stride, line) / line % 2 == 0 ? line : 0) : stride;
}

struct Caches {
  std::size_t l1, l2; // bytes, of one core's data caches
};

// This CPU's; where the system does not say, those of a small one.
inline Caches caches() {
  long l1 = 0, l2 = 0;
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  l1 = sysconf(_SC_LEVEL1_DCACHE_SIZE);
  l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
#elif defined(__APPLE__)
  std::size_t size = sizeof l1;
  sysctlbyname("hw.l1dcachesize", &l1, &size, nullptr, 0);
  sysctlbyname("hw.l2cachesize", &l2, &size, nullptr, 0);
#endif
  return {l1 > 0 ? static_cast<std::size_t>(l1) : 32 * 1024, l2 > 0 ? static_cast<std::size_t>(l2) : 256 * 1024};
}

} // namespace fnn::tuned
