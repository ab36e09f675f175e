// float64.cpp: compiles the networks of this folder for double.
#include "compiled.hpp"

FNN_COMPILE(double)
