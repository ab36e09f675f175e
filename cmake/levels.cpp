// levels.cpp: print the instruction-set levels that this CPU runs, as a list of CMake. The configuration runs it.
#include <levels.hpp>

#include <cstdio>

int main() {
  for (const std::string &level : fnn::levels())
    std::printf("%s;", level.c_str());
  return 0;
}
