// storage.hpp: memory: buffers, views of matrices, the row layout of our own matrices, the data of a network, and the
// sizes of the CPU's caches.
#pragma once

#include "simd.hpp"

#include <algorithm>
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

// Owns `size` zeros, aligned for vectors. Large buffers use huge pages where the system has them.
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
      madvise(data_.get(), rounded, MADV_HUGEPAGE); // a hint: without huge pages the code is only slower
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

// A view of a matrix whose rows are `stride` elements apart.
template <class Real> struct Matrix {
  const Real *data;
  std::size_t stride;
};

// A half-open range of rows or columns.
struct Range {
  std::size_t begin, end;
  std::size_t size() const {
    return end - begin;
  }
};

// Our own matrices pad the elements of each row with zeros to a multiple of this, so that sums over them need no
// remainder loop.
constexpr std::size_t row_multiple = 8;

// Return n rounded up to a multiple of `unit`.
constexpr std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Return the elements from one row to the next, for rows of n: whole vectors and, except for short rows, an odd number
// of cache lines. With an even number, rows would compete for the same few cache sets: at 1 KiB only 48 of 128 rows
// fit.
template <class Real> constexpr std::size_t row_stride(std::size_t n) {
  constexpr std::size_t line = 64 / sizeof(Real);
  const std::size_t stride = round_up(n, lanes<Real> > row_multiple ? lanes<Real> : row_multiple);
  return stride >= 8 * line ? round_up(stride, line) + (round_up(stride, line) / line % 2 == 0 ? line : 0) : stride;
}

// The data of a network, copied into rows of whole vectors.
template <class Real> struct Data {
  Buffer<Real> x, y; // (rows, x_stride), (rows, y_stride)
  std::size_t rows, x_stride, y_stride;

  // x: (rows, inputs)   y: (rows, outputs)
  Data(const Real *x_given, const Real *y_given, std::size_t n, std::size_t inputs, std::size_t outputs)
      : rows(n), x_stride(row_stride<Real>(inputs)), y_stride(row_stride<Real>(outputs)) {
    x = Buffer<Real>(rows * x_stride);
    y = Buffer<Real>(rows * y_stride);
    for (std::size_t i = 0; i < rows; ++i) {
      std::copy_n(x_given + i * inputs, inputs, x.data() + i * x_stride);
      std::copy_n(y_given + i * outputs, outputs, y.data() + i * y_stride);
    }
  }

  // The rows from `first` on.
  Matrix<Real> inputs_from(std::size_t first) const {
    return {x.data() + first * x_stride, x_stride};
  }
  Matrix<Real> targets_from(std::size_t first) const {
    return {y.data() + first * y_stride, y_stride};
  }

  // Fetch a row into the cache ahead of its use: training visits rows in random order, which hardware does not predict.
  void prefetch(std::size_t row) const {
    constexpr std::size_t line = 64 / sizeof(Real);
    for (std::size_t j = 0; j < x_stride; j += line)
      __builtin_prefetch(x.data() + row * x_stride + j);
    __builtin_prefetch(y.data() + row * y_stride);
  }
};

struct Caches {
  std::size_t l1, l2; // bytes, of one core's data caches
};

// Return the cache sizes of this CPU, or those of a small one if the system does not report them.
inline Caches read_caches() {
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

// Return the same, read once.
inline const Caches &caches() {
  static const Caches found = read_caches();
  return found;
}

} // namespace fnn::tuned
