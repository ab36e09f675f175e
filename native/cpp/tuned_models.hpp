// tuned_models.hpp: makes a network of tuned/, and many networks, with threads of their own. tuned_float32.cpp and
// tuned_float64.cpp compile them for one type of numbers each, in parallel.
#pragma once

#include "model.hpp"

#include <memory>

namespace fnn::tuned {

template <class Real> class ThreadedModel : public Model<Real> {
public:
  virtual std::size_t threads() const = 0;
  // Train as train_with does (optimized) or train. Return the seconds in `seconds`, and the running loss: the mean over
  // the rows of R of their step's rows, at the theta before that step.
  virtual double train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, double rate,
                                 bool optimized, double &seconds) = 0;
};

template <class Real> class ThreadedEnsemble {
public:
  virtual ~ThreadedEnsemble() = default;
  virtual std::size_t threads() const = 0;
  virtual std::size_t size() const = 0;
  virtual std::size_t n_parameters() const = 0;
  // x: (rows, m_0)   y: (rows, m_L)   orders: (members, n_order)
  virtual void load(const Real *x, const Real *y, std::size_t rows, const std::int64_t *orders,
                    std::size_t n_order) = 0;
  // Train every member, and return seconds.   rates, losses: (members), losses as of train_with_loss
  virtual double train(std::size_t first, std::size_t count, std::size_t batch_size, const double *rates) = 0;
  virtual double train_with_loss(std::size_t first, std::size_t count, std::size_t batch_size, const double *rates,
                                 double *losses) = 0;
  virtual void copy_thetas(Real *flat) const = 0; // (members, n_parameters)
  virtual void reset() = 0;
};

// Make them. Throws std::system_error where the system starts no more threads.   theta: (n_parameters)
// l2: (members)   thetas: (members, n_parameters)
template <class Real>
std::unique_ptr<ThreadedModel<Real>> make_model(const std::vector<std::size_t> &sizes,
                                                const std::vector<LayerFunction> &functions, const std::string &loss,
                                                double l2, const Real *theta, std::size_t threads);
template <class Real>
std::unique_ptr<ThreadedEnsemble<Real>>
make_ensemble(const std::vector<std::size_t> &sizes, const std::vector<LayerFunction> &functions,
              const std::string &loss, const double *l2, const Real *thetas, std::size_t members,
              std::size_t n_parameters, std::size_t threads);

// Replace x by a function of vector_math.hpp of it, so that tests can measure its errors; false: it has none of that
// name.   x: (n)
template <class Real> bool apply_vector_math(const std::string &name, Real *x, std::size_t n);

} // namespace fnn::tuned
