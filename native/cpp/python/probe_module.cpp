// probe_module.cpp: pyfnn._probe_<level>, the bindings of peak.hpp, compiled for one instruction-set level. They use
// Python's own interface: pybind11 takes four times as long to compile as all of peak.hpp.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../peak.hpp"
#include "module_name.hpp"

#include <cstring>
#include <exception>
#include <string>

namespace {

// Return work() as Python's number; other Python threads run meanwhile.
template <class Work> PyObject *without_gil(Work work) {
  double result = 0;
  std::string failure;
  PyThreadState *const state = PyEval_SaveThread();
  try {
    result = work();
  } catch (const std::exception &error) { // no memory for the arrays, or no further thread
    failure = error.what();
  }
  PyEval_RestoreThread(state);
  return failure.empty() ? PyFloat_FromDouble(result) : PyErr_Format(PyExc_RuntimeError, "%s", failure.c_str());
}

bool check_threads(Py_ssize_t threads) {
  if (threads < 1)
    PyErr_Format(PyExc_ValueError, "threads = %zd: must be at least 1", threads);
  return threads >= 1;
}

PyObject *peak(PyObject *, PyObject *arguments) {
  const char *dtype;
  Py_ssize_t threads;
  double seconds;
  if (!PyArg_ParseTuple(arguments, "snd:peak", &dtype, &threads, &seconds) || !check_threads(threads))
    return nullptr;
  const auto n = static_cast<std::size_t>(threads);
  if (std::strcmp(dtype, "float32") == 0)
    return without_gil([=] { return fnn::peak<float>(n, seconds); });
  if (std::strcmp(dtype, "float64") == 0)
    return without_gil([=] { return fnn::peak<double>(n, seconds); });
  return PyErr_Format(PyExc_ValueError, "dtype = '%s': must be float32 or float64", dtype);
}

PyObject *bandwidth(PyObject *, PyObject *arguments) {
  const char *name;
  Py_ssize_t threads, bytes;
  double seconds;
  if (!PyArg_ParseTuple(arguments, "snnd:bandwidth", &name, &threads, &bytes, &seconds) || !check_threads(threads))
    return nullptr;
  static constexpr std::pair<const char *, fnn::Traffic> table[] = {
      {"read", fnn::Traffic::read}, {"copy", fnn::Traffic::copy}, {"triad", fnn::Traffic::triad}};
  for (const auto &[known, traffic] : table)
    if (std::strcmp(name, known) == 0)
      return without_gil([=, traffic = traffic] {
        return fnn::bandwidth(traffic, static_cast<std::size_t>(threads), static_cast<std::size_t>(bytes), seconds);
      });
  return PyErr_Format(PyExc_ValueError, "traffic = '%s': must be read, copy or triad", name);
}

PyMethodDef functions[] = {
    {"peak", peak, METH_VARARGS, "peak(dtype, threads, seconds): floating-point operations per second."},
    {"bandwidth", bandwidth, METH_VARARGS, "bandwidth(traffic, threads, bytes, seconds): bytes per second."},
    {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          PYFNN_MODULE_NAME,
                          "peak.hpp: the peak rates of this machine, at one instruction-set level.",
                          0,
                          functions,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

} // namespace

PyMODINIT_FUNC PYFNN_INITIALIZER() {
  return PyModule_Create(&definition);
}
