/* device.cpp: the functions of CUDA's runtime, for the device of state.hpp.
 *
 * It includes the whole layer, as one translation unit, so that the compiler can inline what each access runs.
 */
#include "state.hpp"

#include "control.hpp"
#include "instrumentation.hpp"

namespace cuda_on_cpu {

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
/* Free the memory even where the call is to fail, or after a failed launch: the caller could do nothing about it. */
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
/* Pageable memory is read at once, but the bytes may reach the device later, in the default stream's order: a stream
 * that does not wait for that one must not rely on them. A copy to pageable memory is complete on return. */
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
  const bool blocks = kind == cudaMemcpyDeviceToHost && !pinned(to) && resolve(stream)->captured == nullptr;
  return answer(blocks ? finish(resolve(stream)) : cudaSuccess);
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
/* Do the work that the event waits for now. */
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
/* A capture that is to fail leaves no graph. */
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
