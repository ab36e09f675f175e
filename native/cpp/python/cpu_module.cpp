// cpu_module.cpp: pyfnn._cpu, the bindings of levels.hpp, compiled for the architecture's baseline so that any CPU runs
// it. pyfnn loads the modules of higher levels only where this one lists them. Like probe_module.cpp without pybind11.
#include <Python.h>

#include "../levels.hpp"
#include "module_name.hpp"

namespace {

PyObject *levels(PyObject *, PyObject *) {
  PyObject *found = PyList_New(0);
  for (const std::string &level : fnn::levels()) {
    PyObject *name = found ? PyUnicode_FromString(level.c_str()) : nullptr;
    if (!name || PyList_Append(found, name) != 0)
      Py_CLEAR(found);
    Py_XDECREF(name);
  }
  return found;
}

PyMethodDef functions[] = {{"levels", levels, METH_NOARGS, "The levels, lowest first: a list of str."},
                           {nullptr, nullptr, 0, nullptr}};
PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          PYFNN_MODULE_NAME,
                          "The instruction-set levels that this CPU runs.",
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
