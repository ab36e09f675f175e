// storage.hpp: memory: buffers, views of matrices, the row layout of our own matrices, the data of a network, and the
// sizes of the CPU's caches.
#pragma once

#include "simd.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace fnn::tuned {

// Return n rounded up to a multiple of `unit`.
constexpr std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Return memory for `free`, at a multiple of `unit`: a huge page or less. Whole huge pages are asked for as such.
inline char *allocate(std::size_t unit, std::size_t bytes) {
  void *const memory = std::aligned_alloc(unit, bytes);
  if (!memory)
    throw std::bad_alloc();
#if defined(__linux__)
  if (bytes % (std::size_t(1) << 21) == 0)
    madvise(memory, bytes, MADV_HUGEPAGE); // a hint: without huge pages the code is only slower
#endif
  return static_cast<char *>(memory);
}

// A huge page that buffers share. Buffers that follow one another spread evenly over the sets of the second cache, and
// take few entries of the translation buffer; pages of 4 KiB lie anywhere and compete for sets by chance.
//
// The latest slab outlives its buffers: the system clears a huge page before it gives it, which takes as long as a
// hundred steps of a small network and empties the second cache.
class Slab {
public:
  static constexpr std::size_t size = std::size_t(1) << 21; // bytes, of a huge page

  Slab() : memory_(allocate(size, size), std::free) {}

  // Take so many bytes of the latest slab, or of a new one; return the slab, and in `at` where they begin. Buffers own
  // their slab, and give their bytes back.
  static std::shared_ptr<Slab> with_room_for(std::size_t bytes, std::size_t &at) {
    static std::shared_ptr<Slab> latest;
    const std::lock_guard<std::mutex> lock(mutex());
    if (!latest || latest->taken_ + bytes > size)
      latest = std::make_shared<Slab>();
    at = latest->taken_;
    latest->taken_ += bytes;
    ++latest->buffers_;
    return latest;
  }
  // Count one buffer less; without any, the slab is used from its beginning again.
  void give_back() {
    const std::lock_guard<std::mutex> lock(mutex());
    if (--buffers_ == 0)
      taken_ = 0;
  }
  char *data() const {
    return memory_.get();
  }

private:
  static std::mutex &mutex() {
    static std::mutex of_all_slabs;
    return of_all_slabs;
  }

  std::unique_ptr<char, void (*)(void *)> memory_;
  std::size_t taken_ = 0, buffers_ = 0; // bytes, and the buffers that have them
};

// Owns `size` zeros, aligned for vectors. Small buffers have memory of their own, those up to a huge page share slabs,
// larger ones have huge pages of their own.
template <class Real> class Buffer {
public:
  Buffer() = default;
  explicit Buffer(std::size_t size) : size_(size) {
    if (size == 0)
      return;
#if defined(__SANITIZE_ADDRESS__)
    constexpr std::size_t least_of_slab =
        Slab::size; // the sanitizer sees no overrun from one part of a slab to the next
#else
    constexpr std::size_t least_of_slab = std::size_t(1) << 16;
#endif
    const std::size_t bytes = round_up(size * sizeof(Real), 64);
    if (bytes < least_of_slab || bytes >= Slab::size) {
      const std::size_t unit = bytes < Slab::size ? 64 : Slab::size;
      data_.reset(reinterpret_cast<Real *>(allocate(unit, round_up(bytes, unit))));
    } else {
      std::size_t at;
      std::shared_ptr<Slab> slab = Slab::with_room_for(bytes, at);
      char *const memory = slab->data() + at;
      data_ = {reinterpret_cast<Real *>(memory), Free{std::move(slab)}};
    }
    std::memset(static_cast<void *>(data_.get()), 0, bytes);
  }

  Real *data() const {
    return data_.get();
  }
  std::size_t size() const {
    return size_;
  }

private:
  struct Free {
    std::shared_ptr<Slab> slab; // of which the buffer is a part; null: memory of its own
    void operator()(Real *p) const {
      if (slab)
        slab->give_back();
      else
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
