/* device.hpp: CUDA's runtime with RAII owners of its handles, every call checked; the clock. Nothing of networks. */
#pragma once
#include "fnn.h"
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cuda_runtime.h>
#include <stdexcept>
#include <string>
#include <utility>

namespace fnn {

/* A call of fnn.h that failed: its status and its message. */
struct Failure : std::runtime_error {
  int status;
  Failure(int code, const std::string &message) : std::runtime_error(message), status(code) {}
};

/* No usable device, driver or cuBLAS: the reason, and the remedy. */
struct DeviceUnavailable {
  std::string reason, remedy;
};

inline std::string message_of(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
}

inline void check(cudaError_t error, const char *call) {
  if (error == cudaSuccess)
    return;
  cudaGetLastError(); /* clear the error: this exception reports it */
  throw Failure(error == cudaErrorMemoryAllocation ? FNN_NO_MEMORY : FNN_DEVICE,
                std::string(call) + ": " + message_of(error));
}

#define CHECK(call, ...) ::fnn::check(call(__VA_ARGS__), #call)

/* The owner of one handle, which `destroy` frees. */
template <typename Handle, cudaError_t (*destroy)(Handle)> class Owner {
public:
  Owner() = default;
  explicit Owner(Handle handle) : handle_(handle) {}
  Owner(Owner &&other) noexcept : handle_(std::exchange(other.handle_, Handle())) {}
  Owner &operator=(Owner &&other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owner() {
    if (handle_ != Handle())
      destroy(handle_);
  }
  operator Handle() const {
    return handle_;
  }

private:
  Handle handle_ = Handle();
};

using Stream = Owner<cudaStream_t, cudaStreamDestroy>;
using Event = Owner<cudaEvent_t, cudaEventDestroy>;
using Graph = Owner<cudaGraph_t, cudaGraphDestroy>;
using Executable = Owner<cudaGraphExec_t, cudaGraphExecDestroy>;

/* cudaStreamDefault waits for copies and fills outside any stream; only cudaStreamNonBlocking can be captured while
 * other models copy and fill. */
inline Stream make_stream(unsigned flags) {
  cudaStream_t stream;
  CHECK(cudaStreamCreateWithFlags, &stream, flags);
  return Stream(stream);
}

inline Event make_event() {
  cudaEvent_t event;
  CHECK(cudaEventCreate, &event);
  return Event(event);
}

/* A stream, and a clock for the work on it. */
struct Timer {
  Stream stream = make_stream(cudaStreamDefault);
  float milliseconds = NAN; /* between the device's events around the last work timed */

  void synchronize() const {
    CHECK(cudaStreamSynchronize, stream);
  }

  /* Time `work` by the host's clock, in seconds; the device is idle before and after. */
  template <typename Work> double seconds(Work work) {
    synchronize();
    const auto before = std::chrono::steady_clock::now();
    CHECK(cudaEventRecord, start_, stream);
    work();
    CHECK(cudaEventRecord, stop_, stream);
    synchronize();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - before;
    CHECK(cudaEventElapsedTime, &milliseconds, start_, stop_);
    return seconds.count();
  }

private:
  Event start_ = make_event(), stop_ = make_event();
};

/* Capture the work that `work` puts on the stream, as a graph. Relaxed mode lets cuBLAS load a kernel meanwhile; no
 * other thread uses the stream. */
template <typename Work> Graph capture(cudaStream_t stream, Work work) {
  CHECK(cudaStreamBeginCapture, stream, cudaStreamCaptureModeRelaxed);
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess)
      cudaGraphDestroy(graph);
    cudaGetLastError(); /* clear the error: the first exception reports it */
    throw;
  }
  CHECK(cudaStreamEndCapture, stream, &graph);
  return Graph(graph);
}

/* Device memory for `size` numbers, initialized to zero. */
template <typename Number> class Buffer {
public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : size_(size) {
    if (size > INT64_MAX / 16 || size < 0)
      throw Failure(FNN_NO_MEMORY, "no memory: the bytes of this array exceed 64 bits");
    void *memory = nullptr;
    CHECK(cudaMalloc, &memory, static_cast<std::size_t>(size) * sizeof(Number));
    memory_ = Owner<void *, cudaFree>(memory);
    CHECK(cudaMemset, memory, 0, static_cast<std::size_t>(size) * sizeof(Number));
  }
  Number *data() const {
    return static_cast<Number *>(static_cast<void *>(memory_));
  }
  std::int64_t size() const {
    return size_;
  }

private:
  Owner<void *, cudaFree> memory_;
  std::int64_t size_ = 0;
};

template <typename Number> void to_device(Number *to, const Number *from, std::int64_t size) {
  CHECK(cudaMemcpy, to, from, static_cast<std::size_t>(size) * sizeof(Number), cudaMemcpyHostToDevice);
}

template <typename Number> void to_host(Number *to, const Number *from, std::int64_t size) {
  CHECK(cudaMemcpy, to, from, static_cast<std::size_t>(size) * sizeof(Number), cudaMemcpyDeviceToHost);
}

/* Launch kernel(arguments) on a stream; an error names it by `name`. */
template <typename... Parameters, typename... Arguments>
void launch(cudaStream_t stream, dim3 blocks, unsigned threads, std::int64_t shared_bytes, const char *name,
            void (*kernel)(Parameters...), Arguments... arguments) {
  cudaLaunchConfig_t configuration{};
  configuration.gridDim = blocks;
  configuration.blockDim = dim3(threads);
  configuration.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  configuration.stream = stream;
  check(cudaLaunchKernelEx(&configuration, kernel, Parameters(arguments)...), name);
}

/* Load a kernel, which the runtime otherwise does at its first launch, and allow it this much shared memory. */
template <typename... Parameters> void prepare(void (*kernel)(Parameters...), std::int64_t shared_bytes) {
  cudaFuncAttributes unused;
  const void *address = reinterpret_cast<const void *>(kernel);
  CHECK(cudaFuncGetAttributes, &unused, address);
  if (shared_bytes > 48 << 10)
    CHECK(cudaFuncSetAttribute, address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
}

} // namespace fnn
