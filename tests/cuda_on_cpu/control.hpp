/* control.hpp: the functions that tests call, through Device in cuda_on_cpu/__init__.py. */
#ifndef CUDA_ON_CPU_CONTROL_HPP
#define CUDA_ON_CPU_CONTROL_HPP

#include "state.hpp"

using cuda_on_cpu::control, cuda_on_cpu::device;

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
    text += std::string(barrier.kind) + " " + cuda_on_cpu::at(site) + " " + std::to_string(barrier.passed) + "\n";
  return text.c_str();
}
TESTS const char *cuda_on_cpu_kernels() {
  static std::string text;
  text.clear();
  for (const auto &[kernel, launches] : device.launches)
    text += cuda_on_cpu::at(cuda_on_cpu::site_of(static_cast<const char *>(kernel) + 1)) + " " +
            std::to_string(launches) + "\n";
  return text.c_str();
}
TESTS const char *cuda_on_cpu_left() {
  static std::string text;
  text = cuda_on_cpu::counted(long(device.allocated.size()), "allocation") +
         cuda_on_cpu::counted(long(device.host.size()), "pinned allocation") +
         cuda_on_cpu::counted(long(device.streams.size()), "stream") +
         cuda_on_cpu::counted(long(device.events.size()), "event") +
         cuda_on_cpu::counted(long(device.graphs.size()), "graph") +
         cuda_on_cpu::counted(long(device.ready.size()), "executable graph");
  return text.c_str();
}

#endif
