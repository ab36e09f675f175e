"""The cost of a call from Python into compiled code, by pybind11, cffi and a pipe."""
