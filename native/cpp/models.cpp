// models.cpp: compiles the networks of mlp.hpp with each kind of products. They are one file, since the compiler spends
// most of its time on what they share. With a file for each, a build took 64 s in place of 45 (two cores, AMD EPYC).
#include "models.hpp"
#include "bare_products.hpp"
#include "textbook.hpp"

namespace fnn {

namespace {

template <class Real> Blas<Real> products_of(const OpenBlas *library) {
  return Blas<Real>(*library);
}
template <class Real> MklProducts<Real> products_of(const Mkl *library) {
  return MklProducts<Real>(*library);
}
template <class Real> XsmmProducts<Real> products_of(const Xsmm *library) {
  return XsmmProducts<Real>(*library);
}

template <class Real, class Products> Made<Real> with(const Arguments<Real> &arguments, Products products) {
  return std::make_unique<Mlp<Real, Products>>(arguments.sizes, arguments.functions, arguments.loss, arguments.l2,
                                               arguments.theta, std::move(products));
}

template <class Real, template <class> class Products>
double fastest(Products<Real> products, const std::vector<std::size_t> &sizes, std::size_t batch, double seconds) {
  return BareProducts<Real, Products>(std::move(products), sizes, batch).fastest(seconds);
}

} // namespace

template <class Real> Made<Real> with_loops(const Arguments<Real> &arguments) {
  return with(arguments, Loops<Real>());
}

template <class Real> Made<Real> with_triple_loops(const Arguments<Real> &arguments) {
  return with(arguments, TripleLoops<Real>());
}

template <class Real> Made<Real> with_library(const Arguments<Real> &arguments, Library library) {
  return std::visit([&](auto opened) { return with(arguments, products_of<Real>(opened)); }, library);
}

template <class Real>
double bare_products(Library library, const std::vector<std::size_t> &sizes, std::size_t batch, double seconds) {
  return std::visit([&](auto opened) { return fastest(products_of<Real>(opened), sizes, batch, seconds); }, library);
}

template Made<float> with_loops(const Arguments<float> &);
template Made<double> with_loops(const Arguments<double> &);
template Made<float> with_triple_loops(const Arguments<float> &);
template Made<double> with_triple_loops(const Arguments<double> &);
template Made<float> with_library(const Arguments<float> &, Library);
template Made<double> with_library(const Arguments<double> &, Library);
template double bare_products<float>(Library, const std::vector<std::size_t> &, std::size_t, double);
template double bare_products<double>(Library, const std::vector<std::size_t> &, std::size_t, double);

} // namespace fnn
