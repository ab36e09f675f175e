/* device.hpp: CUDA's runtime with owners for what it hands out, every call checked. Nothing of networks is here. */
#pragma once
#include "fnn.h"
#include <cstdint>
#include <cuda_runtime.h>
#include <stdexcept>
#include <string>
#include <utility>

namespace fnn {

/* Why a call of fnn.h failed: its status and its words. */
struct Failure : std::runtime_error {
  int status;
  Failure(int code, const std::string &words) : std::runtime_error(words), status(code) {}
};

/* Why there is nothing to work with, and what to do about it. */
struct Unusable {
  std::string reason, remedy;
};

inline std::string words_of(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
}

inline void check(cudaError_t error, const char *call) {
  if (error == cudaSuccess)
    return;
  cudaGetLastError(); /* it is told here; the next call starts afresh */
  throw Failure(error == cudaErrorMemoryAllocation ? FNN_NO_MEMORY : FNN_DEVICE,
                std::string(call) + ": " + words_of(error));
}

#define CHECK(call, ...) ::fnn::check(call(__VA_ARGS__), #call)

/* What one call makes and another one ends. */
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
 * those of other models go on. */
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

/* What `work` asks of the stream, as a graph. Relaxed: cuBLAS may load a kernel meanwhile; nobody else has the stream.
 */
template <typename Work> Graph captured(cudaStream_t stream, Work work) {
  CHECK(cudaStreamBeginCapture, stream, cudaStreamCaptureModeRelaxed);
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    if (cudaStreamEndCapture(stream, &graph) == cudaSuccess)
      cudaGraphDestroy(graph);
    cudaGetLastError(); /* what went wrong first is told */
    throw;
  }
  CHECK(cudaStreamEndCapture, stream, &graph);
  return Graph(graph);
}

/* Device memory for `size` numbers, zero at first. */
template <typename Number> class Buffer {
public:
  Buffer() = default;
  explicit Buffer(std::int64_t size) : size_(size) {
    if (size > INT64_MAX / 16 || size < 0)
      throw Failure(FNN_NO_MEMORY, "no memory: there is no number for the size of this array");
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

/* kernel(arguments) on a stream, its name in the error. */
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

/* Loads a kernel, which the runtime otherwise does at its first launch, and lets it have that much shared memory. */
template <typename... Parameters> void prepare(void (*kernel)(Parameters...), std::int64_t shared_bytes) {
  cudaFuncAttributes unused;
  const void *address = reinterpret_cast<const void *>(kernel);
  CHECK(cudaFuncGetAttributes, &unused, address);
  if (shared_bytes > 48 << 10)
    CHECK(cudaFuncSetAttribute, address, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
}

} // namespace fnn
