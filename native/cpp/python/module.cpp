// module.cpp: pyfnn.backends._cpp, the bindings of mlp.hpp, with its own products and with those of textbook.hpp.
#include "../textbook.hpp"
#include "binding.hpp"

PYBIND11_MODULE(PYFNN_MODULE, module) {
  module.doc() = "mlp.hpp: a feed-forward network in plain C++.";
  fnn::bind<float, fnn::Loops<float>>(module, "Mlp32");
  fnn::bind<double, fnn::Loops<double>>(module, "Mlp64");
  fnn::bind<float, fnn::TripleLoops<float>>(module, "Textbook32");
  fnn::bind<double, fnn::TripleLoops<double>>(module, "Textbook64");
}
