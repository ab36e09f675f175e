// pool.hpp: a pool of waiting threads, and the rule for which work they share.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fnn::tuned {

// An idle helper thread spins for this long, so that it can start on more work at once, and then sleeps. No helper
// stays busy for longer after a call returns.
constexpr std::chrono::microseconds spin_time{50};

// The smallest work, in multiply-adds, that is faster on several threads (measured: docs/speed.md). Below it, passing
// results between threads takes longer than computing them.
constexpr std::size_t parallel_threshold = 2'000'000;

class Pool {
public:
  // The calling thread is one of `threads`.
  explicit Pool(std::size_t threads) {
    try {
      for (std::size_t i = 1; i < threads; ++i)
        helpers_.emplace_back([this, i] { serve(i); });
    } catch (...) { // the system refused another thread
      end();
      throw;
    }
  }
  ~Pool() {
    end();
  }
  Pool(const Pool &) = delete;
  Pool &operator=(const Pool &) = delete;

  std::size_t size() const {
    return helpers_.size() + 1;
  }

  // Call f(i) for each i < size(), each on its own thread, and return when all are done. f must not throw.
  template <class F> void run(const F &f) {
    if (helpers_.empty())
      return f(std::size_t(0));
    context_ = &f;
    work_ = [](const void *context, std::size_t i) { (*static_cast<const F *>(context))(i); };
    busy_.store(helpers_.size());
    {
      const std::lock_guard<std::mutex> lock(mutex_); // no helper falls asleep between its last check and this call
      call_.fetch_add(1);
    }
    if (asleep_.load() > 0)
      woken_.notify_all();
    f(std::size_t(0));
    for (std::size_t turn = 1; busy_.load(std::memory_order_acquire) > 0; ++turn)
      if (turn % 256 != 0)
        pause();
      else
        std::this_thread::yield(); // a helper may be waiting for this CPU
  }

private:
  void end() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
      call_.fetch_add(1);
    }
    woken_.notify_all();
    for (std::thread &helper : helpers_)
      helper.join();
  }

  static void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  void serve(std::size_t i) {
    for (std::size_t seen = 0;;) {
      wait_for_call_after(seen);
      seen = call_.load(std::memory_order_acquire);
      if (ending_)
        return;
      work_(context_, i);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  void wait_for_call_after(std::size_t seen) {
    const auto until = std::chrono::steady_clock::now() + spin_time;
    while (call_.load(std::memory_order_acquire) == seen) {
      for (int i = 0; i < 32 && call_.load(std::memory_order_acquire) == seen; ++i)
        pause();
      if (std::chrono::steady_clock::now() < until)
        continue;
      std::unique_lock<std::mutex> lock(mutex_);
      asleep_.fetch_add(1);
      woken_.wait(lock, [&] { return call_.load() != seen; });
      asleep_.fetch_sub(1);
    }
  }

  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable woken_;
  std::atomic<std::size_t> call_{0}, busy_{0}, asleep_{0};
  void (*work_)(const void *, std::size_t) = nullptr;
  const void *context_ = nullptr;
  bool ending_ = false;
};

// Call f(part, parts) for each part on its own thread, or f(0, 1) on this thread if the work is too small to share.
// pool: null for one thread
template <class F> inline void share(Pool *pool, std::size_t multiply_adds, const F &f) {
  if (!pool || pool->size() == 1 || multiply_adds < parallel_threshold)
    f(std::size_t(0), std::size_t(1));
  else
    pool->run([&](std::size_t i) { f(i, pool->size()); });
}

} // namespace fnn::tuned
