// levels.hpp: the instruction-set levels that this CPU and this operating system run. Compile the file that includes it
// for the architecture's baseline.
#pragma once

#include <string>
#include <vector>

namespace fnn {

// Return the levels, lowest first. GCC's and Clang's check includes the system's (XGETBV), which must save the
// registers.
inline std::vector<std::string> levels() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
#if (defined(__clang__) && __clang_major__ >= 18) || (!defined(__clang__) && __GNUC__ >= 12)
  const bool v2 = __builtin_cpu_supports("x86-64-v2"), v3 = __builtin_cpu_supports("x86-64-v3"),
             v4 = __builtin_cpu_supports("x86-64-v4");
#else // these compilers do not know levels by name: test the newest features of each
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
