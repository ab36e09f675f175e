// model.hpp: what every network in C++ offers. mlp.hpp and tuned/ implement it; python/binding.hpp binds it, so that
// the bindings are compiled once for all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fnn {

enum class Operation { forward, gradient };

// The activation of a layer: its name, and its parameter if it has one.
struct LayerFunction {
  std::string name;
  double parameter;
};

struct Timing {
  double seconds, checksum;
};

template <class Real> class Model {
public:
  virtual ~Model() = default;

  virtual std::size_t n_outputs() const = 0; // m_L
  virtual std::size_t n_parameters() const = 0;

  // x: (rows, m_0)   y: (rows, m_L)   order: (n_order) row numbers
  virtual void load(const Real *x, const Real *y, std::size_t rows, const std::int64_t *order, std::size_t n_order) = 0;

  // Copy theta, set it, or set it to the values that the network was created with.   flat, theta: (n_parameters)
  virtual void copy_theta(Real *flat) const = 0;
  virtual void set_theta(const Real *theta) = 0;
  virtual void reset() = 0;
  virtual bool is_finite() const = 0; // every number of theta

  // Compute the outputs of rows [first, first + count).   y: (count, m_L)
  virtual void outputs(std::size_t first, std::size_t count, Real *y) = 0;
  // Return R over rows [first, first + count).
  virtual double loss(std::size_t first, std::size_t count) = 0;
  // The same, and write its gradient.   gradient: as theta
  virtual double loss_and_gradient(std::size_t first, std::size_t count, Real *gradient) = 0;

  // Run gradient descent over order[first .. first + count) in minibatches of batch_size rows; the last one may be
  // shorter. Returns seconds.
  virtual double train(std::size_t first, std::size_t count, std::size_t batch_size, double rate) = 0;
  // The same, by the selected optimizer: see optimizer.hpp.
  virtual double train_with(std::size_t first, std::size_t count, std::size_t batch_size, double rate) = 0;
  virtual void set_optimizer(const std::string &name, const std::vector<double> &settings, std::int64_t steps,
                             const Real *state) = 0;
  virtual std::int64_t optimizer_steps() const = 0;
  virtual std::size_t optimizer_vectors() const = 0;
  virtual void copy_optimizer_state(Real *state) const = 0; // (optimizer_vectors, n_parameters)

  // Time `repeats` passes of `count` rows each. Their row ranges rotate through the data, so that no pass can be
  // hoisted out of the loop. The checksum sums one probed output of each pass, or its loss and one probed entry of its
  // gradient.   probes: (n_probes) entries of the outputs (count, m_L), or of a vector laid out as theta; pass r takes
  // probes[r mod n_probes]
  virtual Timing timed_pass(Operation operation, std::size_t first, std::size_t count, std::size_t repeats,
                            const std::int64_t *probes, std::size_t n_probes) = 0;
};

} // namespace fnn
