/* networks.hpp: what fnn.h asks of networks on the device, and the choice between the two ways to train: spread over
 * the device, or a persistent kernel. Arguments have been checked (mlp.cu).
 */
#pragma once
#include "spread.hpp"
#ifndef FNN_CUBLAS
#include "persistent_plan.hpp"
#endif

#include <memory>
#include <optional>

namespace fnn {

/* Networks of either dtype. Seconds are of the host's clock. */
class Model {
public:
  explicit Model(const Device &chosen, int64_t n) : device(chosen), members(n) {}
  virtual ~Model() = default;
  virtual void load(const void *x, const void *y, int64_t rows, const int64_t *orders, int64_t n_order) = 0;
  virtual void forward(int64_t first, int64_t count, void *outputs) = 0;
  virtual double loss_and_gradient(int64_t first, int64_t count, void *gradient) = 0;
  virtual double train(int64_t first, int64_t count, int64_t batch, const double *rates) = 0;
  virtual int64_t n_outputs() const = 0;
  virtual int64_t n_parameters() const = 0;
  virtual double time(int32_t operation, int64_t first, int64_t count, int64_t repeats, const int64_t *probes,
                      int64_t n_probes, double *checksum) = 0;
  virtual void theta(void *thetas) = 0;
  virtual void set_theta(const void *thetas) = 0;
  virtual void reset() = 0;

  const Device device;
  const int64_t members;
  int64_t rows = 0, n_order = 0; /* 0 until load */
  Timer timer;
};

template <typename Real> class Networks final : public Model {
public:
  Networks(const fnn_network &given, const Device &chosen, int64_t n, const void *thetas, const double *l2s)
      : Model(chosen, n), storage_(given, n, thetas, l2s), spread_(storage_, chosen, timer.stream) {
#ifndef FNN_CUBLAS
    prepare(persistent_train<Real, 1>,
            device.shared_bytes); /* the most of any plan: models on other threads launch it too */
    prepare(persistent_train<Real, 4>, device.shared_bytes);
#endif
  }

  void load(const void *x, const void *y, int64_t n, const int64_t *orders, int64_t length) override {
    storage_.load(x, y, n, orders, length);
    rows = n, n_order = length;
    spread_.forget_graphs();
  }

  void forward(int64_t first, int64_t count, void *into) override {
    spread_.reserve(count);
    const Matrix<Real> A = spread_.outputs(first, count);
    timer.synchronize();
    storage_.outputs_to_host(A, count, static_cast<Real *>(into));
  }

  double loss_and_gradient(int64_t first, int64_t count, void *gradient) override {
    spread_.reserve(count);
    spread_.clear_results();
    spread_.loss_and_gradient(first, count);
    timer.synchronize();
    const double loss = spread_.loss();
    storage_.unpad(storage_.gradient.data(), 1, static_cast<Real *>(gradient));
    return loss;
  }

  double train(int64_t first, int64_t count, int64_t batch, const double *rates) override {
    to_device(storage_.learning_rates.data(), rates, members);
#ifndef FNN_CUBLAS
    if (const std::optional<PersistentPlan<Real>> plan =
            plan_persistent<Real>(storage_.network, device, members, batch))
      return train_persistent(*plan, first, count);
#endif
    return spread_.train(timer, first, count, batch, rates);
  }

  int64_t n_outputs() const override {
    return storage_.outputs();
  }
  int64_t n_parameters() const override {
    return storage_.n_parameters();
  }

  double time(int32_t operation, int64_t first, int64_t count, int64_t repeats, const int64_t *probes, int64_t n_probes,
              double *checksum) override {
    spread_.reserve(count);
    spread_.clear_results();
    std::vector<int64_t> probed(probes, probes + n_probes);
    for (int64_t &entry : probed)
      entry = operation == FNN_FORWARD ? storage_.place_of_output(entry) : storage_.place_of_parameter(entry);
    const int64_t places = rows - count + 1;
    const double seconds = timer.seconds([&] {
      const int64_t *at = probed.data(), *const end = at + n_probes;
      for (int64_t r = 0, s = first; r < repeats; r++, s = (s + count) % places) {
        spread_.timed_pass(operation, s, count, *at);
        at = at + 1 < end ? at + 1 : probed.data();
      }
    });
    *checksum = spread_.checksum();
    return seconds;
  }

  void theta(void *thetas) override {
    storage_.unpad(storage_.theta.data(), members, static_cast<Real *>(thetas));
  }

  void set_theta(const void *thetas) override {
    storage_.set_theta(static_cast<const Real *>(thetas));
  }

  void reset() override {
    CHECK(cudaMemcpyAsync, storage_.theta.data(), storage_.start.data(),
          sizeof(Real) * std::size_t(storage_.theta.size()), cudaMemcpyDeviceToDevice, timer.stream);
    timer.synchronize();
  }

private:
#ifndef FNN_CUBLAS
  double train_persistent(PersistentPlan<Real> plan, int64_t first, int64_t count) {
    PersistentArguments<Real> &arguments = plan.arguments;
    arguments.x = storage_.x.data(), arguments.y = storage_.y.data(), arguments.order = storage_.order.data();
    arguments.n_order = n_order, arguments.first = first, arguments.count = count;
    arguments.theta = storage_.theta.data(), arguments.theta_size = storage_.network.theta_size;
    arguments.rates = storage_.learning_rates.data(), arguments.l2s = storage_.device_l2s.data();
    const auto kernel = arguments.batch == 1 ? persistent_train<Real, 1> : persistent_train<Real, 4>;
    return timer.seconds([&] {
      launch(timer.stream, dim3(unsigned(members)), unsigned(plan.warps) * warp_size, plan.shared_bytes,
             "the launch of persistent_train", kernel, arguments);
    });
  }
#endif

  Storage<Real> storage_;
  Spread<Real> spread_;
};

} // namespace fnn
