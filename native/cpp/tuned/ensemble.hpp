// ensemble.hpp: many networks of one shape, each with its own theta, order, rate and lambda. The threads of a pool
// share them; one thread at a time trains a network. network.hpp has the network.
#pragma once

#include "network.hpp"

#include <atomic>

namespace fnn::tuned {

template <class Real> class Ensemble {
public:
  // thetas: (members, n_parameters)   l2: (members)
  Ensemble(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions, const std::string &loss,
           const double *l2, const Real *thetas, std::size_t members, std::size_t n_parameters, Pool *pool)
      : pool_(pool) {
    members_.reserve(members);
    for (std::size_t k = 0; k < members; ++k)
      members_.emplace_back(sizes, functions, loss, l2[k], thetas + k * n_parameters, nullptr);
  }

  std::size_t size() const {
    return members_.size();
  }
  std::size_t n_parameters() const {
    return members_.front().n_parameters();
  }

  // orders: (members, n_order)
  void load(std::shared_ptr<const Data<Real>> data, const std::int64_t *orders, std::size_t n_order) {
    std::vector<std::vector<std::int64_t>> copies; // of all, before any member changes
    for (std::size_t k = 0; k < size(); ++k)
      copies.emplace_back(orders + k * n_order, orders + (k + 1) * n_order);
    for (std::size_t k = 0; k < size(); ++k)
      members_[k].load(data, std::move(copies[k]));
  }

  // Train every member over its order[first .. first + count), and return seconds.   rates: (members)
  double train(std::size_t first, std::size_t count, std::size_t batch_size, const double *rates) {
    for (Mlp<Real> &member : members_)
      member.prepare(count, batch_size);
    std::atomic<std::size_t> next{0};
    const auto work = [&](std::size_t) {
      for (std::size_t k; (k = next.fetch_add(1)) < size();)
        members_[k].train(first, count, batch_size, static_cast<Real>(rates[k]));
    };
    const auto start = Clock::now();
    if (pool_)
      pool_->run(work);
    else
      work(0);
    return seconds_since(start);
  }

  // flat: (members, n_parameters)
  void thetas(Real *flat) const {
    for (const Mlp<Real> &member : members_) {
      member.theta(flat);
      flat += member.n_parameters();
    }
  }
  void reset() {
    for (Mlp<Real> &member : members_)
      member.reset();
  }

private:
  Pool *pool_;
  std::vector<Mlp<Real>> members_;
};

} // namespace fnn::tuned
