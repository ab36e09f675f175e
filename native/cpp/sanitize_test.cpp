// sanitize_test.cpp: calls every method of mlp.hpp under sanitizers, at odd sizes, and compares its gradient with
// central differences. It exits with 1 on a mismatch. The Python tests compare with the oracle; this program measures
// no speed. With PRODUCTS defined as TripleLoops it does the same with the products of textbook.hpp.
#include "textbook.hpp"

#include <cstdio>
#include <random>

#ifndef PRODUCTS
#define PRODUCTS Loops
#endif

namespace {

template <class Real> using Mlp = fnn::Mlp<Real, fnn::PRODUCTS<Real>>;

struct Case {
  std::vector<std::size_t> sizes;
  std::vector<fnn::LayerFunction> functions;
  std::string loss;
  double l2;
};

const std::vector<Case> cases{
    {{3, 1}, {{"identity", 0}}, "squared_error", 0.0},
    {{1, 1, 1}, {{"tanh", 0}, {"sigmoid", 0}}, "half_squared_error", 0.1},
    {{5, 7, 3}, {{"relu", 0}, {"tanh", 0}}, "squared_error", 0.01},
    {{9, 13, 8, 5}, {{"tanh", 0}, {"sigmoid", 0}, {"softmax", 0}}, "softmax_cross_entropy", 0.01},
    {{2, 17, 33, 4}, {{"sigmoid", 0}, {"identity", 0}, {"sigmoid", 0}}, "sigmoid_cross_entropy", 0.0},
    {{7, 5, 9, 3}, {{"leaky_relu", -0.3}, {"elu", 0.5}, {"softplus", 0}}, "squared_error", 0.01},
    {{7, 9, 3}, {{"hard_sigmoid", 0}, {"hard_tanh", 0}}, "half_squared_error", 0.01},
    {{7, 5, 9, 3}, {{"prelu", 0.25}, {"maxout", 3}, {"identity", 0}}, "squared_error", 0.01},
    {{3, 6, 5, 4}, {{"maxout", 2}, {"prelu", -0.5}, {"softmax", 0}}, "softmax_cross_entropy", 0.01},
};

constexpr std::size_t rows = 11;

// The arguments of a model, drawn from one seed. Targets are rows that sum to 1, which every loss accepts.
template <class Real> struct Problem {
  std::vector<Real> theta, x, y;
  std::vector<std::int64_t> order;

  Problem(const Case &c, unsigned seed) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<double> uniform(-1, 1);
    std::size_t n_parameters = 0;
    for (std::size_t l = 1; l < c.sizes.size(); ++l) {
      const auto &[name, parameter] = c.functions[l - 1];
      const std::size_t pieces = name == "maxout" ? static_cast<std::size_t>(parameter) : 1;
      n_parameters += (c.sizes[l - 1] + 1) * c.sizes[l] * pieces + (name == "prelu" ? c.sizes[l] : 0);
    }
    for (std::size_t i = 0; i < n_parameters; ++i)
      theta.push_back(static_cast<Real>(uniform(generator)));
    for (std::size_t i = 0; i < rows * c.sizes.front(); ++i)
      x.push_back(static_cast<Real>(uniform(generator)));
    y.assign(rows * c.sizes.back(), 0);
    for (std::size_t n = 0; n < rows; ++n)
      y[n * c.sizes.back() + generator() % c.sizes.back()] = 1;
    for (std::size_t i = 0; i < 2 * rows; ++i)
      order.push_back(static_cast<std::int64_t>(generator() % rows));
  }

  Mlp<Real> model(const Case &c) const {
    Mlp<Real> mlp(c.sizes, c.functions, c.loss, c.l2, theta.data());
    mlp.load(x.data(), y.data(), rows, order.data(), order.size());
    return mlp;
  }
};

template <class Real> bool equal(const fnn::Buffer<Real> &found, const std::vector<Real> &expected) {
  return std::equal(found.begin(), found.end(), expected.begin(), expected.end());
}

bool check(bool holds, const Case &c, const char *claim) {
  if (!holds)
    std::fprintf(stderr, "%s, %zu layers: failed: %s\n", c.loss.c_str(), c.sizes.size() - 1, claim);
  return holds;
}

// Train by each optimizer in one call, and again in two, with the state set in between.
template <class Real> bool every_optimizer_keeps_its_state(Mlp<Real> &mlp, std::size_t batch) {
  const std::pair<const char *, std::vector<double>> optimizers[] = {
      {"momentum", {0.9}}, {"nesterov", {0.9}}, {"adam", {0.9, 0.99, 1e-3}}};
  const std::vector<Real> zeros(2 * mlp.n_parameters());
  bool good = true;
  for (const auto &[name, settings] : optimizers) {
    mlp.reset();
    mlp.set_optimizer(name, settings, 0, zeros.data());
    mlp.train_with(0, batch + rows, batch, 0.01);
    const auto whole = mlp.theta();
    mlp.reset();
    mlp.set_optimizer(name, settings, 0, zeros.data());
    mlp.train_with(0, batch, batch, 0.01);
    std::vector<Real> state(mlp.optimizer_vectors() * mlp.n_parameters());
    mlp.copy_optimizer_state(state.data());
    mlp.set_optimizer(name, settings, mlp.optimizer_steps(), state.data());
    mlp.train_with(batch, rows, batch, 0.01);
    good &= mlp.theta() == whole;
  }
  return good;
}

// Call every method at batch sizes that grow, shrink and leave a short last batch. A second model, trained in between,
// must not change the results.
template <class Real> bool every_method_works(const Case &c) {
  const Problem<Real> problem(c, 1), other_problem(c, 2);
  Mlp<Real> mlp = problem.model(c), other = other_problem.model(c);
  std::vector<Real> outputs(rows * mlp.n_outputs()), gradient(problem.theta.size()), again(gradient.size());
  bool good = true;
  for (const std::size_t count : {std::size_t{1}, std::size_t{4}, rows, std::size_t{3}}) {
    mlp.outputs(rows - count, count, outputs.data());
    const double loss = mlp.loss_and_gradient(0, count, gradient.data());
    other.train(0, 2 * rows, count, 0.01);
    const double loss_again = mlp.loss_and_gradient(0, count, again.data());
    good &= check(loss == loss_again && gradient == again, c, "the same call twice gives the same bits");
    const std::int64_t last_output = count * mlp.n_outputs() - 1, last_parameter = gradient.size() - 1;
    const std::int64_t of_outputs[] = {0, last_output}, of_gradient[] = {last_parameter, 0, last_parameter / 2};
    const fnn::Timing forward = mlp.timed_pass(fnn::Operation::forward, 0, count, 5, of_outputs, 2);
    const fnn::Timing backward = mlp.timed_pass(fnn::Operation::gradient, rows - count, count, 5, of_gradient, 3);
    good &= check(std::isfinite(forward.checksum) && std::isfinite(backward.checksum), c, "the checksums are finite");
    good &= check(every_optimizer_keeps_its_state(mlp, count), c, "an optimizer continues from its state");
    mlp.reset();
    good &= check(mlp.train(1, 2 * rows - 1, count, 0.01) >= 0, c, "train returns a time");
    good &= check(!equal(mlp.theta(), problem.theta), c, "train changes theta");
    mlp.load(problem.x.data(), problem.y.data(), rows, problem.order.data(), 2 * rows);
    mlp.reset();
    good &= check(equal(mlp.theta(), problem.theta), c, "reset restores theta");
    good &= check(mlp.is_finite(), c, "theta is finite");
    good &= check(reinterpret_cast<std::uintptr_t>(mlp.theta().data()) % 64 == 0, c, "arrays start at a cache line");
  }
  return good;
}

bool gradient_agrees_with_central_differences(const Case &c) {
  const Problem<double> problem(c, 3);
  const std::size_t n = problem.theta.size();
  std::vector<double> gradient(n), unused(n);
  problem.model(c).loss_and_gradient(0, rows, gradient.data());
  double worst = 0, norm = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double h = 1e-6;
    Problem<double> above = problem, below = problem;
    above.theta[i] += h;
    below.theta[i] -= h;
    const double difference = (above.model(c).loss_and_gradient(0, rows, unused.data()) -
                               below.model(c).loss_and_gradient(0, rows, unused.data())) /
                              (2 * h);
    worst = std::max(worst, std::abs(difference - gradient[i]));
    norm = std::max(norm, std::abs(gradient[i]));
  }
  std::printf("%-22s %zu layers: gradient error %.1e of its largest entry\n", c.loss.c_str(), c.sizes.size() - 1,
              worst / norm);
  return check(worst <= 1e-7 * norm, c, "the gradient agrees with central differences");
}

// Check logits of +-1000. The network has no hidden layer and unit weights, so the logits are its inputs.
template <class Real> bool extreme_logits_stay_finite(const Case &c) {
  const std::vector<Real> theta{1, 0, 0, 1, 0, 0}, x{1000, -1000, -1000, 1000}, y{0, 1, 0, 1};
  const std::vector<std::int64_t> order{0, 1};
  Mlp<Real> mlp(c.sizes, c.functions, c.loss, c.l2, theta.data());
  mlp.load(x.data(), y.data(), 2, order.data(), 2);
  std::vector<Real> outputs(4), gradient(6);
  mlp.outputs(0, 2, outputs.data());
  const bool finite = std::isfinite(mlp.loss_and_gradient(0, 2, gradient.data()));
  return check(finite && std::all_of(gradient.begin(), gradient.end(), [](Real g) { return std::isfinite(g); }), c,
               "logits of +-1000 give a finite loss and gradient");
}

bool unknown_names_are_refused() {
  const double theta[] = {0, 0};
  try {
    Mlp<double>({1, 1}, {{"swish", 0}}, "squared_error", 0, theta);
  } catch (const std::invalid_argument &) {
    return true;
  }
  std::fprintf(stderr, "an unknown activation was accepted\n");
  return false;
}

} // namespace

int main() {
  bool good = unknown_names_are_refused();
  for (const Case &c : cases) {
    good &= every_method_works<float>(c);
    good &= every_method_works<double>(c);
    good &= gradient_agrees_with_central_differences(c);
  }
  for (const Case &c : {Case{{2, 2}, {{"softmax", 0}}, "softmax_cross_entropy", 0},
                        Case{{2, 2}, {{"sigmoid", 0}}, "sigmoid_cross_entropy", 0}}) {
    good &= extreme_logits_stay_finite<float>(c);
    good &= extreme_logits_stay_finite<double>(c);
  }
  std::puts(good ? "all good" : "FAILED");
  return good ? 0 : 1;
}
