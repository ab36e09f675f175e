// xsmm.cpp: compiles the networks of mlp.hpp with the products of xsmm.hpp.
#include "bare_products.hpp"
#include "models.hpp"

namespace fnn {

using Library = std::shared_ptr<const Xsmm>;

template <class Real> Made<Real> with_xsmm(const Arguments<Real> &arguments, Library library) {
  return arguments.with(XsmmProducts<Real>(std::move(library)));
}

template <class Real>
double bare_products(const Library &library, const std::vector<std::size_t> &sizes, std::size_t batch, double seconds) {
  return BareProducts<Real, XsmmProducts<Real>>(XsmmProducts<Real>(library), sizes, batch).fastest(seconds);
}

template Made<float> with_xsmm(const Arguments<float> &, Library);
template Made<double> with_xsmm(const Arguments<double> &, Library);
template double bare_products<float>(const Library &, const std::vector<std::size_t> &, std::size_t, double);
template double bare_products<double>(const Library &, const std::vector<std::size_t> &, std::size_t, double);

} // namespace fnn
