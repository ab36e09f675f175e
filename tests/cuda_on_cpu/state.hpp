/* state.hpp: the simulated device: its memory, streams and copies, and the failures that tests request.
 *
 * Work on a stream is done as late as CUDA allows, when something waits for it, so that a missing synchronization
 * shows. Not here: the threads of a launch (block.hpp), accesses (watch.hpp), CUDA's functions (device.cpp).
 */
#ifndef CUDA_ON_CPU_STATE_HPP
#define CUDA_ON_CPU_STATE_HPP

#include <chrono>
#include <functional>
#include <set>

#include "block.hpp"

using Work = std::function<cudaError_t()>;

struct CUgraph_st {
  std::vector<Work> work;
};
struct CUgraphExec_st {
  std::vector<Work> work;
};
struct CUstream_st {
  bool blocking = true; // it and the default stream wait for each other
  std::deque<Work> work;
  CUgraph_st *captured = nullptr;
};
struct CUevent_st {
  bool timed = true, recorded = false, done = false;
  CUstream_st *stream = nullptr;
  std::chrono::steady_clock::time_point when;
};

namespace cuda_on_cpu {

constexpr size_t alignment = 256, most_arguments = 4096, usual_shared = 48 << 10;

struct Device {
  int count = 1, multiprocessors = 3;
  long calls = 0, fail_at = 0; // this call fails; 0: none
  cudaError_t last = cudaSuccess, broken = cudaSuccess;
  std::map<size_t, size_t> allocated; // offset in the arena -> bytes
  std::map<const void *, size_t> host;
  std::set<CUstream_st *> streams;
  std::set<CUevent_st *> events;
  std::set<CUgraph_st *> graphs;
  std::set<CUgraphExec_st *> ready;
  std::map<const void *, size_t> shared; // bytes that cudaFuncSetAttribute allowed a kernel
  std::map<const void *, long> launches;
  CUstream_st default_stream;
};
inline Device device;

inline cudaError_t answer(cudaError_t status) {
  if (status != cudaSuccess && status != cudaErrorNotReady)
    device.last = status;
  return status;
}

/* Count a call. Return `failure` if it is the call to fail, and the error of a launch that failed earlier. */
inline cudaError_t begin(cudaError_t failure = cudaErrorUnknown) {
  if (++device.calls == device.fail_at)
    return failure;
  return device.count == 0 ? cudaErrorNoDevice : device.broken;
}
#define BEGIN(...)                                                                                                     \
  if (const cudaError_t status = begin(__VA_ARGS__); status != cudaSuccess)                                            \
  return answer(status)
#define DEMAND(condition, error)                                                                                       \
  if (!(condition))                                                                                                    \
  return answer(error)

/* --- Streams. ----------------------------------------------------------------------------------------------------- */

inline CUstream_st *resolve(cudaStream_t stream) {
  return stream == nullptr ? &device.default_stream : stream;
}
inline bool known(cudaStream_t stream) {
  return stream == nullptr || device.streams.count(stream) != 0;
}
inline bool capturing() {
  return std::any_of(device.streams.begin(), device.streams.end(), [](auto *s) { return s->captured != nullptr; });
}

inline void drain(CUstream_st *stream) {
  while (!stream->work.empty()) {
    const Work next = std::move(stream->work.front());
    stream->work.pop_front();
    if (device.broken == cudaSuccess)
      device.broken = next();
  }
}

inline void drain_all() {
  for (auto *stream : device.streams)
    drain(stream);
  drain(&device.default_stream);
}

/* Do the work on other streams that new work on this stream waits for. */
inline void wait_for_others(CUstream_st *stream) {
  if (stream != &device.default_stream) {
    if (stream->blocking)
      drain(&device.default_stream);
    return;
  }
  for (auto *other : device.streams)
    if (other->blocking)
      drain(other);
}

inline cudaError_t finish(CUstream_st *stream) {
  wait_for_others(stream);
  drain(stream);
  return device.broken;
}

inline cudaError_t enqueue(cudaStream_t to, Work work) {
  CUstream_st *stream = resolve(to);
  if (stream->captured != nullptr) {
    stream->captured->work.push_back(std::move(work));
    return cudaSuccess;
  }
  if (stream == &device.default_stream && capturing())
    return cudaErrorStreamCaptureImplicit;
  wait_for_others(stream);
  stream->work.push_back(std::move(work));
  return cudaSuccess;
}

/* --- Memory. ------------------------------------------------------------------------------------------------------ */

/* Find `bytes` free bytes between the allocations, with a gap around each: an offset, or the arena's size if none. */
inline size_t find_room(size_t bytes) {
  size_t from = alignment;
  for (const auto &[offset, size] : device.allocated) {
    if (offset - from >= bytes + alignment)
      break;
    from = (offset + size + 2 * alignment - 1) / alignment * alignment;
  }
  return bytes < arena_bytes - from ? from : arena_bytes;
}

/* Report whether these bytes lie within one allocation. */
inline bool allocated(const void *p, size_t bytes) {
  if (!on_device(p))
    return false;
  const size_t offset = size_t(static_cast<const unsigned char *>(p) - arena);
  auto after = device.allocated.upper_bound(offset);
  if (after == device.allocated.begin())
    return false;
  const auto &[start, size] = *--after;
  return offset + bytes <= start + size;
}

inline void mark(const void *p, size_t bytes, const std::function<void(Cell &)> &change) {
  for (size_t b = 0; b < bytes; b += granule)
    change(*device_cell(static_cast<const unsigned char *>(p) + b));
}

/* Note that the host, or a copy, wrote these bytes of the device. */
inline void mark_written(const void *p, size_t bytes) {
  mark(p, bytes, [](Cell &cell) { cell = {}, cell.live = true, cell.write_phase = moment.phase; });
}

inline bool written(const void *p, size_t bytes) {
  bool all = true;
  mark(p, bytes, [&all](Cell &cell) { all = all && cell.write_phase != 0; });
  return all;
}

inline bool pinned(const void *p) {
  return std::any_of(device.host.begin(), device.host.end(), [p](auto &h) { return within(p, h.first, h.second); });
}

inline cudaError_t check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault || to_device != on_device(to) || from_device != on_device(from))
    return cudaErrorInvalidMemcpyDirection;
  const bool inside = (!to_device || allocated(to, bytes)) && (!from_device || allocated(from, bytes));
  return inside ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t copy_now(void *to, const void *from, size_t bytes) {
  if (on_device(from) && !allocated(from, bytes))
    found("a copy from " + place(from) + ", which has been freed");
  if (on_device(to) && !allocated(to, bytes))
    found("a copy to " + place(to) + ", which has been freed");
  if (on_device(from) && !written(from, bytes))
    found("a copy of " + std::to_string(bytes) + " bytes from " + place(from) + ", some of which were never written");
  std::memcpy(to, from, bytes);
  if (on_device(to))
    mark_written(to, bytes);
  return cudaSuccess;
}

/* Put a copy on a stream; pageable memory is read at once. */
inline cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t status = check_copy(to, from, bytes, kind); status != cudaSuccess)
    return status;
  if (kind != cudaMemcpyHostToDevice || pinned(from) || resolve(stream)->captured != nullptr)
    return enqueue(stream, [=] { return copy_now(to, from, bytes); });
  const auto *start = static_cast<const unsigned char *>(from);
  auto staged = std::make_shared<std::vector<unsigned char>>(start, start + bytes);
  return enqueue(stream, [=] { return copy_now(to, staged->data(), bytes); });
}

inline cudaError_t set_now(void *to, int value, size_t bytes) {
  if (!allocated(to, bytes))
    found("a cudaMemset of " + place(to) + ", which has been freed");
  std::memset(to, value, bytes);
  mark_written(to, bytes);
  return cudaSuccess;
}

template <class T> bool drop(std::set<T *> &handles, T *handle) {
  const bool live = handles.erase(handle) != 0;
  if (live)
    delete handle;
  return live;
}

inline std::string counted(long count, const char *what) {
  return count == 0 ? "" : std::to_string(count) + " " + what + (count == 1 ? "\n" : "s\n");
}

} // namespace cuda_on_cpu

#endif
