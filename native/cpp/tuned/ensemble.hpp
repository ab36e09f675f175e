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
    return for_each_member(count, batch_size, [=](Mlp<Real> &member, std::size_t k) {
      member.train(first, count, batch_size, static_cast<Real>(rates[k]));
    });
  }

  // Train as train does, with the running loss of each member, in losses.   rates, losses: (members)
  double train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, const double *rates,
                         double *losses) {
    return for_each_member(count, batch_size, [=](Mlp<Real> &member, std::size_t k) {
      losses[k] = member.train_with_loss(first, count, batch_size, rates[k], false);
    });
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
  // Call train(member, number) for every member, and return seconds.
  template <class Train> double for_each_member(std::size_t count, std::size_t batch_size, const Train &train) {
    for (Mlp<Real> &member : members_)
      member.prepare(count, batch_size);
    std::atomic<std::size_t> next{0};
    const auto work = [&](std::size_t) {
      for (std::size_t k; (k = next.fetch_add(1)) < size();)
        train(members_[k], k);
    };
    const auto start = Clock::now();
    if (pool_)
      pool_->run(work);
    else
      work(0);
    return seconds_since(start);
  }

  Pool *pool_;
  std::vector<Mlp<Real>> members_;
};

} // namespace fnn::tuned
