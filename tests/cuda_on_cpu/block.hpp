/* block.hpp: a block's threads as fibers: barriers, shuffles, asynchronous copies, and the order in which fibers run.
 *
 * A fiber starts as a ucontext of libc, but GCC's __builtin_longjmp switches between fibers: 12 ns, where swapcontext
 * takes 190 ns, because it calls the kernel for the signal mask. The next fiber to run is drawn at random, from a seed.
 */
#ifndef CUDA_ON_CPU_BLOCK_HPP
#define CUDA_ON_CPU_BLOCK_HPP

#include <algorithm>
#include <cuda_pipeline.h>
#include <deque>
#include <map>
#include <random>
#include <ucontext.h>
#include <vector>

#include "watch.hpp"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace cuda_on_cpu {

constexpr int most_threads = 1024;
constexpr size_t stack_bytes = 128 << 10, guard_bytes = 4 << 10;

struct Copy {
  void *to;
  const void *from;
  size_t bytes, zeros;
  const void *caller;
};

enum class State { ready, at_block_barrier, in_warp, over };

struct Fiber {
  void *resume[5];   // where it continues
  bool made = false; // its stack can run the next kernel
  unsigned char *stack = nullptr;
  uint3 index; // threadIdx
  State state;
  const char *what; // the function that it waits in, called at `site`
  Site site;
  unsigned mask;
  uint64_t bits; // its value in a shuffle
  Clock clock;
  std::vector<Copy> issued;
  std::deque<std::vector<Copy>> committed;
};

/* One barrier in the compiled code. */
struct Barrier {
  const char *kind = "";
  long passed = 0;
  bool skipped = false; // removed by a test
};

/* What tests set and read. */
struct Control {
  std::mt19937_64 random{0};
  long preempt = 0; // accesses between two switches of fibers, on average; 0: switch at barriers and shuffles only
  long until_preempt = 0;
  std::map<uint32_t, Barrier> barriers; // by the place of the call
  std::string findings;
};
inline Control control;

struct Broken {}; // ends a launch with a finding

inline Fiber fibers[most_threads];
inline void *scheduler[5]; // where it continues
inline std::vector<int> ready;
inline int waiting_at_barrier, running_over;
inline unsigned waiting_in_warp[most_threads / warp_size]; // lanes
inline bool broken;

inline size_t draw(size_t below) {
  return control.random() % below;
}
inline Fiber &self() {
  return fibers[moment.thread];
}
inline std::string at(Site site) {
  const char *slash = std::strrchr(site.file, '/');
  return std::string(slash ? slash + 1 : site.file) + ":" + std::to_string(site.line);
}

[[noreturn, gnu::noinline]] inline void jump(void **to) {
  __builtin_longjmp(to, 1);
}
[[gnu::noinline]] inline void change(void **from, void **to) {
  if (__builtin_setjmp(from) == 0)
    jump(to);
}
inline void leave() {
  moment.in_kernel = false;
  change(self().resume, scheduler);
}

void found(const std::string &what) {
  char where[96] = "";
  if (moment.in_kernel)
    std::snprintf(where, sizeof where, " (block %u,%u,%u of %d threads)", blockIdx.x, blockIdx.y, blockIdx.z,
                  moment.threads);
  control.findings += what + where + "\n";
  std::fprintf(stderr, "cuda_on_cpu: %s%s\n", what.c_str(), where);
  if (moment.in_kernel) {
    broken = true;
    leave();
  }
}

/* Report whether a test has removed this barrier, and count it as passed. */
inline bool skipped(const char *kind, Site site, const void *caller) {
  if (!moment.in_kernel)
    found(std::string(kind) + " outside of a kernel, " + at(site));
  Barrier &barrier = control.barriers[site_of(caller)];
  barrier.kind = kind, barrier.passed++;
  return barrier.skipped;
}
#define SKIPPED(kind, site) skipped(kind, site, __builtin_return_address(0))

inline void give_way() {
  ready.push_back(moment.thread);
  leave();
}

/* --- Barriers. ---------------------------------------------------------------------------------------------------- */

void block_barrier(Site site) {
  if (SKIPPED("__syncthreads", site))
    return;
  Fiber &me = self();
  me.state = State::at_block_barrier, me.what = "__syncthreads", me.site = site;
  static Site first; // where the first thread waits
  if (waiting_at_barrier == 0)
    first = site;
  else if (first.line != site.line || std::strcmp(first.file, site.file) != 0)
    found(thread_name(moment.thread) + " waits in __syncthreads at " + at(site) + ", others in that at " + at(first));
  if (++waiting_at_barrier == moment.threads) {
    waiting_at_barrier = 0, moment.phase++;
    for (int t = 0; t < moment.threads; t++)
      fibers[t].state = State::ready, ready.push_back(t);
  }
  leave();
}

/* Wait for the lanes of a mask, all in the same function at the same place; the last to arrive calls `meet`. */
template <class Meet> void gather(const char *what, unsigned mask, Site site, Meet meet) {
  Fiber &me = self();
  const int lane = moment.thread % warp_size, warp = moment.thread - lane;
  me.state = State::in_warp, me.what = what, me.site = site, me.mask = mask;
  unsigned &there = waiting_in_warp[warp / warp_size];
  there |= 1u << lane;
  if (!(mask >> lane & 1))
    found(thread_name(moment.thread) + " calls " + what + " at " + at(site) + " with a mask that leaves itself out");
  if ((there & mask) == mask) {
    for (int other = warp; other < warp + warp_size; other++) {
      const Fiber &fiber = fibers[other];
      if (mask >> (other - warp) & 1 && (fiber.what != what || fiber.site.line != site.line || fiber.mask != mask))
        found(thread_name(moment.thread) + " waits in " + what + " at " + at(site) + " for " + thread_name(other) +
              ", which waits in " + fiber.what + " at " + at(fiber.site) +
              (fiber.mask == mask ? "" : " for other lanes"));
    }
    meet(warp);
    there &= ~mask;
    for (int other = warp; other < warp + warp_size; other++)
      if (mask >> (other - warp) & 1)
        fibers[other].state = State::ready, ready.push_back(other);
  }
  leave();
}

void warp_barrier(unsigned mask, Site site) {
  if (SKIPPED("__syncwarp", site))
    return;
  gather("__syncwarp", mask, site, [mask](int warp) {
    Clock joined{};
    for (int lane = 0; lane < warp_size; lane++)
      if (mask >> lane & 1) {
        const Clock &clock = fibers[warp + lane].clock;
        joined.now = std::max(joined.now, clock.now);
        for (int l = 0; l < warp_size; l++)
          joined.known[l] = std::max(joined.known[l], clock.known[l]);
      }
    joined.now++;
    for (int lane = 0; lane < warp_size; lane++)
      if (mask >> lane & 1)
        joined.known[lane] = joined.now;
    for (int lane = 0; lane < warp_size; lane++)
      if (mask >> lane & 1)
        fibers[warp + lane].clock = joined;
  });
}

/* A shuffle exchanges values, and orders no memory accesses. */
uint64_t shuffle(Shuffle how, unsigned mask, uint64_t bits, int by, int width, Site site) {
  constexpr const char *names[] = {"__shfl_sync", "__shfl_down_sync", "__shfl_xor_sync"};
  const char *name = names[int(how)];
  if (!moment.in_kernel)
    found(std::string(name) + " outside of a kernel, " + at(site));
  if (width < 1 || width > warp_size || (width & (width - 1)) != 0)
    found(std::string(name) + " at " + at(site) + " with width " + std::to_string(width));
  self().bits = bits;
  const int lane = moment.thread % warp_size, warp = moment.thread - lane, segment = lane - lane % width;
  int from = how == Shuffle::to ? segment + (by & (width - 1)) : how == Shuffle::down ? lane + by : (lane ^ by);
  if (from >= segment + width)
    from = lane;
  if (!(mask >> from & 1))
    found(thread_name(moment.thread) + " reads lane " + std::to_string(from) + ", which is not in the mask of " + name +
          " at " + at(site));
  static uint64_t exchanged[most_threads];
  gather(name, mask, site, [mask](int warp) {
    for (int l = 0; l < warp_size; l++)
      if (mask >> l & 1)
        exchanged[warp + l] = fibers[warp + l].bits;
  });
  return exchanged[warp + from];
}

unsigned add(unsigned *to, unsigned value, const void *caller) {
  aligned_access(to, sizeof *to, Kind::atomic, caller);
  const unsigned before = *to;
  *to += value;
  return before;
}

/* --- Asynchronous copies. ----------------------------------------------------------------------------------------- */

inline void set_pending(void *to, size_t bytes, bool pending) {
  for (size_t b = 0; b < bytes; b += granule)
    shared_cells[((unsigned char *)to + b - shared_memory) / granule].pending = pending;
}

void copy_later(void *to, const void *from, size_t bytes, size_t zeros, Site site, const void *caller) {
  const std::string here = "__pipeline_memcpy_async at " + at(site);
  if ((bytes != 4 && bytes != 8 && bytes != 16) || zeros > bytes)
    found(here + " of " + std::to_string(bytes) + " bytes, " + std::to_string(zeros) + " of them 0");
  if (!within(to, shared_memory, most_shared) || !on_device(from))
    found(here + ": from " + place(from) + " to " + place(to));
  aligned_access(to, bytes, Kind::write, caller);
  if (zeros < bytes)
    access(from, bytes - zeros, Kind::read, caller);
  if (uintptr_t(from) % bytes != 0)
    found(here + ": from " + place(from) + ", not a multiple of " + std::to_string(bytes));
  std::memset(to, 0xff, bytes);
  set_pending(to, bytes, true);
  self().issued.push_back({to, from, bytes, zeros, caller});
}

void commit_copies(Site site) {
  if (SKIPPED("__pipeline_commit", site))
    return;
  self().committed.push_back(std::move(self().issued));
  self().issued.clear();
}

void wait_for_copies(size_t but_last, Site site) {
  if (SKIPPED("__pipeline_wait_prior", site))
    return;
  for (auto &groups = self().committed; groups.size() > but_last; groups.pop_front())
    for (const Copy &copy : groups.front()) {
      set_pending(copy.to, copy.bytes, false);
      if (copy.zeros < copy.bytes)
        access(copy.from, copy.bytes - copy.zeros, Kind::read, copy.caller);
      access(copy.to, copy.bytes, Kind::write, copy.caller);
      std::memset(copy.to, 0, copy.bytes);
      std::memcpy(copy.to, copy.from, copy.bytes - copy.zeros);
    }
}

/* --- Running. ----------------------------------------------------------------------------------------------------- */

inline const Launch *running;

inline void body() {
  for (;;) {
    running->run(running->bound.get());
    self().state = State::over;
    running_over++;
    leave();
  }
}

[[gnu::noinline]] inline void make(Fiber &fiber) {
  static ucontext_t context;
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = stack_bytes;
  context.uc_link = nullptr;
  makecontext(&context, body, 0);
  fiber.made = true;
  if (__builtin_setjmp(scheduler) == 0)
    setcontext(&context);
}

inline void start(Fiber &fiber, int thread) {
  fiber.made = fiber.made && fiber.state == State::over; // otherwise its last kernel was aborted
  const unsigned t = unsigned(thread);
  fiber.index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
  fiber.state = State::ready;
  fiber.clock = Clock{};
  fiber.issued.clear(), fiber.committed.clear();
}

inline void resume(int thread) {
  moment.thread = thread;
  Fiber &fiber = fibers[thread];
  if (fiber.stack == nullptr) {
    fiber.stack = reserve<unsigned char>(stack_bytes);
    mprotect(fiber.stack, guard_bytes, PROT_NONE);
  }
  moment.clock = &fiber.clock;
  moment.stack = fiber.stack, moment.stack_end = fiber.stack + stack_bytes;
  threadIdx = fiber.index;
  moment.in_kernel = true;
  if (fiber.made)
    change(scheduler, fiber.resume);
  else
    make(fiber);
}

/* Explain why no thread can continue. */
inline std::string stuck() {
  const auto end = fibers + moment.threads;
  const auto waits = std::find_if(fibers, end, [](const Fiber &f) { return f.state != State::over; });
  const std::string waiting = thread_name(int(waits - fibers)) + " waits in " + waits->what + " at " + at(waits->site);
  for (auto other = fibers; other != end; other++)
    if (other->state == State::over)
      return waiting + ", and " + thread_name(int(other - fibers)) + " has left the kernel";
    else if (other->what != waits->what || other->site.line != waits->site.line)
      return waiting + ", and " + thread_name(int(other - fibers)) + " in " + other->what + " at " + at(other->site);
  return waiting + ", and no thread can continue";
}

inline void run_block() {
  moment.block = ++moment.phase;
  std::memset(shared_memory, 0xff, moment.shared);
  std::fill_n(shared_cells, (moment.shared + granule - 1) / granule, Cell{});
  ready.clear(), waiting_at_barrier = 0, running_over = 0;
  std::fill(std::begin(waiting_in_warp), std::end(waiting_in_warp), 0);
  for (int t = 0; t < moment.threads; t++)
    start(fibers[t], t), ready.push_back(t);
  while (running_over < moment.threads) {
    if (ready.empty())
      found(stuck()), broken = true;
    if (broken)
      throw Broken{};
    std::swap(ready[draw(ready.size())], ready.back());
    const int next = ready.back();
    ready.pop_back();
    resume(next);
  }
  if (broken)
    throw Broken{};
}

/* Run all blocks of a launch, one after the other, in an order drawn from the seed. Return false on a finding. */
inline bool run_grid(const cudaLaunchConfig_t &config, const Launch &launch) {
  gridDim = config.gridDim, blockDim = config.blockDim;
  running = &launch, broken = false;
  moment.launch = moment.phase + 1;
  moment.threads = int(blockDim.x * blockDim.y * blockDim.z);
  moment.shared = config.dynamicSmemBytes;
  moment.arguments = static_cast<const unsigned char *>(launch.bound.get());
  moment.arguments_end = moment.arguments + launch.size;
  std::vector<size_t> blocks(size_t(gridDim.x) * gridDim.y * gridDim.z);
  for (size_t b = 0; b < blocks.size(); b++)
    blocks[b] = b;
  std::shuffle(blocks.begin(), blocks.end(), control.random);
  try {
    for (const size_t b : blocks) {
      blockIdx = {unsigned(b % gridDim.x), unsigned(b / gridDim.x % gridDim.y), unsigned(b / gridDim.x / gridDim.y)};
      run_block();
    }
  } catch (const Broken &) {
  }
  moment.launch = moment.block = ++moment.phase; // later work is ordered after this launch
  return !broken;
}

} // namespace cuda_on_cpu

#endif
