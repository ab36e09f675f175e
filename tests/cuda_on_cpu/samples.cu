/* samples.cu: small kernels that are right, and each with one mistake: what the layer must see, and what it must not.
 */
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

/* As sum, within warps: shuffles, and a warp's barrier before another lane's number is read. */
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

/* As sum, but one thread of the block counts the block in `counter`. */
__global__ void counted_sum(const float *x, float *out, unsigned *counter) {
  float total = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < threads; i++)
      total += x[blockIdx.x * threads + i];
    out[blockIdx.x] = total;
    atomicAdd(counter, 1u);
  }
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

void *host_memory; // a kernel must not touch it

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
const Sample samples[] = {
    SAMPLE("sum", sum<true>, x, out),
    SAMPLE("warp sum", warp_sum<true>, x, out),
    SAMPLE("copied sum", (copied_sum<true, true>), x, out),
    SAMPLE("counted sum", counted_sum, x, out, counter),
    SAMPLE("no barrier", sum<false>, x, out),
    SAMPLE("no warp barrier", warp_sum<false>, x, out),
    SAMPLE("no wait", (copied_sum<false, true>), x, out),
    SAMPLE("no barrier after the wait", (copied_sum<true, false>), x, out),
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

/* Runs a sample over x[blocks][threads]; out[blocks] and the counter are the caller's. Its CUDA error, or -1. */
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
