// textbook.cpp: compiles the networks of mlp.hpp with the products of textbook.hpp.
#include "textbook.hpp"
#include "models.hpp"

namespace fnn {

template <class Real> Made<Real> with_triple_loops(const Arguments<Real> &arguments) {
  return arguments.with(TripleLoops<Real>());
}

template Made<float> with_triple_loops(const Arguments<float> &);
template Made<double> with_triple_loops(const Arguments<double> &);

} // namespace fnn
