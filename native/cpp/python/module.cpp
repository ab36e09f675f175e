// module.cpp: pyfnn.backends._cpp, the bindings of mlp.hpp.
#include "binding.hpp"

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "mlp.hpp: a feed-forward network in plain C++.";
  fnn::bind<float, fnn::Loops<float>>(module, "Mlp32");
  fnn::bind<double, fnn::Loops<double>>(module, "Mlp64");
}
