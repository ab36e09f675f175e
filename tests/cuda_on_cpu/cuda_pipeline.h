/* cuda_pipeline.h: asynchronous copies to shared memory, done as late as CUDA allows: when the thread that issued them
 * waits. Until then no thread may access their target.
 */
#ifndef CUDA_ON_CPU_PIPELINE_H
#define CUDA_ON_CPU_PIPELINE_H

#include <cuda_runtime.h>

namespace cuda_on_cpu {
void copy_later(void *to, const void *from, size_t bytes, size_t zeros, Site site, const void *caller);
void commit_copies(Site site);
void wait_for_copies(size_t but_last, Site site);
} // namespace cuda_on_cpu

inline __attribute__((noinline)) void __pipeline_memcpy_async(void *to, const void *from, size_t bytes,
                                                              size_t zeros = 0, CUDA_ON_CPU_SITE) {
  cuda_on_cpu::copy_later(to, from, bytes, zeros, {file, line}, __builtin_return_address(0));
}
__forceinline__ void __pipeline_commit(CUDA_ON_CPU_SITE) {
  cuda_on_cpu::commit_copies({file, line});
}
__forceinline__ void __pipeline_wait_prior(size_t but_last, CUDA_ON_CPU_SITE) {
  cuda_on_cpu::wait_for_copies(but_last, {file, line});
}

#endif
