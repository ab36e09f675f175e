// peak.hpp: the peak rates of this machine: multiply-adds in registers and memory bandwidth. Its results are rates
// alone. It is compiled once for each instruction-set level.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

namespace fnn {

#if defined(__AVX512F__)
constexpr std::size_t vector_bytes = 64;
#elif defined(__AVX__)
constexpr std::size_t vector_bytes = 32;
#else
constexpr std::size_t vector_bytes = 16;
#endif

// The number of independent sums. At least units times latency (2 x 5 on x86-64, 4 x 4 on some ARM) keeps the units
// busy; with the constant they must fit the 16 or 32 vector registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t chains = 24;
#else
constexpr std::size_t chains = 12;
#endif

// Keep the value in a register, and make the compiler assume that it changes here.
template <class Vector> void keep_in_register(Vector &value) {
#if defined(__aarch64__)
  asm volatile("" : "+w"(value));
#elif defined(__AVX512F__)
  asm volatile("" : "+v"(value));
#else
  asm volatile("" : "+x"(value));
#endif
}

// Run `rounds` of one multiply-add per lane on every chain. The sums converge to 1, so none becomes large or subnormal.
// The fold replaces a loop over the chains, because GCC keeps an array that a loop indexes in memory.
template <class Real, std::size_t... chain> void multiply_add(std::size_t rounds, std::index_sequence<chain...>) {
  typedef Real Vector __attribute__((vector_size(vector_bytes)));
  Vector half = Vector{} + Real(0.5), sums[] = {Vector{} + static_cast<Real>(chain)...};
  keep_in_register(half);
  for (std::size_t round = 0; round < rounds; ++round)
    ((sums[chain] = sums[chain] * half + half, keep_in_register(sums[chain])), ...);
}

// A barrier that spins, because a burst is shorter than a wake-up takes, and yields the CPU to other threads.
class Barrier {
public:
  explicit Barrier(std::size_t members) : members_(members) {}
  // Wait for all members. Return false, at once, where a member has cancelled.
  bool wait() {
    const std::size_t turn = turn_.load();
    if (arrived_.fetch_add(1) + 1 == members_) {
      arrived_ = 0;
      turn_ = turn + 1;
    } else
      while (turn_.load() == turn && !cancelled_.load())
        std::this_thread::yield();
    return !cancelled_.load();
  }
  void cancel() {
    cancelled_ = true;
  }

private:
  const std::size_t members_;
  std::atomic<std::size_t> arrived_{0}, turn_{0};
  std::atomic<bool> cancelled_{false};
};

// Return the best rate, in passes per second and thread, of bursts of at least 2 ms within `seconds`. Each thread
// creates its own task with make(), and all run task(passes) at the same time. A burst lasts from before the first
// thread starts until after the last one ends, so that no rate is overstated.
// What a thread throws, without memory for example, is thrown here after all threads have ended.
template <class Make> double best_rate(std::size_t threads, double seconds, Make make) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  Barrier barrier(threads);
  std::size_t passes = 1; // only the calling thread writes it, between two barriers
  bool done = false;
  double best = 0;
  std::vector<std::exception_ptr> errors(threads);
  const auto guarded = [&](std::size_t i, auto work) {
    try {
      work();
    } catch (...) {
      errors[i] = std::current_exception();
      barrier.cancel();
    }
  };
  std::vector<std::thread> others;
  guarded(0, [&] {
    for (std::size_t i = 1; i < threads; ++i)
      others.emplace_back([&, i] {
        guarded(i, [&] {
          auto task = make();
          while (barrier.wait() && !done) {
            task(passes);
            barrier.wait();
          }
        });
      });
    auto task = make();
    const auto begin = Clock::now();
    while (best == 0 || since(begin) < seconds) {
      const auto start = Clock::now();
      if (!barrier.wait())
        return;
      task(passes);
      if (!barrier.wait())
        return;
      const double took = since(start);
      best = std::max(best, static_cast<double>(passes) / took);
      if (took < 2e-3)
        passes *= 2;
    }
    done = true;
    barrier.wait();
  });
  for (std::thread &other : others)
    other.join();
  for (const std::exception_ptr &error : errors)
    if (error)
      std::rethrow_exception(error);
  return best;
}

// Return floating-point operations per second; a multiply-add counts as two.
template <class Real> double peak(std::size_t threads, double seconds) {
  constexpr std::size_t rounds = 1000;
  constexpr double operations = 2.0 * rounds * chains * (vector_bytes / sizeof(Real));
  const auto make = [] {
    return [](std::size_t passes) { multiply_add<Real>(passes * rounds, std::make_index_sequence<chains>()); };
  };
  return operations * static_cast<double>(threads) * best_rate(threads, seconds, make);
}

enum class Traffic { read, copy, triad };

// Sweeps over a thread's own arrays: sum b, a = b, or a = b + s c. The thread that uses the arrays touches them first.
// (STREAM, J. D. McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995.)
class Sweep {
public:
  // n: elements of each array
  Sweep(Traffic traffic, std::size_t n)
      : traffic_(traffic), a_(traffic == Traffic::read ? 0 : n), b_(n, 1), c_(traffic == Traffic::triad ? n : 0, 1) {}

  void operator()(std::size_t passes) {
    for (std::size_t pass = 0; pass < passes; ++pass) {
      if (traffic_ == Traffic::read)
        read();
      else if (traffic_ == Traffic::copy)
        std::copy(b_.begin(), b_.end(), a_.begin());
      else
        triad();
      asm volatile("" ::: "memory"); // the compiler must assume that the result is read
    }
  }

private:
  void read() const { // the compiler may reorder a sum of integers, so it uses vectors
    std::int64_t sum = 0;
    for (const std::int64_t b : b_)
      sum += b;
    asm volatile("" : : "r"(sum));
  }
  void triad() {
    std::int64_t *__restrict a = a_.data();
    const std::int64_t *b = b_.data(), *c = c_.data();
    for (std::size_t i = 0; i < a_.size(); ++i)
      a[i] = b[i] + 4 * c[i]; // any factor that is cheap next to the memory traffic
  }

  Traffic traffic_;
  std::vector<std::int64_t> a_, b_, c_;
};

// Return bytes per second, for arrays of `bytes` in total. As in STREAM, each array counts once, although a store may
// read its cache line first.
inline double bandwidth(Traffic traffic, std::size_t threads, std::size_t bytes, double seconds) {
  const std::size_t arrays = static_cast<std::size_t>(traffic) + 1;
  const std::size_t n = std::max<std::size_t>(1, bytes / (threads * arrays * sizeof(std::int64_t)));
  const double moved = static_cast<double>(n * threads * arrays * sizeof(std::int64_t));
  return moved * best_rate(threads, seconds, [=] { return Sweep(traffic, n); });
}

} // namespace fnn
