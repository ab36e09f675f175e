// bare_products.hpp: the matrix products of a training step and nothing else, through any class of products of Mlp
// that `updates`. Their time is what a step costs that hands its products to such a library.
#pragma once

#include "mlp.hpp"

namespace fnn {

template <class Real, template <class> class Products> class BareProducts {
public:
  // sizes: m_0 .. m_L
  BareProducts(Products<Real> products, const std::vector<std::size_t> &sizes, std::size_t batch)
      : products_(std::move(products)), batch_(batch), sizes_(sizes) {
    for (std::size_t l = 0; l < sizes.size(); ++l) {
      A_.push_back(filled(batch * sizes[l]));
      delta_.push_back(filled(batch * sizes[l]));
      if (l > 0)
        W_.push_back(filled(sizes[l - 1] * sizes[l]));
    }
  }

  // Return the seconds of the fastest pass within `seconds`, of at least three; the first, in which a library prepares
  // itself, does not count.
  double fastest(double seconds) {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point start) {
      return std::chrono::duration<double>(Clock::now() - start).count();
    };
    pass();
    const auto begin = Clock::now();
    double best = 0;
    for (int passes = 0; passes < 3 || since(begin) < seconds; ++passes) {
      constexpr int repeats = 8; // a pass can take a microsecond, which the clock barely resolves
      const auto start = Clock::now();
      int done = 0;
      do
        pass();
      while (++done < repeats && since(start) < 1e-3);
      const double took = since(start) / done;
      best = passes == 0 ? took : std::min(best, took);
    }
    return best;
  }

private:
  // Small numbers of both signs, the same in each run. Their products stay far from overflow and from subnormals.
  static Buffer<Real> filled(std::size_t n) {
    Buffer<Real> values(n);
    for (std::size_t i = 0; i < n; ++i)
      values[i] = static_cast<Real>(static_cast<int>(i * 7919 % 1021) - 510) / 8192;
    return values;
  }

  // The products in the order of a step: A W of each layer; then delta W^T and A^T delta, from the last layer on.
  void pass() {
    constexpr auto tiny = static_cast<Real>(1e-12); // so that W does not grow from pass to pass
    const std::size_t L = W_.size();
    for (std::size_t l = 0; l < L; ++l)
      products_.add_product(rows(A_, l + 1), rows(A_, l), W(l), 1, 0);
    for (std::size_t l = L; l-- > 0;) {
      if (l > 0)
        products_.product_with_transposed(rows(delta_, l), rows(delta_, l + 1), W(l));
      products_.add_product(W(l), rows(A_, l).transposed(), rows(delta_, l + 1), tiny, 1);
    }
  }

  Matrix<Real> rows(std::vector<Buffer<Real>> &of, std::size_t l) {
    return {of[l].data(), batch_, sizes_[l]};
  }
  Matrix<Real> W(std::size_t l) {
    return {W_[l].data(), sizes_[l], sizes_[l + 1]};
  }

  Products<Real> products_;
  std::size_t batch_;
  std::vector<std::size_t> sizes_;
  std::vector<Buffer<Real>> A_, delta_, W_; // (batch, m_l) each, (m_l, m_{l+1})
};

} // namespace fnn
