/* mlp.cu: fnn.h on an NVIDIA GPU: checks arguments, and turns exceptions into a status and a message.
 *
 * The networks are in networks.hpp. Nothing is kept outside a model.
 */
#pragma GCC visibility push(default) /* export what fnn.h declares, and nothing else */
#include "fnn.h"
#pragma GCC visibility pop

#include "networks.hpp"

#include <new>

#ifndef FNN_COMPILER /* the build defines both */
#define FNN_COMPILER __VERSION__
#define FNN_FLAGS "unknown"
#endif
#ifndef FNN_NAME
#define FNN_NAME "cuda"
#endif

struct fnn_model {
  std::string error;
  bool many = false;
  std::unique_ptr<fnn::Model> networks; /* NULL where fnn_create failed */
};

namespace {

using fnn::Failure;

/* Run `work`, and turn an exception into a status and a message. */
template <typename Work> int guarded(std::string &error, Work work) {
  try {
    error.clear();
    work();
    return FNN_OK;
  } catch (const Failure &failure) {
    error = failure.what();
    return failure.status;
  } catch (const fnn::DeviceUnavailable &unavailable) {
    error = unavailable.reason + " (" + unavailable.remedy + ")";
    return FNN_DEVICE;
  } catch (const std::bad_alloc &) {
    error = "no memory on the host";
    return FNN_NO_MEMORY;
  } catch (const std::exception &other) {
    error = other.what();
    return FNN_DEVICE;
  }
}

/* Start a call on a model: refuse a handle of the wrong kind, and select the model's device. */
template <typename Work> int with(fnn_model *model, bool many, Work work) {
  if (model == nullptr)
    return FNN_INVALID;
  return guarded(model->error, [&] {
    if (!model->networks)
      throw Failure(FNN_INVALID, "this model was never made: fnn_create failed");
    if (model->many != many)
      throw Failure(FNN_INVALID, many ? "this is one network, not many" : "these are many networks, not one");
    CHECK(cudaSetDevice, model->networks->device.ordinal);
    work(*model->networks);
  });
}

void check_not_null(std::initializer_list<const void *> pointers, const char *rule) {
  for (const void *pointer : pointers)
    if (pointer == nullptr)
      throw Failure(FNN_INVALID, rule);
}

/* Check that [first, first + count) lies within the rows, or within the entries of order. */
void check_range(const fnn::Model &networks, int64_t first, int64_t count, bool of_order) {
  const int64_t length = of_order ? networks.n_order : networks.rows;
  if (length == 0)
    throw Failure(FNN_INVALID, "no data yet: call fnn_load first");
  if (first < 0 || count < 1 || count > length || first > length - count)
    throw Failure(FNN_INVALID, "first = " + std::to_string(first) + ", count = " + std::to_string(count) +
                                   ": must lie within the " + std::to_string(length) +
                                   (of_order ? " entries of order" : " rows"));
}

/* Check that every probe names one of `entries` numbers. */
void check_probes(const int64_t *probes, int64_t n_probes, int64_t entries) {
  check_not_null({probes}, "probes must not be NULL");
  if (n_probes < 1)
    throw Failure(FNN_INVALID, "n_probes = " + std::to_string(n_probes) + ": must be at least 1");
  for (int64_t i = 0; i < n_probes; i++)
    if (probes[i] < 0 || probes[i] >= entries)
      throw Failure(FNN_INVALID, "probes[" + std::to_string(i) + "] = " + std::to_string(probes[i]) +
                                     ": must lie in [0, " + std::to_string(entries) + ")");
}

int create(const fnn_network *network, int64_t members, const void *thetas, const double *l2s, bool many,
           fnn_model **handle) {
  if (handle == nullptr)
    return FNN_INVALID;
  fnn_model *model = *handle = new (std::nothrow) fnn_model;
  if (model == nullptr)
    return FNN_NO_MEMORY;
  model->many = many;
  return guarded(model->error, [&] {
    fnn::check_fields(network);
    fnn::Network(*network, 1); /* report errors of the network before those of the device */
    check_not_null({thetas}, "theta must not be NULL");
    const std::vector<double> same(many ? 0 : 1, network->l2);
    const double *each = many ? l2s : same.data();
    if (many)
      check_not_null({l2s}, "l2s must not be NULL");
    if (members < 1)
      throw Failure(FNN_INVALID, "members = " + std::to_string(members) + ": must be at least 1");
    for (int64_t k = 0; k < members; k++)
      if (!(each[k] >= 0 && each[k] < INFINITY))
        throw Failure(FNN_INVALID, "l2s[" + std::to_string(k) + "] must be finite, 0 or more");
    const fnn::Device device = fnn::choose_device();
    CHECK(cudaSetDevice, device.ordinal);
    if (network->dtype == FNN_FLOAT32)
      model->networks = std::make_unique<fnn::Networks<float>>(*network, device, members, thetas, each);
    else
      model->networks = std::make_unique<fnn::Networks<double>>(*network, device, members, thetas, each);
  });
}

void load(fnn::Model &networks, const void *x, const void *y, int64_t rows, const int64_t *orders, int64_t n_order) {
  check_not_null({x, y, orders}, "x, y and order must not be NULL");
  if (rows < 1 || n_order < 1)
    throw Failure(FNN_INVALID,
                  "rows = " + std::to_string(rows) + ", n_order = " + std::to_string(n_order) + ": must be at least 1");
  for (int64_t i = 0; i < networks.members * n_order; i++)
    if (orders[i] < 0 || orders[i] >= rows)
      throw Failure(FNN_INVALID, "order[" + std::to_string(i) + "] = " + std::to_string(orders[i]) +
                                     ": row numbers lie in [0, " + std::to_string(rows) + ")");
  networks.load(x, y, rows, orders, n_order);
}

void train(fnn::Model &networks, int64_t first, int64_t count, int64_t batch_size, const double *rates,
           double *seconds) {
  check_range(networks, first, count, true);
  check_not_null({rates, seconds}, "learning_rates and seconds must not be NULL");
  if (batch_size < 1)
    throw Failure(FNN_INVALID, "batch_size = " + std::to_string(batch_size) + ": must be at least 1");
  for (int64_t k = 0; k < networks.members; k++)
    if (!(rates[k] > 0 && rates[k] < INFINITY))
      throw Failure(FNN_INVALID, "learning_rate = " + std::to_string(rates[k]) + ": must be finite and above 0");
  *seconds = networks.train(first, count, std::min(batch_size, count), rates);
}

/* Return the names of the device and of cuBLAS, which a result needs to be repeatable. */
std::string hardware() {
  try {
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties, &properties, fnn::choose_device().ordinal);
    std::string text = std::string("; device ") + properties.name;
#ifdef FNN_CUBLAS
    text += "; cuBLAS " + fnn::Cublas::version();
#endif
    return text;
  } catch (...) {
    return ""; /* fnn_unavailable gives the reason */
  }
}

std::string activation_names() {
  std::string names;
  for (int row = 0; row < int(std::size(fnn::activations)); row++)
    if (fnn::is_elementwise(row))
      names += (names.empty() ? "" : ",") + std::string(fnn::activations[row].name);
  return names;
}

std::string loss_names() {
  std::string names;
  for (const fnn::LossRow &loss : fnn::losses)
    names += (names.empty() ? "" : ",") + std::string(loss.name);
  return names;
}

} // namespace

int32_t fnn_version(void) {
  return FNN_VERSION;
}

const char *fnn_about(void) {
  static const std::string about = "name=" FNN_NAME "\n"
                                   "language=CUDA\n"
                                   "compiler=" FNN_COMPILER "\n"
                                   "flags=" FNN_FLAGS +
                                   hardware() +
                                   "\n"
                                   "clock=std::chrono::steady_clock\n"
                                   "activations=" +
                                   activation_names() +
                                   "\n"
                                   "losses=" +
                                   loss_names() +
                                   "\n"
                                   "arithmetic=native\n"
                                   "deterministic=yes\n"
                                   "many=yes\n";
  return about.c_str();
}

const char *fnn_unavailable(void) {
  thread_local std::string message;
  try {
    fnn::choose_device();
#ifdef FNN_CUBLAS
    fnn::Cublas::open();
#endif
    return nullptr;
  } catch (const fnn::DeviceUnavailable &unavailable) {
    message = unavailable.reason + "\n" + unavailable.remedy;
  } catch (const std::exception &other) {
    message = other.what();
  }
  return message.c_str();
}

int fnn_create(const fnn_network *network, const void *theta, fnn_model **model) {
  return create(network, 1, theta, nullptr, false, model);
}

int fnn_create_many(const fnn_network *network, int64_t members, const void *thetas, const double *l2s,
                    fnn_model **model) {
  return create(network, members, thetas, l2s, true, model);
}

void fnn_destroy(fnn_model *model) {
  if (model != nullptr && model->networks)
    cudaSetDevice(model->networks->device.ordinal);
  delete model;
}

const char *fnn_last_error(const fnn_model *model) {
  return model == nullptr ? "out of memory" : model->error.c_str();
}

int32_t fnn_threads(const fnn_model *) {
  return 1;
}

int fnn_load(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *order, int64_t n_order) {
  return with(model, false, [&](fnn::Model &networks) { load(networks, x, y, rows, order, n_order); });
}

int fnn_load_many(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *orders,
                  int64_t n_order) {
  return with(model, true, [&](fnn::Model &networks) { load(networks, x, y, rows, orders, n_order); });
}

int fnn_forward(fnn_model *model, int64_t first, int64_t count, void *outputs) {
  return with(model, false, [&](fnn::Model &networks) {
    check_range(networks, first, count, false);
    check_not_null({outputs}, "a pointer to write to is NULL");
    networks.forward(first, count, outputs);
  });
}

int fnn_loss_and_gradient(fnn_model *model, int64_t first, int64_t count, double *loss, void *gradient) {
  return with(model, false, [&](fnn::Model &networks) {
    check_range(networks, first, count, false);
    check_not_null({loss, gradient}, "a pointer to write to is NULL");
    *loss = networks.loss_and_gradient(first, count, gradient);
  });
}

int fnn_train(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
              double *seconds) {
  return with(model, false,
              [&](fnn::Model &networks) { train(networks, first, count, batch_size, &learning_rate, seconds); });
}

int fnn_train_many(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, const double *learning_rates,
                   double *seconds) {
  return with(model, true,
              [&](fnn::Model &networks) { train(networks, first, count, batch_size, learning_rates, seconds); });
}

int fnn_time(fnn_model *model, int32_t operation, int64_t first, int64_t count, int64_t repeats, const int64_t *probes,
             int64_t n_probes, double *seconds, double *checksum) {
  return with(model, false, [&](fnn::Model &networks) {
    check_range(networks, first, count, false);
    check_not_null({seconds, checksum}, "a pointer to write to is NULL");
    if (operation != FNN_FORWARD && operation != FNN_GRADIENT)
      throw Failure(FNN_INVALID, "operation = " + std::to_string(operation) + ": 0 is forward, 1 is gradient");
    if (repeats < 1)
      throw Failure(FNN_INVALID, "repeats = " + std::to_string(repeats) + ": must be at least 1");
    check_probes(probes, n_probes, operation == FNN_FORWARD ? count * networks.n_outputs() : networks.n_parameters());
    *seconds = networks.time(operation, first, count, repeats, probes, n_probes, checksum);
  });
}

int fnn_theta(fnn_model *model, void *theta) {
  return with(model, model != nullptr && model->many, [&](fnn::Model &networks) {
    check_not_null({theta}, "theta must not be NULL");
    networks.theta(theta);
  });
}

int fnn_set_theta(fnn_model *model, const void *theta) {
  return with(model, false, [&](fnn::Model &networks) {
    check_not_null({theta}, "theta must not be NULL");
    networks.set_theta(theta);
  });
}

int fnn_reset(fnn_model *model) {
  return with(model, model != nullptr && model->many, [&](fnn::Model &networks) { networks.reset(); });
}

int fnn_device_seconds(const fnn_model *model, double *seconds) {
  if (model == nullptr || !model->networks || seconds == nullptr || std::isnan(model->networks->timer.milliseconds))
    return FNN_INVALID;
  *seconds = 1e-3 * double(model->networks->timer.milliseconds);
  return FNN_OK;
}
