// tuned_float64.cpp: compiles the networks of tuned/ for double.
#include "tuned_compiled.hpp"

FNN_COMPILE(double)
