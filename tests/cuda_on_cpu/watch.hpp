/* watch.hpp: the last accesses to every four bytes of device and shared memory, and the rules for the next access.
 *
 * The compiler inserts ThreadSanitizer's instrumentation, which calls a function before each load and store. Those
 * functions are ours (instrumentation.hpp); ThreadSanitizer's own run-time library is not linked. Two accesses to the
 * same memory, one of them a write, must be ordered by a barrier. The barriers that both threads passed decide that,
 * not the time at which they ran: a missing barrier is found in any interleaving.
 *
 * Not here: fibers and barriers (block.hpp), CUDA's functions (device.cpp).
 */
#ifndef CUDA_ON_CPU_WATCH_HPP
#define CUDA_ON_CPU_WATCH_HPP

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/mman.h>

extern "C" const char __ehdr_start[], _end[]; // set by the linker: the addresses of this library
alignas(256) unsigned char shared_memory[227 << 10];

namespace cuda_on_cpu {

constexpr int warp_size = 32;
constexpr size_t granule = 4, most_shared = sizeof shared_memory, arena_bytes = size_t(256) << 20;

/* The last write to four bytes, and the reads since; in shared memory, by the running block. All 0: never touched. */
struct Cell {
  uint32_t write_phase, write_clock, write_site; // a site is an offset into this library
  uint32_t read_phase, read_clock, read_site;
  uint32_t foreign_phase;  // of a read by an earlier block
  uint32_t lanes;          // lanes of the reader's warp that read since the last order between them
  uint16_t writer, reader; // threads of their blocks
  bool live, pending, atomic, several_warps;
};

/* The order of a thread's accesses after those of its warp. */
struct Clock {
  uint32_t now = 1;
  uint32_t known[warp_size] = {}; // by lane of its warp: accesses before this clock are ordered before its own
};

enum class Kind { read, write, atomic };

inline const char *word(Kind kind) {
  return kind == Kind::read ? "reads" : kind == Kind::write ? "writes" : "atomically adds to";
}

/* The current thread and phase. Blocks run one after the other; each block, and each of its barriers, starts a phase.
 */
struct Moment {
  bool in_kernel = false;
  uint32_t launch = 1, block = 1, phase = 1; // first phase of the launch, of the block; this phase
  int thread = 0, threads = 0;
  Clock *clock = nullptr;
  const unsigned char *stack = nullptr, *stack_end = nullptr, *arguments = nullptr, *arguments_end = nullptr;
  size_t shared = 0; // bytes that this launch has
};

inline Moment moment;

template <class T> T *reserve(size_t bytes) {
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    std::perror("cuda_on_cpu: mmap"), std::abort();
  return static_cast<T *>(memory);
}

inline unsigned char *const arena = reserve<unsigned char>(arena_bytes);
inline Cell *const device_cells = reserve<Cell>(arena_bytes / granule * sizeof(Cell));
inline Cell *const shared_cells = reserve<Cell>(most_shared / granule * sizeof(Cell));

inline bool within(const void *p, const void *from, size_t bytes) {
  return uintptr_t(p) - uintptr_t(from) < bytes;
}
inline bool on_device(const void *p) {
  return within(p, arena, arena_bytes);
}
inline Cell *device_cell(const void *p) {
  return device_cells + (static_cast<const unsigned char *>(p) - arena) / granule;
}

/* Record a mistake. Inside a kernel it does not return: it ends the launch. */
void found(const std::string &what);

inline std::string place(const void *p) {
  char text[64];
  if (within(p, shared_memory, most_shared))
    std::snprintf(text, sizeof text, "shared memory at byte %zu", size_t((unsigned char *)p - shared_memory));
  else if (on_device(p))
    std::snprintf(text, sizeof text, "device memory at %p", p);
  else
    std::snprintf(text, sizeof text, "host memory at %p", p);
  return text;
}
inline std::string at(uint32_t site) {
  char text[24];
  std::snprintf(text, sizeof text, "<+0x%x>", site); // Device.findings turns it into a line of source
  return text;
}
inline uint32_t site_of(const void *caller) {
  return uint32_t((const char *)caller - __ehdr_start) - 1;
}
inline std::string thread_name(int thread) {
  return "thread " + std::to_string(thread);
}

/* Report whether an access of that phase, clock and thread is ordered before the current access. */
inline bool ordered(uint32_t phase, uint32_t clock, int thread) {
  const Moment &now = moment;
  if (phase < now.launch)
    return true;
  if (phase < now.block) // another block of this launch: blocks have no order
    return false;
  if (phase < now.phase || thread == now.thread)
    return true;
  return thread / warp_size == now.thread / warp_size && now.clock->known[thread % warp_size] > clock;
}

inline bool reads_ordered(const Cell &cell) {
  const Moment &now = moment;
  if (cell.foreign_phase >= now.launch && cell.foreign_phase < now.block)
    return false;
  if (cell.read_phase != now.phase)
    return cell.read_phase < now.launch || cell.read_phase >= now.block;
  if (cell.several_warps)
    return false;
  const int warp = cell.reader / warp_size * warp_size;
  for (int lane = 0; lane < warp_size; lane++)
    if (cell.lanes >> lane & 1 && !ordered(cell.read_phase, cell.read_clock, warp + lane))
      return false;
  return true;
}

inline void note_read(Cell &cell, uint32_t site) {
  const Moment &now = moment;
  const uint32_t mine = 1u << now.thread % warp_size;
  if (cell.read_phase != now.phase) {
    if (cell.read_phase >= now.launch && cell.read_phase < now.block)
      cell.foreign_phase = cell.read_phase;
    cell.several_warps = false, cell.lanes = 0;
  } else if (cell.several_warps) {
    return; // already no write is allowed before the next phase
  } else if (cell.reader / warp_size != now.thread / warp_size) {
    cell.several_warps = true;
  } else if (cell.lanes != mine && reads_ordered(cell)) {
    cell.lanes = 0;
  }
  cell.lanes |= mine;
  cell.read_clock = cell.lanes == mine ? now.clock->now : std::max(cell.read_clock, now.clock->now);
  cell.read_phase = now.phase, cell.read_site = site, cell.reader = uint16_t(now.thread);
}

inline void note_write(Cell &cell, uint32_t site, bool atomic) {
  const Moment &now = moment;
  cell.write_phase = now.phase, cell.write_clock = now.clock->now, cell.write_site = site;
  cell.writer = uint16_t(now.thread), cell.atomic = atomic;
}

/* As in "thread 3 reads device memory at 0x.. <+0x..>". */
inline std::string doing(Kind kind, const void *p, uint32_t site) {
  return thread_name(moment.thread) + " " + word(kind) + " " + place(p) + " " + at(site);
}

inline std::string also(int thread, const char *did, uint32_t site, uint32_t phase) {
  return ", which " + thread_name(thread) + " " + did + " " + at(site) +
         (phase < moment.block ? ", of another block of the same launch" : ", with no barrier between");
}

/* Check and note one access of a kernel to device or shared memory. */
inline void touch(Cell &cell, const void *p, Kind kind, uint32_t site) {
  if (cell.pending)
    found(doing(kind, p, site) + ", the target of an asynchronous copy " + at(cell.write_site) + " not waited for");
  const bool both_atomic = kind == Kind::atomic && cell.atomic;
  if (!both_atomic && !ordered(cell.write_phase, cell.write_clock, cell.writer))
    found(doing(kind, p, site) + also(cell.writer, "wrote", cell.write_site, cell.write_phase));
  if (kind != Kind::write && cell.write_phase == 0)
    found(doing(kind, p, site) + ", which was never written");
  if (kind == Kind::read)
    return note_read(cell, site);
  if (!reads_ordered(cell))
    found(doing(kind, p, site) + also(cell.reader, "read", cell.read_site, cell.read_phase));
  note_write(cell, site, kind == Kind::atomic);
}

/* Check that these bytes may be accessed, and that no other access races with this one. */
inline void access(const void *p, size_t bytes, Kind kind, const void *caller) {
  const Moment &now = moment;
  if (now.in_kernel && p >= now.stack && p < now.stack_end)
    return;
  const uint32_t site = site_of(caller);
  const bool shared = within(p, shared_memory, most_shared);
  if (!now.in_kernel) {
    if (shared || on_device(p))
      found("host code " + std::string(word(kind)) + " " + place(p) + " " + at(site));
    return;
  }
  if (!shared && !on_device(p)) {
    const bool constant = (p >= __ehdr_start && p < _end) || (p >= now.arguments && p < now.arguments_end);
    if (!constant || kind != Kind::read)
      found(doing(kind, p, site));
    return;
  }
  if (shared && size_t((const unsigned char *)p - shared_memory) + bytes > now.shared)
    found(doing(kind, p, site) + ": the launch has " + std::to_string(now.shared) + " bytes");
  const auto *from = static_cast<const unsigned char *>(p);
  for (auto *b = from - uintptr_t(from) % granule; b < from + bytes; b += granule) {
    Cell &cell = shared ? shared_cells[(b - shared_memory) / granule] : *device_cell(b);
    if (!shared && !cell.live)
      found(doing(kind, b, site) + ", which is not allocated");
    touch(cell, b, kind, site);
  }
}

/* Check a load or store as `access` does, and that its address is a multiple of its size. */
inline void aligned_access(const void *p, size_t bytes, Kind kind, const void *caller) {
  if (moment.in_kernel && uintptr_t(p) % bytes != 0 && (on_device(p) || within(p, shared_memory, most_shared)))
    found(doing(kind, p, site_of(caller)) + ": not a multiple of " + std::to_string(bytes));
  access(p, bytes, kind, caller);
}

} // namespace cuda_on_cpu

#endif
