// mkl.cpp: compiles the networks of mlp.hpp with the products of mkl.hpp.
#include "bare_products.hpp"
#include "models.hpp"

namespace fnn {

using Library = std::shared_ptr<const Mkl>;

template <class Real> Made<Real> with_mkl(const Arguments<Real> &arguments, Library library) {
  return arguments.with(MklProducts<Real>(std::move(library)));
}

template <class Real>
double bare_products(const Library &library, const std::vector<std::size_t> &sizes, std::size_t batch, double seconds) {
  return BareProducts<Real, MklProducts<Real>>(MklProducts<Real>(library), sizes, batch).fastest(seconds);
}

template Made<float> with_mkl(const Arguments<float> &, Library);
template Made<double> with_mkl(const Arguments<double> &, Library);
template double bare_products<float>(const Library &, const std::vector<std::size_t> &, std::size_t, double);
template double bare_products<double>(const Library &, const std::vector<std::size_t> &, std::size_t, double);

} // namespace fnn
