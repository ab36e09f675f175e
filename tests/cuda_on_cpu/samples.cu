/* samples.cu: small kernels and host code, correct or with one mistake each, that test the layer itself. */
#include <cuda_pipeline.h>
#include <cuda_runtime.h>

extern __shared__ __align__(16) unsigned char shared_memory[];

namespace {

constexpr int threads = 64;

__device__ float *floats() {
  return reinterpret_cast<float *>(shared_memory);
}

/* out[block] = the sum of x[block][threads]. */
template <bool barrier> __global__ void sum(const float *__restrict__ x, float *out) {
  float *s = floats();
  const int t = threadIdx.x;
  s[t] = x[blockIdx.x * threads + t];
  __syncthreads();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (t < half)
      s[t] += s[t + half];
    if (barrier)
      __syncthreads();
  }
  if (t == 0)
    out[blockIdx.x] = s[0];
}

/* As sum, within warps: shuffles, and a warp barrier before a lane reads another lane's number. */
template <bool barrier> __global__ void warp_sum(const float *x, float *out) {
  float *s = floats();
  const int t = threadIdx.x;
  float value = x[blockIdx.x * threads + t];
  for (int by = 16; by > 0; by /= 2)
    value += __shfl_down_sync(0xffffffffu, value, by);
  if (t % 32 == 0)
    s[t / 32] = value;
  __syncthreads();
  if (t < 32) {
    s[8 + t] = t < 2 ? s[t] : 0.0f;
    if (barrier)
      __syncwarp();
    if (t == 0)
      out[blockIdx.x] = s[8] + s[9];
  }
}

/* As sum, through an asynchronous copy. */
template <bool wait, bool barrier> __global__ void copied_sum(const float *x, float *out) {
  float *s = floats();
  const int t = threadIdx.x;
  __pipeline_memcpy_async(s + t, x + blockIdx.x * threads + t, sizeof(float));
  __pipeline_commit();
  if (wait)
    __pipeline_wait_prior(0);
  if (barrier)
    __syncthreads();
  if (t == 0) {
    float total = 0;
    for (int i = 0; i < threads; i++)
      total += s[i];
    out[blockIdx.x] = total;
  }
}

/* As sum, and one thread counts the block in `counter`. */
__global__ void counted_sum(const float *x, float *out, unsigned *counter) {
  float total = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < threads; i++)
      total += x[blockIdx.x * threads + i];
    out[blockIdx.x] = total;
    atomicAdd(counter, 1u);
  }
}

/* Thread `writer` overwrites what thread 0 reads, with no barrier between; a shuffle is not a barrier. */
template <int writer, bool shuffle> __global__ void overwritten(float *out) {
  float *s = floats(), value = 0;
  const int t = threadIdx.x;
  s[t] = 1;
  __syncthreads();
  if (t == 0)
    value = s[0];
  if (shuffle)
    value = __shfl_sync(0xffffffffu, value, 0);
  if (t == writer)
    s[0] = 2;
  out[t] = value;
}

/* Block 1 overwrites what block 0 reads. */
__global__ void overwritten_by_a_block(float *out) {
  if (threadIdx.x == 0 && blockIdx.x == 0)
    out[1] = out[0];
  if (threadIdx.x == 0 && blockIdx.x == 1)
    out[0] = 2;
}

/* A barrier that orders no accesses. */
__global__ void needless(float *out) {
  __syncthreads();
  out[blockIdx.x * threads + threadIdx.x] = 0;
}

__global__ void divergent(float *out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    __syncthreads();
  out[threadIdx.x] = 0;
}

__global__ void left_early(float *out) {
  if (threadIdx.x == 7)
    return;
  __syncthreads();
  out[threadIdx.x] = 0;
}

__global__ void inactive_lane(float *out) {
  float value = 0;
  if (threadIdx.x < 16)
    value = __shfl_sync(0x0000ffffu, 1.0f, 20);
  out[threadIdx.x] = value;
}

__global__ void masks_differ(float *out) {
  __syncwarp(threadIdx.x % 32 == 0 ? 0xffffffffu : 0xfffffffeu);
  out[threadIdx.x] = 0;
}

__global__ void beyond_shared(float *out) {
  out[threadIdx.x] = floats()[threads + threadIdx.x];
}
__global__ void unwritten_shared(float *out) {
  out[threadIdx.x] = floats()[threadIdx.x];
}
__global__ void beyond_device(float *out) {
  out[1000000 + threadIdx.x] = 0;
}
__global__ void copies(const float *x, float *out) {
  out[blockIdx.x * threads + threadIdx.x] = x[threadIdx.x];
}
__global__ void all_blocks_write(float *out) {
  if (threadIdx.x == 0)
    out[0] = float(blockIdx.x);
}
__global__ void misaligned(const float *x, float *out) {
  out[blockIdx.x * threads + threadIdx.x] = float(*reinterpret_cast<const double *>(x + 1));
}

template <class... Expected, class... Actual>
cudaError_t go(void (*kernel)(Expected...), int blocks, size_t shared, Actual... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks)), config.blockDim = dim3(threads), config.dynamicSmemBytes = shared;
  if (const cudaError_t status = cudaLaunchKernelEx(&config, kernel, arguments...); status != cudaSuccess)
    return status;
  return cudaDeviceSynchronize();
}

void *host_memory; // no kernel may access it

struct Sample {
  const char *name;
  cudaError_t (*run)(int blocks, const float *x, float *out, unsigned *counter);
};
constexpr size_t bytes = threads * sizeof(float);
#define SAMPLE(name, kernel, ...)                                                                                      \
  {name, [](int n, const float *x, float *out, unsigned *counter) {                                                    \
     (void)n, (void)x, (void)out, (void)counter;                                                                       \
     return go(kernel, n, bytes, __VA_ARGS__);                                                                         \
   }}
#define ALONE(name, kernel, blocks)                                                                                    \
  {name, [](int, const float *, float *out, unsigned *) { return go(kernel, blocks, bytes, out); }}
const Sample samples[] = {
    SAMPLE("sum", sum<true>, x, out),
    SAMPLE("warp sum", warp_sum<true>, x, out),
    SAMPLE("copied sum", (copied_sum<true, true>), x, out),
    SAMPLE("counted sum", counted_sum, x, out, counter),
    SAMPLE("needless barrier", needless, out),
    SAMPLE("no barrier", sum<false>, x, out),
    SAMPLE("no warp barrier", warp_sum<false>, x, out),
    SAMPLE("no wait", (copied_sum<false, true>), x, out),
    SAMPLE("no barrier after the wait", (copied_sum<true, false>), x, out),
    ALONE("overwritten after a shuffle", (overwritten<1, true>), 1),
    ALONE("overwritten by another warp", (overwritten<40, false>), 1),
    ALONE("overwritten by another block", overwritten_by_a_block, 2),
    SAMPLE("divergent", divergent, out),
    SAMPLE("left early", left_early, out),
    SAMPLE("inactive lane", inactive_lane, out),
    SAMPLE("masks differ", masks_differ, out),
    SAMPLE("beyond shared", beyond_shared, out),
    SAMPLE("unwritten shared", unwritten_shared, out),
    SAMPLE("beyond device", beyond_device, out),
    SAMPLE("unwritten device", copies, out + 512, out),
    SAMPLE("host memory", copies, static_cast<const float *>(host_memory), out),
    SAMPLE("all blocks write", all_blocks_write, out),
    SAMPLE("misaligned", misaligned, x, out),
};

} // namespace

/* Run a sample over x[blocks][threads], into out[blocks] and the counter. Return its CUDA error, or -1. */
extern "C" __attribute__((visibility("default"))) int run_sample(const char *name, int blocks, const float *x,
                                                                 float *out, unsigned *counter) {
  float *device_x, *device_out;
  unsigned *device_counter;
  const size_t all = size_t(blocks) * bytes;
  cudaMalloc(&device_x, all), cudaMalloc(&device_out, 1024 * sizeof(float)),
      cudaMalloc(&device_counter, sizeof(unsigned));
  cudaMemcpy(device_x, x, all, cudaMemcpyHostToDevice);
  cudaMemset(device_counter, 0, sizeof(unsigned));
  cudaMemset(device_out, 0, 512 * sizeof(float));
  host_memory = const_cast<float *>(x);
  int status = -1;
  for (const Sample &sample : samples)
    if (strcmp(sample.name, name) == 0)
      status = sample.run(blocks, device_x, device_out, device_counter);
  if (status == cudaSuccess) {
    cudaMemcpy(out, device_out, size_t(blocks) * sizeof(float), cudaMemcpyDeviceToHost);
    cudaMemcpy(counter, device_counter, sizeof(unsigned), cudaMemcpyDeviceToHost);
  }
  cudaFree(device_x), cudaFree(device_out), cudaFree(device_counter);
  return status;
}

/* --- Host code: each sample returns CUDA's status or a value to compare. ------------------------------------------ */

namespace {

constexpr size_t few = 16 * sizeof(float);

cudaLaunchConfig_t configured(unsigned blocks, unsigned block_threads, size_t shared, cudaStream_t stream = nullptr) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(blocks), config.blockDim = dim3(block_threads);
  config.dynamicSmemBytes = shared, config.stream = stream;
  return config;
}

__global__ void add_one(float *x) {
  x[threadIdx.x] += 1;
}

/* Memory and a stream for one sample. */
struct Scene {
  float *memory = nullptr;
  cudaStream_t stream = nullptr;
  explicit Scene(unsigned flags) {
    cudaMalloc(&memory, few);
    cudaStreamCreateWithFlags(&stream, flags);
  }
  ~Scene() {
    cudaStreamDestroy(stream);
    cudaFree(memory);
  }
  cudaError_t add() const {
    const cudaLaunchConfig_t config = configured(1, 16, 0, stream);
    return cudaLaunchKernelEx(&config, add_one, memory);
  }
};

/* Copy the memory to the host and return its sum. */
int total_of(const Scene &scene) {
  float numbers[16], total = 0;
  if (const cudaError_t status = cudaMemcpy(numbers, scene.memory, few, cudaMemcpyDeviceToHost); status != cudaSuccess)
    return -int(status);
  for (const float number : numbers)
    total += number;
  return int(total);
}

struct HostSample {
  const char *name;
  int (*run)();
};
const HostSample host_samples[] = {
    {"graph replayed",
     [] {
       const Scene scene(cudaStreamDefault);
       cudaGraph_t graph;
       cudaGraphExec_t ready;
       cudaMemset(scene.memory, 0, few);
       cudaStreamBeginCapture(scene.stream, cudaStreamCaptureModeThreadLocal);
       scene.add(), scene.add();
       cudaStreamEndCapture(scene.stream, &graph);
       cudaGraphInstantiate(&ready, graph, 0);
       for (int i = 0; i < 3; i++)
         cudaGraphLaunch(ready, scene.stream);
       cudaGraphExecDestroy(ready), cudaGraphDestroy(graph);
       return total_of(scene);
     }},
    {"events",
     [] {
       const Scene scene(cudaStreamDefault);
       cudaEvent_t start, stop;
       float early = -1, milliseconds = -1;
       cudaMemset(scene.memory, 0, few);
       cudaEventCreate(&start), cudaEventCreate(&stop);
       cudaEventRecord(start, scene.stream), scene.add(), cudaEventRecord(stop, scene.stream);
       const cudaError_t too_early = cudaEventElapsedTime(&early, start, stop);
       cudaEventSynchronize(stop);
       cudaEventElapsedTime(&milliseconds, start, stop);
       cudaEventDestroy(start), cudaEventDestroy(stop);
       return too_early == cudaErrorNotReady && early == -1 && milliseconds > 0 ? 0 : 1;
     }},
    {"not waited for",
     [] {
       const Scene scene(cudaStreamNonBlocking);
       float *pinned, sum = 0;
       cudaMallocHost(&pinned, few);
       cudaMemsetAsync(scene.memory, 0, few, scene.stream);
       scene.add();
       cudaMemcpyAsync(pinned, scene.memory, few, cudaMemcpyDeviceToHost, scene.stream);
       for (int i = 0; i < 16; i++)
         sum += pinned[i];
       cudaFreeHost(pinned);
       return sum != sum ? 1 : 0; /* NaN */
     }},
    {"streams that do not wait for each other",
     [] {
       const Scene scene(cudaStreamNonBlocking);
       const float zeros[16] = {};
       cudaMemcpy(scene.memory, zeros, few, cudaMemcpyHostToDevice);
       scene.add();
       return int(cudaStreamSynchronize(scene.stream));
     }},
    {"leak",
     [] {
       void *memory;
       cudaEvent_t event;
       cudaEventCreate(&event);
       return int(cudaMalloc(&memory, 1));
     }},
    {"host reads the device",
     [] {
       const Scene scene(cudaStreamDefault);
       return int(scene.memory[3] == 0);
     }},
    {"use after free",
     [] {
       const Scene scene(cudaStreamDefault);
       float *other;
       cudaMalloc(&other, few), cudaMemset(other, 0, few), cudaFree(other);
       const cudaLaunchConfig_t config = configured(1, 16, 0);
       cudaLaunchKernelEx(&config, add_one, other);
       return int(cudaDeviceSynchronize());
     }},
    {"freed twice",
     [] {
       void *memory;
       cudaMalloc(&memory, 1), cudaFree(memory);
       return int(cudaFree(memory));
     }},
    {"copied the wrong way",
     [] {
       const Scene scene(cudaStreamDefault);
       const float zeros[16] = {};
       return int(cudaMemcpy(scene.memory, zeros, few, cudaMemcpyDeviceToHost));
     }},
    {"copied beyond",
     [] {
       const Scene scene(cudaStreamDefault);
       const float zeros[17] = {};
       return int(cudaMemcpy(scene.memory, zeros, few + 4, cudaMemcpyHostToDevice));
     }},
    {"too many threads",
     [] {
       const cudaLaunchConfig_t config = configured(1, 1025, 0);
       return int(cudaLaunchKernelEx(&config, divergent, nullptr));
     }},
    {"more shared memory than allowed",
     [] {
       const cudaLaunchConfig_t config = configured(1, 32, (48 << 10) + 1);
       return int(cudaLaunchKernelEx(&config, divergent, nullptr));
     }},
    {"more shared memory than there is",
     [] { return int(cudaFuncSetAttribute(divergent, cudaFuncAttributeMaxDynamicSharedMemorySize, (227 << 10) + 1)); }},
};

} // namespace

extern "C" __attribute__((visibility("default"))) int run_host_sample(const char *name) {
  for (const HostSample &sample : host_samples)
    if (strcmp(sample.name, name) == 0)
      return sample.run();
  return -1;
}
