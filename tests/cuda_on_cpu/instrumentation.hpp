/* instrumentation.hpp: the functions that GCC's -fsanitize=thread calls before each load and store. */
#ifndef CUDA_ON_CPU_INSTRUMENTATION_HPP
#define CUDA_ON_CPU_INSTRUMENTATION_HPP

#include "block.hpp"

using cuda_on_cpu::Kind;

namespace cuda_on_cpu {

inline void watched(const void *p, size_t bytes, Kind kind, const void *caller, bool must_align) {
  if (moment.in_kernel && control.preempt > 0 && --control.until_preempt <= 0) {
    control.until_preempt = 1 + long(draw(2 * size_t(control.preempt)));
    give_way();
  }
  must_align ? aligned_access(p, bytes, kind, caller) : access(p, bytes, kind, caller);
}

} // namespace cuda_on_cpu

#define CALLER __builtin_return_address(0)
#define WATCH(bytes)                                                                                                   \
  extern "C" void __tsan_read##bytes(void *p) {                                                                        \
    cuda_on_cpu::watched(p, bytes, Kind::read, CALLER, true);                                                          \
  }                                                                                                                    \
  extern "C" void __tsan_write##bytes(void *p) {                                                                       \
    cuda_on_cpu::watched(p, bytes, Kind::write, CALLER, true);                                                         \
  }                                                                                                                    \
  extern "C" void __tsan_unaligned_read##bytes(void *p) {                                                              \
    cuda_on_cpu::watched(p, bytes, Kind::read, CALLER, false);                                                         \
  }                                                                                                                    \
  extern "C" void __tsan_unaligned_write##bytes(void *p) {                                                             \
    cuda_on_cpu::watched(p, bytes, Kind::write, CALLER, false);                                                        \
  }                                                                                                                    \
  extern "C" void __tsan_volatile_read##bytes(void *p) {                                                               \
    cuda_on_cpu::watched(p, bytes, Kind::read, CALLER, true);                                                          \
  }                                                                                                                    \
  extern "C" void __tsan_volatile_write##bytes(void *p) {                                                              \
    cuda_on_cpu::watched(p, bytes, Kind::write, CALLER, true);                                                         \
  }
WATCH(1)
WATCH(2)
WATCH(4)
WATCH(8)
WATCH(16)

extern "C" void __tsan_read_range(void *p, size_t bytes) {
  cuda_on_cpu::watched(p, bytes, Kind::read, CALLER, false);
}
extern "C" void __tsan_write_range(void *p, size_t bytes) {
  cuda_on_cpu::watched(p, bytes, Kind::write, CALLER, false);
}
/* Only host code calls these, for reference counts and guards; kernels use atomicAdd. */
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

#endif
