// probe.cu: the bursts of probe.h: multiply-adds limited by the arithmetic units alone, copies by memory alone.
// Not here: how long a burst lasts, and what its rate means (bench).
#include "probe.h"

#include <cuda_runtime.h>
#include <math.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(_WIN32)
#define FNN_PROBE_EXPORT __declspec(dllexport)
#else
#define FNN_PROBE_EXPORT __attribute__((visibility("default")))
#endif

namespace {

constexpr int threads = 256; // of a block
// Independent sums of a thread. A multiply-add takes four cycles or more; four warps take turns on each scheduler.
constexpr int chains = 8, matrix_chains = 2;
constexpr int unrolled = 32, matrix_unrolled = 8; // steps, or matrix products, in one pass of the loop
constexpr int matrix_sums = 4, matrix_depth = 16; // of a product of 16 x 16 by 16 x 8: sums a thread, steps a sum
constexpr int64_t most_blocks = 1 << 20;

class Failure : public std::runtime_error {
public:
  Failure(int status, const std::string &message) : std::runtime_error(message), status(status) {}
  const int status;
};

void check(cudaError_t error, const char *what, int status = FNN_PROBE_FAILED) {
  if (error != cudaSuccess)
    throw Failure(status, std::string(what) + ": " + cudaGetErrorString(error));
}

// Device memory, freed by the destructor.
template <class T> class Array {
public:
  explicit Array(std::size_t count) {
    check(cudaMalloc(reinterpret_cast<void **>(&data_), count * sizeof(T)), "no memory on the device");
  }
  Array(const Array &) = delete;
  Array &operator=(const Array &) = delete;
  ~Array() {
    cudaFree(data_);
  }
  T *data() {
    return data_;
  }

private:
  T *data_ = nullptr;
};

class Event {
public:
  Event() {
    check(cudaEventCreate(&event_), "an event cannot be created");
  }
  Event(const Event &) = delete;
  Event &operator=(const Event &) = delete;
  ~Event() {
    cudaEventDestroy(event_);
  }
  operator cudaEvent_t() const {
    return event_;
  }

private:
  cudaEvent_t event_ = nullptr;
};

__device__ __forceinline__ float multiply_add(float x, float factor, float addend) {
  return fmaf(x, factor, addend);
}
__device__ __forceinline__ double multiply_add(double x, double factor, double addend) {
  return fma(x, factor, addend);
}

// sums: (blocks * threads), the sum of each thread's chains. Chains start at different values, so that the compiler
// cannot merge them.
template <class Real>
__global__ void __launch_bounds__(threads) chained(Real factor, Real addend, int64_t rounds, Real *sums) {
  Real x[chains];
#pragma unroll
  for (int chain = 0; chain < chains; ++chain)
    x[chain] = static_cast<Real>(chain);
#pragma unroll 1
  for (int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (int step = 0; step < unrolled; ++step) {
#pragma unroll
      for (int chain = 0; chain < chains; ++chain)
        x[chain] = multiply_add(x[chain], factor, addend);
    }
  }
  Real sum = 0;
#pragma unroll
  for (int chain = 0; chain < chains; ++chain)
    sum += x[chain];
  sums[static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x] = sum;
}

// C <- C + A B by a warp. A: (16, 16), all `factor`; B: (16, 8), all 1; C: (16, 8), 4 numbers in each thread.
__device__ __forceinline__ void product(double (&C)[matrix_sums], double factor) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm("mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %4, %4, %4, %4, %4, %4, %4}, "
      "{%5, %5, %5, %5}, {%0, %1, %2, %3};"
      : "+d"(C[0]), "+d"(C[1]), "+d"(C[2]), "+d"(C[3])
      : "d"(factor), "d"(1.0));
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#pragma unroll
  for (int part = 0; part < matrix_depth / 4; ++part) {
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+d"(C[0]), "+d"(C[1])
        : "d"(factor), "d"(1.0));
    asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
        : "+d"(C[2]), "+d"(C[3])
        : "d"(factor), "d"(1.0));
  }
#else // no matrix units: the same sums by multiply-adds
  for (int step = 0; step < matrix_depth; ++step)
    for (int sum = 0; sum < matrix_sums; ++sum)
      C[sum] = multiply_add(1.0, factor, C[sum]);
#endif
}

__global__ void __launch_bounds__(threads) multiplied(double factor, double, int64_t rounds, double *sums) {
  double C[matrix_chains][matrix_sums];
#pragma unroll
  for (int chain = 0; chain < matrix_chains; ++chain)
#pragma unroll
    for (int sum = 0; sum < matrix_sums; ++sum)
      C[chain][sum] = chain * matrix_sums + sum;
#pragma unroll 1
  for (int64_t round = 0; round < rounds; ++round) {
#pragma unroll
    for (int step = 0; step < matrix_unrolled; ++step) {
#pragma unroll
      for (int chain = 0; chain < matrix_chains; ++chain)
        product(C[chain], factor);
    }
  }
  double total = 0;
#pragma unroll
  for (int chain = 0; chain < matrix_chains; ++chain)
#pragma unroll
    for (int sum = 0; sum < matrix_sums; ++sum)
      total += C[chain][sum];
  sums[static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x] = total;
}

struct alignas(16) Pack {
  uint32_t words[4];
};

// from, to: (count). Each thread has four loads in flight.
__global__ void __launch_bounds__(threads) copied(const Pack *__restrict__ from, Pack *__restrict__ to, int64_t count) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * threads;
  int64_t i = static_cast<int64_t>(blockIdx.x) * threads + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    const Pack a = from[i], b = from[i + stride], c = from[i + 2 * stride], d = from[i + 3 * stride];
    to[i] = a;
    to[i + stride] = b;
    to[i + 2 * stride] = c;
    to[i + 3 * stride] = d;
  }
  for (; i < count; i += stride)
    to[i] = from[i];
}

void select_device(int32_t device) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "no CUDA device", FNN_PROBE_NO_DEVICE);
  if (device < 0 || device >= count)
    throw Failure(FNN_PROBE_NO_DEVICE, "device " + std::to_string(device) + ": there are " + std::to_string(count));
  check(cudaSetDevice(device), "the device cannot be used", FNN_PROBE_NO_DEVICE);
}

int attribute(cudaDeviceAttr which, int32_t device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "an attribute of the device cannot be read");
  return value;
}

template <class... Parameters, class... Arguments>
void launch(int64_t blocks, void (*kernel)(Parameters...), Arguments... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), "a kernel cannot be launched");
}

// Time `work`, which launches kernels, by both clocks; the device is idle before and after.
template <class Work> void time(Work work, fnn_probe_burst *burst) {
  using Clock = std::chrono::steady_clock;
  Event before, after;
  check(cudaDeviceSynchronize(), "the device failed");
  const Clock::time_point start = Clock::now();
  check(cudaEventRecord(before, nullptr), "an event cannot be recorded");
  work();
  check(cudaEventRecord(after, nullptr), "an event cannot be recorded");
  check(cudaEventSynchronize(after), "the burst failed");
  burst->wall_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, before, after), "the time between events cannot be read");
  burst->device_seconds = milliseconds / 1e3;
}

template <class Real>
void multiply_adds(void (*kernel)(Real, Real, int64_t, Real *), int64_t blocks, int64_t rounds, double factor,
                   double addend, fnn_probe_burst *burst) {
  Array<Real> sums(static_cast<std::size_t>(blocks * threads));
  time([&] { launch(blocks, kernel, static_cast<Real>(factor), static_cast<Real>(addend), rounds, sums.data()); },
       burst);
  std::vector<Real> found(static_cast<std::size_t>(blocks * threads));
  check(cudaMemcpy(found.data(), sums.data(), found.size() * sizeof(Real), cudaMemcpyDeviceToHost),
        "the result cannot be copied to the host");
  for (const Real sum : found)
    burst->sum += static_cast<double>(sum);
  burst->amount = 2.0 * static_cast<double>(burst->chains) * static_cast<double>(burst->steps);
}

// Return how many blocks fill the device.
template <class Kernel> int64_t blocks_to_fill(Kernel kernel, int32_t device) {
  int each = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, 0), "a kernel does not fit");
  return static_cast<int64_t>(std::max(each, 1)) * attribute(cudaDevAttrMultiProcessorCount, device);
}

// Run `body`, and turn an exception into a status and a message.
template <class Result, class Body> int guarded(Result *result, Body body) {
  if (!result)
    return FNN_PROBE_INVALID;
  std::memset(result, 0, sizeof *result);
  int status = FNN_PROBE_FAILED;
  try {
    body();
    return FNN_PROBE_OK;
  } catch (const Failure &failure) {
    std::snprintf(result->message, sizeof result->message, "%s", failure.what());
    status = failure.status;
  } catch (const std::exception &error) {
    std::snprintf(result->message, sizeof result->message, "%s", error.what());
  }
  cudaGetLastError(); // clear the error: the message reports it
  return status;
}

} // namespace

extern "C" FNN_PROBE_EXPORT int fnn_probe_about(int32_t device, fnn_probe_device *about) {
  return guarded(about, [&] {
    select_device(device);
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, device), "the properties of the device cannot be read");
    std::snprintf(about->name, sizeof about->name, "%s", properties.name);
    about->major = properties.major;
    about->minor = properties.minor;
    about->processors = properties.multiProcessorCount;
    about->cache = properties.l2CacheSize;
    check(cudaDriverGetVersion(&about->driver), "the version of the driver cannot be read");
    check(cudaRuntimeGetVersion(&about->runtime), "the version of the runtime cannot be read");
    std::size_t unused = 0, all = 0;
    check(cudaMemGetInfo(&unused, &all), "the free memory of the device cannot be read");
    about->free_memory = static_cast<int64_t>(unused);
    about->memory = static_cast<int64_t>(all);
  });
}

extern "C" FNN_PROBE_EXPORT int fnn_probe_multiply_adds(int32_t device, int32_t unit, int64_t blocks, int64_t rounds,
                                                        double factor, double addend, fnn_probe_burst *burst) {
  return guarded(burst, [&] {
    if (blocks < 0 || blocks > most_blocks || rounds < 1)
      throw Failure(FNN_PROBE_INVALID, "blocks must lie in [0, 2^20], and rounds be at least 1");
    if (unit < FNN_PROBE_FLOAT32 || unit > FNN_PROBE_MATRIX64)
      throw Failure(FNN_PROBE_INVALID, "unit = " + std::to_string(unit) + ": there is no such unit");
    select_device(device);
    const bool matrix = unit == FNN_PROBE_MATRIX64;
    if (matrix && attribute(cudaDevAttrComputeCapabilityMajor, device) < 8)
      throw Failure(FNN_PROBE_UNSUPPORTED, "this device has no matrix units for float64");
    if (blocks == 0)
      blocks = matrix                      ? blocks_to_fill(multiplied, device)
               : unit == FNN_PROBE_FLOAT32 ? blocks_to_fill(chained<float>, device)
                                           : blocks_to_fill(chained<double>, device);
    burst->chains = blocks * threads * (matrix ? matrix_chains * matrix_sums : chains);
    burst->steps = rounds * (matrix ? matrix_unrolled * matrix_depth : unrolled);
    if (matrix)
      multiply_adds<double>(multiplied, blocks, rounds, factor, addend, burst);
    else if (unit == FNN_PROBE_FLOAT32)
      multiply_adds<float>(chained<float>, blocks, rounds, factor, addend, burst);
    else
      multiply_adds<double>(chained<double>, blocks, rounds, factor, addend, burst);
  });
}

extern "C" FNN_PROBE_EXPORT int fnn_probe_copy(int32_t device, int64_t bytes, int64_t passes, const void *source,
                                               void *destination, fnn_probe_burst *burst) {
  return guarded(burst, [&] {
    const int64_t size = sizeof(Pack);
    if (bytes < size || bytes % size || passes < 1)
      throw Failure(FNN_PROBE_INVALID, "bytes must be a multiple of 16 and at least 16, and passes at least 1");
    select_device(device);
    const std::size_t count = static_cast<std::size_t>(bytes / size);
    Array<Pack> from(count), to(count);
    if (source)
      check(cudaMemcpy(from.data(), source, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice),
            "the source cannot be copied to the device");
    else
      check(cudaMemset(from.data(), 1, static_cast<std::size_t>(bytes)), "memory cannot be set");
    const int64_t blocks = std::min<int64_t>(blocks_to_fill(copied, device), (bytes / size + threads - 1) / threads);
    time(
        [&] {
          for (int64_t pass = 0; pass < passes; ++pass)
            launch(blocks, copied, from.data(), to.data(), bytes / size);
        },
        burst);
    if (destination)
      check(cudaMemcpy(destination, to.data(), static_cast<std::size_t>(bytes), cudaMemcpyDeviceToHost),
            "the result cannot be copied to the host");
    burst->amount = 2.0 * static_cast<double>(bytes) * static_cast<double>(passes);
  });
}
