// levels.hpp: which of the instruction-set levels this CPU and this system run. What includes it is compiled for the
// baseline of the architecture.
#pragma once

#include <string>
#include <vector>

namespace fnn {

// The lowest first. GCC and Clang ask the system too (XGETBV): registers that it does not save cannot be used.
inline std::vector<std::string> levels() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
#if (defined(__clang__) && __clang_major__ >= 18) || (!defined(__clang__) && __GNUC__ >= 12)
  const bool v2 = __builtin_cpu_supports("x86-64-v2"), v3 = __builtin_cpu_supports("x86-64-v3"),
             v4 = __builtin_cpu_supports("x86-64-v4");
#else // which know no levels by name: the features of each that they know and that came last
  const bool v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
  const bool v3 = v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
#endif
  if (v2)
    found.emplace_back("v2");
  if (v3)
    found.emplace_back("v3");
  if (v4)
    found.emplace_back("v4");
#elif defined(__aarch64__)
  found.emplace_back("aarch64");
#endif
  return found;
}

} // namespace fnn
