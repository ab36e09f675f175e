/* device.cpp: CUDA's runtime on the CPU: memory, streams, events, graphs, launches; failures on demand; what is left
 * over.
 *
 * Work on a stream is done as late as CUDA allows, when something waits for it, so that a missing synchronisation
 * shows. Not here: what goes on inside a launch (block.hpp, watch.hpp).
 */
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
namespace {

constexpr size_t alignment = 256, most_arguments = 4096, usual_shared = 48 << 10;

struct Device {
  int count = 1, multiprocessors = 3;
  long calls = 0, fail_at = 0; // the call of that number fails; 0: none
  cudaError_t last = cudaSuccess, broken = cudaSuccess;
  std::map<size_t, size_t> allocated; // offset in the arena -> bytes
  std::map<const void *, size_t> host;
  std::set<CUstream_st *> streams;
  std::set<CUevent_st *> events;
  std::set<CUgraph_st *> graphs;
  std::set<CUgraphExec_st *> ready;
  std::map<const void *, size_t> shared; // what cudaFuncSetAttribute allowed a kernel
  std::map<const void *, long> launches;
  CUstream_st default_stream;
};
Device device;

cudaError_t answer(cudaError_t status) {
  if (status != cudaSuccess && status != cudaErrorNotReady)
    device.last = status;
  return status;
}

/* Counts a call. What it returns if that call is to fail, or after a launch has. */
cudaError_t begin(cudaError_t failure = cudaErrorUnknown) {
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

CUstream_st *resolve(cudaStream_t stream) {
  return stream == nullptr ? &device.default_stream : stream;
}
bool known(cudaStream_t stream) {
  return stream == nullptr || device.streams.count(stream) != 0;
}
bool capturing() {
  return std::any_of(device.streams.begin(), device.streams.end(), [](auto *s) { return s->captured != nullptr; });
}

void drain(CUstream_st *stream) {
  while (!stream->work.empty()) {
    const Work next = std::move(stream->work.front());
    stream->work.pop_front();
    if (device.broken == cudaSuccess)
      device.broken = next();
  }
}

void drain_all() {
  for (auto *stream : device.streams)
    drain(stream);
  drain(&device.default_stream);
}

/* What work on this stream waits for, has been done. */
void settle(CUstream_st *stream) {
  if (stream != &device.default_stream) {
    if (stream->blocking)
      drain(&device.default_stream);
    return;
  }
  for (auto *other : device.streams)
    if (other->blocking)
      drain(other);
}

cudaError_t finish(CUstream_st *stream) {
  settle(stream);
  drain(stream);
  return device.broken;
}

cudaError_t enqueue(cudaStream_t to, Work work) {
  CUstream_st *stream = resolve(to);
  if (stream->captured != nullptr) {
    stream->captured->work.push_back(std::move(work));
    return cudaSuccess;
  }
  if (stream == &device.default_stream && capturing())
    return cudaErrorStreamCaptureImplicit;
  settle(stream);
  stream->work.push_back(std::move(work));
  return cudaSuccess;
}

/* --- Memory. ------------------------------------------------------------------------------------------------------ */

/* Where `bytes` are free between the allocations, with room around each: an offset, or the arena's size. */
size_t find_room(size_t bytes) {
  size_t from = alignment;
  for (const auto &[offset, size] : device.allocated) {
    if (offset - from >= bytes + alignment)
      break;
    from = (offset + size + 2 * alignment - 1) / alignment * alignment;
  }
  return bytes < arena_bytes - from ? from : arena_bytes;
}

/* Whether these bytes lie within one allocation. */
bool allocated(const void *p, size_t bytes) {
  if (!on_device(p))
    return false;
  const size_t offset = size_t(static_cast<const unsigned char *>(p) - arena);
  auto after = device.allocated.upper_bound(offset);
  if (after == device.allocated.begin())
    return false;
  const auto &[start, size] = *--after;
  return offset + bytes <= start + size;
}

void mark(const void *p, size_t bytes, const std::function<void(Cell &)> &change) {
  for (size_t b = 0; b < bytes; b += granule)
    change(*device_cell(static_cast<const unsigned char *>(p) + b));
}

/* The host, or a copy, has written these bytes of the device. */
void mark_written(const void *p, size_t bytes) {
  mark(p, bytes, [](Cell &cell) { cell = {}, cell.live = true, cell.write_phase = moment.phase; });
}

bool written(const void *p, size_t bytes) {
  bool all = true;
  mark(p, bytes, [&all](Cell &cell) { all = all && cell.write_phase != 0; });
  return all;
}

bool pinned(const void *p) {
  return std::any_of(device.host.begin(), device.host.end(), [p](auto &h) { return within(p, h.first, h.second); });
}

cudaError_t check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault || to_device != on_device(to) || from_device != on_device(from))
    return cudaErrorInvalidMemcpyDirection;
  const bool inside = (!to_device || allocated(to, bytes)) && (!from_device || allocated(from, bytes));
  return inside ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t copy_now(void *to, const void *from, size_t bytes) {
  if (on_device(from) && !allocated(from, bytes))
    found("a copy from " + place(from) + ", which has been freed");
  if (on_device(to) && !allocated(to, bytes))
    found("a copy to " + place(to) + ", which has been freed");
  if (on_device(from) && !written(from, bytes))
    found("a copy of " + std::to_string(bytes) + " bytes from " + place(from) + ", some of which nobody wrote");
  std::memcpy(to, from, bytes);
  if (on_device(to))
    mark_written(to, bytes);
  return cudaSuccess;
}

/* Puts a copy on a stream; what comes from pageable memory is taken now. */
cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t status = check_copy(to, from, bytes, kind); status != cudaSuccess)
    return status;
  if (kind != cudaMemcpyHostToDevice || pinned(from) || resolve(stream)->captured != nullptr)
    return enqueue(stream, [=] { return copy_now(to, from, bytes); });
  const auto *start = static_cast<const unsigned char *>(from);
  auto staged = std::make_shared<std::vector<unsigned char>>(start, start + bytes);
  return enqueue(stream, [=] { return copy_now(to, staged->data(), bytes); });
}

cudaError_t set_now(void *to, int value, size_t bytes) {
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

std::string named(long count, const char *what) {
  return count == 0 ? "" : std::to_string(count) + " " + what + (count == 1 ? "\n" : "s\n");
}

} // namespace

cudaError_t launch(const cudaLaunchConfig_t &config, Launch what) {
  BEGIN(cudaErrorLaunchFailure);
  const dim3 grid = config.gridDim, block = config.blockDim;
  const auto allowed = device.shared.find(what.kernel);
  const size_t most = std::max(usual_shared, allowed == device.shared.end() ? 0 : allowed->second);
  DEMAND(known(config.stream), cudaErrorInvalidResourceHandle);
  DEMAND(config.numAttrs == 0, cudaErrorNotSupported);
  DEMAND(block.x >= 1 && block.y >= 1 && block.z >= 1 && uint64_t(block.x) * block.y * block.z <= most_threads,
         cudaErrorInvalidConfiguration);
  DEMAND(grid.x >= 1 && grid.x < 1u << 31 && grid.y >= 1 && grid.y < 1u << 16 && grid.z >= 1 && grid.z < 1u << 16,
         cudaErrorInvalidConfiguration);
  DEMAND(config.dynamicSmemBytes <= most, cudaErrorInvalidValue);
  DEMAND(what.size <= most_arguments, cudaErrorInvalidValue);
  return answer(enqueue(config.stream, [config, what] {
    device.launches[what.kernel]++;
    return run_grid(config, what) ? cudaSuccess : cudaErrorLaunchFailure;
  }));
}

} // namespace cuda_on_cpu

using namespace cuda_on_cpu;

/* --- CUDA's functions. -------------------------------------------------------------------------------------------- */

cudaError_t cudaGetLastError() {
  return std::exchange(device.last, device.broken);
}
cudaError_t cudaPeekAtLastError() {
  return device.last;
}

const char *cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define NAME(name)                                                                                                     \
  case name:                                                                                                           \
    return #name
    NAME(cudaSuccess);
    NAME(cudaErrorInvalidValue);
    NAME(cudaErrorMemoryAllocation);
    NAME(cudaErrorInvalidConfiguration);
    NAME(cudaErrorInvalidMemcpyDirection);
    NAME(cudaErrorInsufficientDriver);
    NAME(cudaErrorNoDevice);
    NAME(cudaErrorInvalidDevice);
    NAME(cudaErrorInvalidResourceHandle);
    NAME(cudaErrorNotReady);
    NAME(cudaErrorLaunchFailure);
    NAME(cudaErrorNotSupported);
    NAME(cudaErrorStreamCaptureUnsupported);
    NAME(cudaErrorStreamCaptureImplicit);
    NAME(cudaErrorUnknown);
#undef NAME
  }
  return "cudaErrorUnknown";
}
const char *cudaGetErrorString(cudaError_t error) {
  return cudaGetErrorName(error);
}

cudaError_t cudaDriverGetVersion(int *version) {
  if (const cudaError_t status = begin(); status != cudaSuccess && status != cudaErrorNoDevice)
    return answer(status);
  *version = device.count == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count) {
  *count = 0;
  BEGIN();
  *count = device.count;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int number) {
  BEGIN();
  DEMAND(number >= 0 && number < device.count, cudaErrorInvalidDevice);
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int *number) {
  BEGIN();
  *number = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int number) {
  BEGIN();
  DEMAND(number >= 0 && number < device.count, cudaErrorInvalidDevice);
  const std::map<cudaDeviceAttr, int> values = {
      {cudaDevAttrMaxThreadsPerBlock, most_threads},
      {cudaDevAttrMaxSharedMemoryPerBlock, int(usual_shared)},
      {cudaDevAttrWarpSize, warp_size},
      {cudaDevAttrClockRate, 1000000},
      {cudaDevAttrMultiProcessorCount, device.multiprocessors},
      {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
      {cudaDevAttrComputeCapabilityMajor, 9},
      {cudaDevAttrComputeCapabilityMinor, 0},
      {cudaDevAttrMaxSharedMemoryPerMultiprocessor, int(most_shared) + 1024},
      {cudaDevAttrMaxSharedMemoryPerBlockOptin, int(most_shared)},
  };
  const auto found = values.find(attribute);
  DEMAND(found != values.end(), cudaErrorNotSupported);
  *value = found->second;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int number) {
  BEGIN();
  DEMAND(number >= 0 && number < device.count, cudaErrorInvalidDevice);
  *properties = {
      "fibers on the CPU", arena_bytes,  usual_shared, most_shared, most_shared + 1024, 9, 0, device.multiprocessors,
      warp_size,           most_threads, 2048,         1 << 20};
  return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() {
  BEGIN(cudaErrorLaunchFailure);
  DEMAND(!capturing(), cudaErrorStreamCaptureUnsupported);
  drain_all();
  return answer(device.broken);
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
  BEGIN(cudaErrorMemoryAllocation);
  DEMAND(memory != nullptr, cudaErrorInvalidValue);
  DEMAND(!capturing(), cudaErrorStreamCaptureUnsupported);
  *memory = nullptr;
  if (bytes == 0)
    return cudaSuccess;
  const size_t offset = find_room(bytes);
  DEMAND(offset < arena_bytes, cudaErrorMemoryAllocation);
  device.allocated[offset] = bytes;
  *memory = arena + offset;
  std::memset(*memory, 0xff, bytes); // NaN
  mark(*memory, bytes, [](Cell &cell) { cell = {}, cell.live = true; });
  return cudaSuccess;
}
/* Releases even where it is told to fail, or after a launch has failed: nothing else could be done about it. */
cudaError_t cudaFree(void *memory) {
  const cudaError_t status = begin();
  drain_all();
  if (memory == nullptr)
    return answer(status);
  const auto entry = device.allocated.find(size_t(static_cast<unsigned char *>(memory) - arena));
  if (!on_device(memory) || entry == device.allocated.end())
    found("cudaFree of " + place(memory) + ", which is not allocated");
  DEMAND(on_device(memory) && entry != device.allocated.end(), cudaErrorInvalidValue);
  std::memset(memory, 0xff, entry->second);
  mark(memory, entry->second, [](Cell &cell) { cell = {}; });
  device.allocated.erase(entry);
  return answer(status);
}
cudaError_t cudaMallocHost(void **memory, size_t bytes) {
  BEGIN(cudaErrorMemoryAllocation);
  *memory = std::malloc(std::max<size_t>(bytes, 1));
  DEMAND(*memory != nullptr, cudaErrorMemoryAllocation);
  std::memset(*memory, 0xff, bytes);
  device.host[*memory] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void *memory) {
  const cudaError_t status = begin();
  drain_all();
  if (memory == nullptr)
    return answer(status);
  if (device.host.erase(memory) == 0)
    found("cudaFreeHost of " + place(memory) + ", which is not pinned");
  else
    std::free(memory);
  return answer(status);
}
cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
  BEGIN();
  *free = *total = arena_bytes;
  for (const auto &[_, bytes] : device.allocated)
    *free -= bytes;
  return cudaSuccess;
}
/* From pageable memory the bytes are taken at once, but may reach the device later, in the default stream's order: a
 * stream that does not wait for that one must not count on them. To pageable memory they are brought before this
 * returns.
 */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
  return cudaMemcpy2D(to, bytes, from, bytes, bytes, 1, kind);
}
cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height,
                         cudaMemcpyKind kind) {
  BEGIN();
  DEMAND(!capturing(), cudaErrorStreamCaptureImplicit);
  DEMAND(width <= to_pitch && width <= from_pitch, cudaErrorInvalidValue);
  for (size_t row = 0; row < height; row++) {
    void *const row_to = static_cast<char *>(to) + row * to_pitch;
    const void *const row_from = static_cast<const char *>(from) + row * from_pitch;
    if (const cudaError_t status = copy(row_to, row_from, width, kind, nullptr); status != cudaSuccess)
      return answer(status);
  }
  return answer(kind == cudaMemcpyHostToDevice && !pinned(from) ? cudaSuccess : finish(&device.default_stream));
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  BEGIN();
  DEMAND(known(stream), cudaErrorInvalidResourceHandle);
  if (const cudaError_t status = copy(to, from, bytes, kind, stream); status != cudaSuccess)
    return answer(status);
  const bool brought = kind == cudaMemcpyDeviceToHost && !pinned(to) && resolve(stream)->captured == nullptr;
  return answer(brought ? finish(resolve(stream)) : cudaSuccess);
}
cudaError_t cudaMemset(void *to, int value, size_t bytes) {
  return cudaMemsetAsync(to, value, bytes, nullptr);
}
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
  BEGIN();
  DEMAND(known(stream), cudaErrorInvalidResourceHandle);
  DEMAND(allocated(to, bytes), cudaErrorInvalidValue);
  return answer(enqueue(stream, [=] { return set_now(to, value, bytes); }));
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  BEGIN();
  DEMAND(flags == cudaStreamDefault || flags == cudaStreamNonBlocking, cudaErrorInvalidValue);
  *stream = new CUstream_st{flags == cudaStreamDefault, {}, nullptr};
  device.streams.insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  BEGIN(cudaErrorLaunchFailure);
  DEMAND(known(stream), cudaErrorInvalidResourceHandle);
  DEMAND(resolve(stream)->captured == nullptr, cudaErrorStreamCaptureUnsupported);
  return answer(finish(resolve(stream)));
}
/* What the event waits for is simply done now. */
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  BEGIN();
  DEMAND(device.events.count(event) != 0 && known(stream), cudaErrorInvalidResourceHandle);
  DEMAND(!capturing(), cudaErrorStreamCaptureUnsupported);
  return answer(event->recorded && !event->done ? finish(event->stream) : cudaSuccess);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const cudaError_t status = begin();
  DEMAND(device.streams.count(stream) != 0, cudaErrorInvalidResourceHandle);
  if (stream->captured != nullptr)
    drop(device.graphs, stream->captured);
  finish(stream);
  drop(device.streams, stream);
  return answer(status);
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  BEGIN();
  DEMAND(device.streams.count(stream) != 0, cudaErrorStreamCaptureUnsupported);
  DEMAND(stream->captured == nullptr, cudaErrorStreamCaptureUnsupported);
  stream->captured = new CUgraph_st;
  device.graphs.insert(stream->captured);
  return cudaSuccess;
}
/* A capture that is told to fail leaves no graph. */
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  const cudaError_t status = begin();
  *graph = nullptr;
  DEMAND(device.streams.count(stream) != 0, cudaErrorInvalidResourceHandle);
  DEMAND(stream->captured != nullptr, cudaErrorInvalidValue);
  CUgraph_st *captured = std::exchange(stream->captured, nullptr);
  if (status == cudaSuccess)
    *graph = captured;
  else
    drop(device.graphs, captured);
  return answer(status);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
  BEGIN();
  DEMAND(known(stream), cudaErrorInvalidResourceHandle);
  *status = resolve(stream)->captured == nullptr ? cudaStreamCaptureStatusNone : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ready, cudaGraph_t graph, unsigned long long) {
  BEGIN(cudaErrorMemoryAllocation);
  DEMAND(device.graphs.count(graph) != 0, cudaErrorInvalidValue);
  *ready = new CUgraphExec_st{graph->work};
  device.ready.insert(*ready);
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t ready, cudaStream_t stream) {
  BEGIN();
  DEMAND(device.ready.count(ready) != 0 && known(stream), cudaErrorInvalidValue);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream) {
  BEGIN(cudaErrorLaunchFailure);
  DEMAND(device.ready.count(ready) != 0 && known(stream), cudaErrorInvalidValue);
  for (const Work &work : ready->work)
    if (const cudaError_t status = enqueue(stream, work); status != cudaSuccess)
      return answer(status);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready) {
  const cudaError_t status = begin();
  DEMAND(drop(device.ready, ready), cudaErrorInvalidValue);
  return answer(status);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const cudaError_t status = begin();
  DEMAND(drop(device.graphs, graph), cudaErrorInvalidValue);
  return answer(status);
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  BEGIN();
  *event = new CUevent_st;
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  device.events.insert(*event);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  BEGIN();
  DEMAND(device.events.count(event) != 0 && known(stream), cudaErrorInvalidResourceHandle);
  event->recorded = true, event->done = false, event->stream = resolve(stream);
  return answer(enqueue(stream, [event] {
    if (device.events.count(event) != 0)
      event->done = true, event->when = std::chrono::steady_clock::now();
    return cudaSuccess;
  }));
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  BEGIN(cudaErrorLaunchFailure);
  DEMAND(device.events.count(event) != 0, cudaErrorInvalidResourceHandle);
  const bool waits = event->recorded && !event->done;
  const bool live = event->stream == &device.default_stream || device.streams.count(event->stream) != 0;
  return answer(waits && live ? finish(event->stream) : cudaSuccess);
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
  BEGIN();
  for (const cudaEvent_t event : {from, to})
    DEMAND(device.events.count(event) != 0 && event->timed && event->recorded, cudaErrorInvalidResourceHandle);
  DEMAND(from->done && to->done, cudaErrorNotReady);
  *milliseconds = std::chrono::duration<float, std::milli>(to->when - from->when).count();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const cudaError_t status = begin();
  DEMAND(drop(device.events, event), cudaErrorInvalidResourceHandle);
  return answer(status);
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
  BEGIN();
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return cudaSuccess;
  DEMAND(value >= 0 && size_t(value) <= most_shared, cudaErrorInvalidValue);
  device.shared[kernel] = size_t(value);
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *kernel) {
  BEGIN();
  const int allowed = device.shared.count(kernel) ? int(device.shared[kernel]) : int(usual_shared);
  *attributes = {0, 0, 0, most_threads, 32, allowed};
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads, size_t shared) {
  BEGIN();
  DEMAND(threads >= 1 && threads <= most_threads && shared <= most_shared, cudaErrorInvalidValue);
  *blocks = int(std::min<size_t>(2048 / size_t(threads), (most_shared + 1024) / (shared + 1024)));
  return cudaSuccess;
}

/* --- What tests set and ask; cuda_on_cpu/__init__.py tells what for. ---------------------------------------------- */

#define TESTS extern "C" __attribute__((visibility("default")))

TESTS void cuda_on_cpu_reset() {
  control.findings.clear();
  control.barriers.clear();
  control.preempt = 0;
  device.broken = device.last = cudaSuccess;
  device.calls = device.fail_at = 0;
  device.count = 1;
  device.launches.clear();
}
TESTS void cuda_on_cpu_seed(uint64_t seed, long preempt) {
  control.random.seed(seed);
  control.preempt = control.until_preempt = preempt;
}
TESTS void cuda_on_cpu_fail_at(long call) {
  device.fail_at = call, device.calls = 0;
}
TESTS long cuda_on_cpu_calls() {
  return device.calls;
}
TESTS void cuda_on_cpu_devices(int count) {
  device.count = count;
}
TESTS void cuda_on_cpu_skip(uint32_t site) {
  control.barriers[site].skipped = true;
}
TESTS const char *cuda_on_cpu_findings() {
  return control.findings.c_str();
}
TESTS const char *cuda_on_cpu_barriers() {
  static std::string text;
  text.clear();
  for (const auto &[site, barrier] : control.barriers)
    text += std::string(barrier.kind) + " " + at(site) + " " + std::to_string(barrier.passed) + "\n";
  return text.c_str();
}
TESTS const char *cuda_on_cpu_kernels() {
  static std::string text;
  text.clear();
  for (const auto &[kernel, launches] : device.launches)
    text += at(site_of(static_cast<const char *>(kernel) + 1)) + " " + std::to_string(launches) + "\n";
  return text.c_str();
}
TESTS const char *cuda_on_cpu_left() {
  static std::string text;
  text = named(long(device.allocated.size()), "allocation") + named(long(device.host.size()), "pinned allocation") +
         named(long(device.streams.size()), "stream") + named(long(device.events.size()), "event") +
         named(long(device.graphs.size()), "graph") + named(long(device.ready.size()), "executable graph");
  return text.c_str();
}

/* --- What the compiler's instrumentation calls. ------------------------------------------------------------------- */

static void watched(const void *p, size_t bytes, Kind kind, const void *caller, bool must_align) {
  if (moment.in_kernel && control.preempt > 0 && --control.until_preempt <= 0) {
    control.until_preempt = 1 + long(draw(2 * size_t(control.preempt)));
    give_way();
  }
  must_align ? aligned_access(p, bytes, kind, caller) : access(p, bytes, kind, caller);
}

#define CALLER __builtin_return_address(0)
#define WATCH(bytes)                                                                                                   \
  extern "C" void __tsan_read##bytes(void *p) {                                                                        \
    watched(p, bytes, Kind::read, CALLER, true);                                                                       \
  }                                                                                                                    \
  extern "C" void __tsan_write##bytes(void *p) {                                                                       \
    watched(p, bytes, Kind::write, CALLER, true);                                                                      \
  }                                                                                                                    \
  extern "C" void __tsan_unaligned_read##bytes(void *p) {                                                              \
    watched(p, bytes, Kind::read, CALLER, false);                                                                      \
  }                                                                                                                    \
  extern "C" void __tsan_unaligned_write##bytes(void *p) {                                                             \
    watched(p, bytes, Kind::write, CALLER, false);                                                                     \
  }                                                                                                                    \
  extern "C" void __tsan_volatile_read##bytes(void *p) {                                                               \
    watched(p, bytes, Kind::read, CALLER, true);                                                                       \
  }                                                                                                                    \
  extern "C" void __tsan_volatile_write##bytes(void *p) {                                                              \
    watched(p, bytes, Kind::write, CALLER, true);                                                                      \
  }
WATCH(1)
WATCH(2)
WATCH(4)
WATCH(8)
WATCH(16)

extern "C" void __tsan_read_range(void *p, size_t bytes) {
  watched(p, bytes, Kind::read, CALLER, false);
}
extern "C" void __tsan_write_range(void *p, size_t bytes) {
  watched(p, bytes, Kind::write, CALLER, false);
}
/* Of the host's reference counts and guards; kernels have atomicAdd. */
#define ATOMIC(bits, type)                                                                                             \
  extern "C" type __tsan_atomic##bits##_load(const volatile type *p, int) {                                            \
    return __atomic_load_n(p, 5);                                                                                      \
  }                                                                                                                    \
  extern "C" void __tsan_atomic##bits##_store(volatile type *p, type v, int) {                                         \
    __atomic_store_n(p, v, 5);                                                                                         \
  }                                                                                                                    \
  extern "C" type __tsan_atomic##bits##_fetch_add(volatile type *p, type v, int) {                                     \
    return __atomic_fetch_add(p, v, 5);                                                                                \
  }                                                                                                                    \
  extern "C" type __tsan_atomic##bits##_fetch_sub(volatile type *p, type v, int) {                                     \
    return __atomic_fetch_sub(p, v, 5);                                                                                \
  }
ATOMIC(8, uint8_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

extern "C" void __tsan_vptr_read(void *) {}
extern "C" void __tsan_vptr_update(void *, void *) {}
extern "C" void __tsan_func_entry(void *) {}
extern "C" void __tsan_func_exit() {}
extern "C" void __tsan_init() {}
