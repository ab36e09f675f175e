// tuned_float32.cpp: compiles the networks of tuned/ for float.
#include "tuned_compiled.hpp"

FNN_COMPILE(float)
