// sanitize_test.cpp: calls every method of network.hpp and ensemble.hpp under sanitizers or valgrind, at odd sizes, at
// every batch size up to 70 and a few larger ones, with one to three threads, and one batch of one network with ten. It
// compares the results with those of ../mlp.hpp and exits with 1 on a mismatch. The Python tests compare with the
// oracle; this program measures no speed.
#include "../mlp.hpp"
#include "ensemble.hpp"

#include <cstdio>
#include <cstring>
#include <random>
#include <thread>

namespace {

using namespace fnn::tuned;
using fnn::LayerFunction, fnn::Operation;

struct Case {
  std::vector<std::size_t> sizes;
  std::vector<LayerFunction> functions;
  std::string loss;
  double l2;
  std::size_t step;     // difference between successive batch sizes
  std::size_t more = 0; // one more batch size, with ten threads too; 0 for none
};

// Those with layers of 100 units or more are large enough for several threads, and for several blocks.
const std::vector<Case> cases{
    {{3, 1}, {{"identity", 0}}, "squared_error", 0.0, 1},
    {{1, 1, 1}, {{"tanh", 0}, {"sigmoid", 0}}, "half_squared_error", 0.1, 1},
    {{5, 7, 3}, {{"relu", 0}, {"tanh", 0}}, "squared_error", 0.01, 1},
    {{5, 19, 7, 3}, {{"elu", -0.5}, {"leaky_relu", -0.3}, {"elu", -2}}, "squared_error", 0.01, 9},
    {{9, 13, 8, 5}, {{"tanh", 0}, {"sigmoid", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.01, 1},
    {{2, 17, 33, 4}, {{"sigmoid", 0}, {"identity", 0}, {"sigmoid", 0}}, "sigmoid_cross_entropy", 0.0, 1},
    {{197, 211, 71, 11}, {{"tanh", 0}, {"relu", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.001, 9},
    {{1101, 301, 3}, {{"tanh", 0}, {"identity", 0}}, "half_squared_error", 0.0, 69},
    {{70, 211, 5}, {{"tanh", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.001, 69, 259},
    {{5, 19, 7, 3}, {{"prelu", -0.2}, {"maxout", 3}, {"tanh", 0}}, "squared_error", 0.01, 3},
    {{4, 18, 5, 3}, {{"maxout", 2}, {"prelu", 0.25}, {"softmax", 0}}, "softmax_cross_entropy", 0.0, 3},
    {{197, 150, 171, 11}, {{"maxout", 2}, {"prelu", 0.25}, {"softmax", 0}}, "softmax_cross_entropy", 0.001, 23},
};

constexpr std::size_t rows = 260, usual_batch = 70; // samples; the largest batch size of all cases

// The arguments of a model, drawn from one seed. Targets are rows that sum to 1, which every loss accepts.
template <class Real> struct Problem {
  const Case &c;
  std::vector<Real> theta, x, y;
  std::vector<std::int64_t> order;

  explicit Problem(const Case &given) : c(given) {
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (std::size_t l = 1; l < c.sizes.size(); ++l) {
      const LayerFunction &f = c.functions[l - 1];
      const std::size_t pieces = f.name == "maxout" ? static_cast<std::size_t>(f.parameter) : 1;
      const std::size_t slopes = f.name == "prelu" ? c.sizes[l] : 0;
      for (std::size_t i = 0; i < (c.sizes[l - 1] + 1) * c.sizes[l] * pieces + slopes; ++i)
        theta.push_back(static_cast<Real>(uniform(generator) / std::sqrt(c.sizes[l - 1])));
    }
    for (std::size_t i = 0; i < rows * c.sizes.front(); ++i)
      x.push_back(static_cast<Real>(uniform(generator)));
    y.assign(rows * c.sizes.back(), 0);
    for (std::size_t n = 0; n < rows; ++n)
      y[n * c.sizes.back() + generator() % c.sizes.back()] = 1;
    for (std::size_t i = 0; i < 2 * rows; ++i)
      order.push_back(static_cast<std::int64_t>(generator() % rows));
  }

  std::shared_ptr<const Data<Real>> data() const {
    return std::make_shared<Data<Real>>(x.data(), y.data(), rows, c.sizes.front(), c.sizes.back());
  }
  Mlp<Real> tuned(Pool *pool) const {
    Mlp<Real> mlp(c.sizes, c.functions, c.loss, c.l2, theta.data(), pool);
    mlp.load(data(), order.data(), order.size());
    return mlp;
  }
  fnn::Mlp<Real> plain() const {
    fnn::Mlp<Real> mlp(c.sizes, c.functions, c.loss, c.l2, theta.data());
    mlp.load(x.data(), y.data(), rows, order.data(), order.size());
    return mlp;
  }
};

// The results of a model at one batch size.
template <class Real> struct Results {
  std::vector<Real> outputs, gradient, theta, by_adam; // theta and by_adam: after training
  double loss, running_loss;                           // the latter: of the first minibatch

  Results(std::size_t n_outputs, std::size_t n_parameters)
      : outputs(n_outputs), gradient(n_parameters), theta(n_parameters), by_adam(n_parameters) {}
};

// An epsilon at which the rounding of a small gradient does not decide the step.
const std::vector<double> adam_settings{0.9, 0.99, 0.01};

// Return the samples to train on: two minibatches and a short one, or as many as the order holds.
std::size_t n_samples(std::size_t batch) {
  return std::min(2 * rows - 1, 2 * batch + (batch + 1) / 2);
}

template <class Real> Results<Real> results(const Problem<Real> &problem, Mlp<Real> &mlp, std::size_t batch) {
  Results<Real> result(batch * problem.c.sizes.back(), problem.theta.size());
  mlp.reset();
  mlp.outputs(rows - batch, batch, result.outputs.data());
  result.loss = mlp.loss_and_gradient(0, batch, result.gradient.data());
  mlp.prepare(n_samples(batch), batch);
  mlp.train(1, n_samples(batch), batch, Real(0.01));
  mlp.theta(result.theta.data());
  std::vector<Real> state(2 * problem.theta.size());
  mlp.reset();
  mlp.set_optimizer("adam", adam_settings, 0, state.data());
  mlp.train_with(1, batch, batch, 0.01);
  mlp.optimizer_state(state.data());
  mlp.set_optimizer("adam", adam_settings, mlp.optimizer().steps(), state.data());
  mlp.train_with(1 + batch, n_samples(batch) - batch, batch, 0.01);
  mlp.theta(result.by_adam.data());
  mlp.reset();
  mlp.set_optimizer("adam", adam_settings, 0, std::vector<Real>(state.size()).data());
  result.running_loss = mlp.train_with_loss(1, batch, batch, 0.01, true);
  return result;
}

template <class Real> Results<Real> expected(const Problem<Real> &problem, std::size_t batch) {
  Results<Real> reference(batch * problem.c.sizes.back(), problem.theta.size());
  fnn::Mlp<Real> mlp = problem.plain();
  mlp.outputs(rows - batch, batch, reference.outputs.data());
  reference.loss = mlp.loss_and_gradient(0, batch, reference.gradient.data());
  mlp.train(1, n_samples(batch), batch, Real(0.01));
  reference.theta.assign(mlp.theta().begin(), mlp.theta().end());
  const std::vector<Real> zeros(2 * problem.theta.size());
  mlp.reset();
  mlp.set_optimizer("adam", adam_settings, 0, zeros.data());
  mlp.train_with(1, n_samples(batch), batch, 0.01);
  reference.by_adam.assign(mlp.theta().begin(), mlp.theta().end());
  std::vector<Real> x, y; // of the first minibatch
  for (std::size_t n = 1; n <= batch; ++n) {
    const auto row = static_cast<std::size_t>(problem.order[n]), m_0 = problem.c.sizes.front(),
               m_L = problem.c.sizes.back();
    x.insert(x.end(), problem.x.begin() + row * m_0, problem.x.begin() + (row + 1) * m_0);
    y.insert(y.end(), problem.y.begin() + row * m_L, problem.y.begin() + (row + 1) * m_L);
  }
  mlp.reset();
  mlp.load(x.data(), y.data(), batch, problem.order.data(), 1);
  reference.running_loss = mlp.loss(0, batch);
  return reference;
}

// Compare |a - b| / |b| in the Euclidean norm with a bound. The comparison is false for NaN.
template <class Real> bool near(const std::vector<Real> &a, const std::vector<Real> &b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += double(a[i] - b[i]) * double(a[i] - b[i]);
    norm += double(b[i]) * double(b[i]);
  }
  const double bound = sizeof(Real) == 4 ? 1e-5 : 1e-13;
  return difference <= bound * bound * norm;
}

template <class Real> bool same(const std::vector<Real> &a, const std::vector<Real> &b) {
  return std::memcmp(a.data(), b.data(), b.size() * sizeof(Real)) == 0;
}

template <class Real> bool check(bool holds, const Case &c, std::size_t batch, std::size_t threads, const char *claim) {
  if (!holds)
    std::fprintf(stderr, "%s, %zu bytes, %zu layers, batch %zu, %zu threads: failed: %s\n", c.loss.c_str(),
                 sizeof(Real), c.sizes.size() - 1, batch, threads, claim);
  return holds;
}

// Return the entry to probe after this one: entries at growing distances, because each costs a pass.
std::size_t next_entry(std::size_t entry) {
  return entry + 3 * entry / 4 + 1;
}

// Compare the checksums of single timed passes with the outputs, loss and gradient that the other methods returned.
template <class Real>
bool probes_read_the_right_entries(const Case &c, Mlp<Real> &mlp, const Results<Real> &expected, std::size_t batch) {
  bool good = true;
  mlp.reset();
  for (std::size_t entry = 0; entry < expected.outputs.size(); entry = next_entry(entry)) {
    const std::int64_t probes[] = {std::int64_t(entry)};
    const double checksum = mlp.timed_pass(Operation::forward, rows - batch, batch, 1, probes, 1).checksum;
    good &= check<Real>(checksum == expected.outputs[entry], c, batch, 1, "a probe reads the output that it names");
  }
  for (std::size_t entry = 0; entry < expected.gradient.size(); entry = next_entry(entry)) {
    const std::int64_t probes[] = {std::int64_t(entry)};
    const double checksum = mlp.timed_pass(Operation::gradient, 0, batch, 1, probes, 1).checksum;
    good &= check<Real>(checksum == expected.loss + expected.gradient[entry], c, batch, 1,
                        "a probe reads the entry of the gradient that it names");
  }
  return good;
}

template <class Real> bool networks_agree(const Case &c, std::size_t largest) {
  const Problem<Real> problem(c);
  bool good = true;
  Pool pools[]{Pool(1), Pool(2), Pool(3), Pool(10)};
  std::vector<Mlp<Real>> models;
  for (Pool &pool : pools)
    models.push_back(problem.tuned(&pool));
  std::vector<std::size_t> batches;
  for (std::size_t batch = 1; batch <= largest; batch += c.step)
    batches.push_back(batch);
  if (c.step == 1 && largest >= usual_batch) // several strips of the feature-major step, at any vector width
    batches.insert(batches.end(), {129, 200, 257});
  // Several blocks of samples, except with short vectors and large caches. Ten threads share rows in place of columns
  // where vectors have eight numbers or more.
  if (c.more && largest >= usual_batch / 2)
    batches.push_back(c.more);
  for (const std::size_t batch : batches) {
    const Results<Real> reference = expected(problem, batch), first = results(problem, models[0], batch);
    good &= check<Real>(near(first.outputs, reference.outputs), c, batch, 1, "the outputs agree with mlp.hpp");
    good &= check<Real>(std::abs(first.loss - reference.loss) <= 1e-4 * reference.loss, c, batch, 1,
                        "the loss agrees with mlp.hpp");
    good &= check<Real>(std::abs(first.running_loss - reference.running_loss) <= 1e-4 * reference.running_loss, c,
                        batch, 1, "the running loss of a step agrees with the loss of mlp.hpp");
    good &= check<Real>(near(first.gradient, reference.gradient), c, batch, 1, "the gradient agrees with mlp.hpp");
    good &= check<Real>(near(first.theta, reference.theta), c, batch, 1, "theta agrees with mlp.hpp after training");
    good &= check<Real>(near(first.by_adam, reference.by_adam), c, batch, 1, "theta agrees with mlp.hpp after Adam");
    const std::size_t used = batch == c.more ? 4 : 3; // of the pools
    for (std::size_t i = 1; i < used; ++i) {
      const std::size_t threads = pools[i].size();
      const Results<Real> other = results(problem, models[i], batch);
      good &= check<Real>(same(other.outputs, first.outputs) && same(other.gradient, first.gradient) &&
                              same(other.theta, first.theta) && same(other.by_adam, first.by_adam) &&
                              other.running_loss == first.running_loss,
                          c, batch, threads, "the number of threads does not change the bits");
    }
    for (std::size_t i = 0; i < used; ++i)
      good &= probes_read_the_right_entries(c, models[i], first, batch);
  }
  return good;
}

// Check that each of four networks, more than there are threads, ends with the same bits as a network trained alone.
template <class Real> bool ensembles_agree(const Case &c) {
  constexpr std::size_t members = 4, largest = 7;
  const std::size_t n_order = n_samples(largest);
  const Problem<Real> problem(c);
  const std::size_t n_parameters = problem.theta.size();
  std::vector<Real> thetas, ends(members * n_parameters), alone(n_parameters);
  std::vector<std::int64_t> orders;
  std::vector<double> l2, rates;
  for (std::size_t k = 0; k < members; ++k) {
    for (const Real value : problem.theta)
      thetas.push_back(value * (1 + Real(0.1) * Real(k)));
    orders.insert(orders.end(), problem.order.begin() + k, problem.order.begin() + k + n_order);
    l2.push_back(0.01 * static_cast<double>(k));
    rates.push_back(0.01 + 0.01 * static_cast<double>(k));
  }
  bool good = true;
  for (std::size_t threads = 1; threads <= 3; ++threads)
    for (const std::size_t batch : {std::size_t(1), std::size_t(2), largest}) {
      const std::size_t steps = n_samples(batch);
      Pool pool(threads);
      Ensemble<Real> many(c.sizes, c.functions, c.loss, l2.data(), thetas.data(), members, n_parameters, &pool);
      many.load(problem.data(), orders.data(), n_order);
      many.train(0, steps, batch, rates.data());
      many.reset();
      many.train(0, steps, batch, rates.data());
      many.thetas(ends.data());
      std::vector<double> losses(members);
      many.reset();
      many.train_with_loss(0, steps, batch, rates.data(), losses.data());
      for (std::size_t k = 0; k < members; ++k) {
        Mlp<Real> mlp(c.sizes, c.functions, c.loss, l2[k], thetas.data() + k * n_parameters, nullptr);
        mlp.load(problem.data(), orders.data() + k * n_order, n_order);
        mlp.prepare(steps, batch);
        mlp.train(0, steps, batch, static_cast<Real>(rates[k]));
        mlp.theta(alone.data());
        const std::vector<Real> end(ends.begin() + k * n_parameters, ends.begin() + (k + 1) * n_parameters);
        good &= check<Real>(same(end, alone), c, batch, threads,
                            "a member ends with the same bits as a network trained alone");
        mlp.reset();
        good &= check<Real>(losses[k] == mlp.train_with_loss(0, steps, batch, rates[k], false), c, batch, threads,
                            "a member has the running loss of a network trained alone");
      }
    }
  return good;
}

bool unknown_names_are_refused() {
  const double theta[] = {0, 0};
  try {
    Mlp<double>({1, 1}, {{"swish", 0}}, "squared_error", 0, theta, nullptr);
  } catch (const std::invalid_argument &) {
    return true;
  }
  std::fprintf(stderr, "an unknown activation was accepted\n");
  return false;
}

// Buffers of all kinds of size (with memory of their own, parts of slabs, huge pages), made and dropped by two threads,
// are zero when made and keep what is written to them while others come and go.
bool buffers_are_zero_and_apart() {
  const auto churn = [](float mark, bool &good) {
    std::vector<Buffer<float>> held(12);
    for (std::size_t round = 0; round < 300; ++round) {
      Buffer<float> &own = held[round * 7 % held.size()];
      for (std::size_t i = 0; i < own.size(); ++i)
        good &= own.data()[i] == mark;
      own = Buffer<float>(std::size_t(1) << (round * 5 % 20)); // 4 bytes to 2 MiB
      good &= reinterpret_cast<std::uintptr_t>(own.data()) % 64 == 0;
      for (std::size_t i = 0; i < own.size(); ++i)
        good &= own.data()[i] == 0;
      std::fill_n(own.data(), own.size(), mark);
    }
  };
  bool one = true, other = true;
  std::thread second(churn, 2.0f, std::ref(other));
  churn(1.0f, one);
  second.join();
  if (!one || !other)
    std::fprintf(stderr, "a buffer was not zero, not aligned or overwritten\n");
  return one && other;
}

} // namespace

// argv[1]: the largest batch size, 70 by default; valgrind needs a smaller one
int main(int argc, char **argv) {
  const std::size_t largest = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : usual_batch;
  bool good = unknown_names_are_refused() && buffers_are_zero_and_apart();
  for (const Case &c : cases) {
    good &= networks_agree<float>(c, largest);
    good &= networks_agree<double>(c, largest);
    good &= ensembles_agree<float>(c);
    good &= ensembles_agree<double>(c);
  }
  std::printf("%zu-byte vectors: %s\n", vector_bytes, good ? "all good" : "FAILED");
  return good ? 0 : 1;
}
