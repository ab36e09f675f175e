// float32.cpp: compiles the networks of this folder for float.
#include "compiled.hpp"

FNN_COMPILE(float)
