// sanitize_test.cpp: every method of network.hpp and ensemble.hpp at odd sizes, at every batch size up to 70 and with
// one to three threads, for sanitizers and valgrind to watch; its results against those of ../mlp.hpp. Ends with 1 on a
// mismatch. Agreement with the oracle is tested from Python, speed nowhere here.
#include "../mlp.hpp"
#include "ensemble.hpp"

#include <cstdio>
#include <cstring>
#include <random>

namespace {

using namespace fnn::tuned;

struct Case {
  std::vector<std::size_t> sizes;
  std::vector<Chosen> functions;
  std::string loss;
  double l2;
  std::size_t step; // from one batch size to the next
};

// The last two are large enough to be shared between threads, and to be worked through in blocks.
const std::vector<Case> cases{
    {{3, 1}, {{"identity", 0}}, "squared_error", 0.0, 1},
    {{1, 1, 1}, {{"tanh", 0}, {"sigmoid", 0}}, "half_squared_error", 0.1, 1},
    {{5, 7, 3}, {{"relu", 0}, {"tanh", 0}}, "squared_error", 0.01, 1},
    {{9, 13, 8, 5}, {{"tanh", 0}, {"sigmoid", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.01, 1},
    {{2, 17, 33, 4}, {{"sigmoid", 0}, {"identity", 0}, {"sigmoid", 0}}, "sigmoid_cross_entropy", 0.0, 1},
    {{197, 211, 71, 11}, {{"tanh", 0}, {"relu", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.001, 9},
    {{1101, 301, 3}, {{"tanh", 0}, {"identity", 0}}, "half_squared_error", 0.0, 69},
};

constexpr std::size_t rows = 70;

// Everything a model is given, drawn from one seed. Targets: rows that sum to 1, which every loss takes.
template <class Real> struct Problem {
  const Case &c;
  std::vector<Real> theta, x, y;
  std::vector<std::int64_t> order;

  explicit Problem(const Case &given) : c(given) {
    std::mt19937 generator(1);
    std::uniform_real_distribution<double> uniform(-1, 1);
    for (std::size_t l = 1; l < c.sizes.size(); ++l)
      for (std::size_t i = 0; i < (c.sizes[l - 1] + 1) * c.sizes[l]; ++i)
        theta.push_back(static_cast<Real>(uniform(generator) / std::sqrt(c.sizes[l - 1])));
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
    std::vector<std::string> names;
    for (const Chosen &function : c.functions)
      names.push_back(function.name);
    fnn::Mlp<Real> mlp(c.sizes, names, c.loss, c.l2, theta.data());
    mlp.load(x.data(), y.data(), rows, order.data(), order.size());
    return mlp;
  }
};

// What a model computes at one batch size.
template <class Real> struct Results {
  std::vector<Real> outputs, gradient, theta;
  double loss;

  Results(std::size_t n_outputs, std::size_t n_parameters)
      : outputs(n_outputs), gradient(n_parameters), theta(n_parameters) {}
};

// Steps to train: two of the size and one short one, or as many as there are in the order.
std::size_t n_steps(std::size_t batch) {
  return std::min(2 * rows - 1, 2 * batch + (batch + 1) / 2);
}

template <class Real> Results<Real> results(const Problem<Real> &problem, Mlp<Real> &mlp, std::size_t batch) {
  Results<Real> got(batch * problem.c.sizes.back(), problem.theta.size());
  mlp.reset();
  mlp.forward(rows - batch, batch, got.outputs.data());
  got.loss = mlp.loss_and_gradient(0, batch, got.gradient.data());
  mlp.prepare(n_steps(batch), batch);
  mlp.train(1, n_steps(batch), batch, Real(0.01));
  mlp.theta(got.theta.data());
  return got;
}

template <class Real> Results<Real> expected(const Problem<Real> &problem, std::size_t batch) {
  Results<Real> wanted(batch * problem.c.sizes.back(), problem.theta.size());
  fnn::Mlp<Real> mlp = problem.plain();
  mlp.forward(rows - batch, batch, wanted.outputs.data());
  wanted.loss = mlp.loss_and_gradient(0, batch, wanted.gradient.data());
  mlp.train(1, n_steps(batch), batch, Real(0.01));
  wanted.theta.assign(mlp.theta().begin(), mlp.theta().end());
  return wanted;
}

// |a - b| by |b|, in Euclid's norm; written so that NaN is not near.
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
    std::fprintf(stderr, "%s, %zu bytes, %zu layers, batch %zu, %zu threads: not true that %s\n", c.loss.c_str(),
                 sizeof(Real), c.sizes.size() - 1, batch, threads, claim);
  return holds;
}

template <class Real> bool networks_agree(const Case &c, std::size_t most) {
  const Problem<Real> problem(c);
  bool good = true;
  Pool pools[]{Pool(1), Pool(2), Pool(3)};
  std::vector<Mlp<Real>> models;
  for (Pool &pool : pools)
    models.push_back(problem.tuned(&pool));
  for (std::size_t batch = 1; batch <= most; batch += c.step) {
    const Results<Real> wanted = expected(problem, batch), first = results(problem, models[0], batch);
    good &= check<Real>(near(first.outputs, wanted.outputs), c, batch, 1, "outputs are those of mlp.hpp");
    good &= check<Real>(std::abs(first.loss - wanted.loss) <= 1e-4 * wanted.loss, c, batch, 1, "so is the loss");
    good &= check<Real>(near(first.gradient, wanted.gradient), c, batch, 1, "so is the gradient");
    good &= check<Real>(near(first.theta, wanted.theta), c, batch, 1, "so is theta after some steps");
    for (std::size_t threads = 2; threads <= 3; ++threads) {
      const Results<Real> more = results(problem, models[threads - 1], batch);
      good &= check<Real>(same(more.outputs, first.outputs) && same(more.gradient, first.gradient) &&
                              same(more.theta, first.theta),
                          c, batch, threads, "threads do not show in the bits");
    }
    for (Mlp<Real> &mlp : models) {
      const double forward = mlp.time(Operation::forward, 0, batch, 3).checksum;
      const double gradient = mlp.time(Operation::gradient, rows - batch, batch, 3).checksum;
      good &= check<Real>(std::isfinite(forward) && std::isfinite(gradient), c, batch, 1, "checksums are finite");
    }
  }
  return good;
}

// Five networks, more than there are threads: each ends where it would alone.
template <class Real> bool ensembles_agree(const Case &c) {
  constexpr std::size_t members = 5, steps = 23;
  const Problem<Real> problem(c);
  const std::size_t n_parameters = problem.theta.size();
  std::vector<Real> thetas, ends(members * n_parameters), alone(n_parameters);
  std::vector<std::int64_t> orders;
  std::vector<double> l2, rates;
  for (std::size_t k = 0; k < members; ++k) {
    for (const Real value : problem.theta)
      thetas.push_back(value * (1 + Real(0.1) * Real(k)));
    orders.insert(orders.end(), problem.order.begin() + k, problem.order.begin() + k + steps);
    l2.push_back(0.01 * static_cast<double>(k));
    rates.push_back(0.01 + 0.01 * static_cast<double>(k));
  }
  bool good = true;
  for (std::size_t threads = 1; threads <= 3; ++threads)
    for (const std::size_t batch : {std::size_t(1), std::size_t(2), std::size_t(7)}) {
      Pool pool(threads);
      Ensemble<Real> many(c.sizes, c.functions, c.loss, l2.data(), thetas.data(), members, n_parameters, &pool);
      many.load(problem.data(), orders.data(), steps);
      many.train(0, steps, batch, rates.data());
      many.reset();
      many.train(0, steps, batch, rates.data());
      many.thetas(ends.data());
      for (std::size_t k = 0; k < members; ++k) {
        Mlp<Real> mlp(c.sizes, c.functions, c.loss, l2[k], thetas.data() + k * n_parameters, nullptr);
        mlp.load(problem.data(), orders.data() + k * steps, steps);
        mlp.prepare(steps, batch);
        mlp.train(0, steps, batch, static_cast<Real>(rates[k]));
        mlp.theta(alone.data());
        const std::vector<Real> end(ends.begin() + k * n_parameters, ends.begin() + (k + 1) * n_parameters);
        good &= check<Real>(same(end, alone), c, batch, threads, "a member ends where it would alone");
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
  std::fprintf(stderr, "an unknown activation was taken\n");
  return false;
}

} // namespace

// argv[1]: the largest batch, 70 if not given (valgrind is patient, who waits for it is not)
int main(int argc, char **argv) {
  const std::size_t most = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : rows;
  bool good = unknown_names_are_refused();
  for (const Case &c : cases) {
    good &= networks_agree<float>(c, most);
    good &= networks_agree<double>(c, most);
    good &= ensembles_agree<float>(c);
    good &= ensembles_agree<double>(c);
  }
  std::printf("%zu-byte vectors: %s\n", vector_bytes, good ? "all good" : "FAILED");
  return good ? 0 : 1;
}
