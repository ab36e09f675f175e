// loops.cpp: compiles the networks of mlp.hpp with its own products.
#include "models.hpp"

namespace fnn {

template <class Real> Made<Real> with_loops(const Arguments<Real> &arguments) {
  return arguments.with(Loops<Real>());
}

template Made<float> with_loops(const Arguments<float> &);
template Made<double> with_loops(const Arguments<double> &);

} // namespace fnn
