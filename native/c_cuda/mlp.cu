/* mlp.cu: fnn.h on an NVIDIA GPU: arguments checked, exceptions turned into a status and its words.
 *
 * The networks themselves are in networks.hpp. What this file does not do: keep anything outside a model, or print.
 */
#pragma GCC visibility push(default) /* what fnn.h declares is all that this library exports */
#include "fnn.h"
#pragma GCC visibility pop

#include "networks.hpp"

#include <new>

#ifndef FNN_COMPILER /* the build knows better */
#define FNN_COMPILER __VERSION__
#define FNN_FLAGS "unknown"
#endif
#ifndef FNN_NAME
#define FNN_NAME "cuda"
#endif

struct fnn_model {
  std::string error;
  bool many = false;
  std::unique_ptr<fnn::Model> made; /* none where fnn_create failed */
};

namespace {

using fnn::Failure;

std::string said_twice(const fnn::Unusable &why) {
  return why.reason + " (" + why.remedy + ")";
}

/* What `work` returns, or throws. */
template <typename Work> int guarded(std::string &error, Work work) {
  try {
    error.clear();
    work();
    return FNN_OK;
  } catch (const Failure &failure) {
    error = failure.what();
    return failure.status;
  } catch (const fnn::Unusable &why) {
    error = said_twice(why);
    return FNN_DEVICE;
  } catch (const std::bad_alloc &) {
    error = "no memory on the host";
    return FNN_NO_MEMORY;
  } catch (const std::exception &other) {
    error = other.what();
    return FNN_DEVICE;
  }
}

/* How every call on a model starts: its device is this thread's. */
template <typename Work> int with(fnn_model *model, bool many, Work work) {
  if (model == nullptr)
    return FNN_INVALID;
  return guarded(model->error, [&] {
    if (!model->made)
      throw Failure(FNN_INVALID, "this model was never made: fnn_create failed");
    if (model->many != many)
      throw Failure(FNN_INVALID, many ? "this is one network, not many" : "these are many networks, not one");
    CHECK(cudaSetDevice, model->made->device.ordinal);
    work(*model->made);
  });
}

void check_not_null(std::initializer_list<const void *> pointers, const char *rule) {
  for (const void *pointer : pointers)
    if (pointer == nullptr)
      throw Failure(FNN_INVALID, rule);
}

/* [first, first + count) must lie within the rows, or within the entries of order. */
void check_range(const fnn::Model &made, int64_t first, int64_t count, bool of_order) {
  const int64_t length = of_order ? made.n_order : made.rows;
  if (length == 0)
    throw Failure(FNN_INVALID, "no data yet: call fnn_load first");
  if (first < 0 || count < 1 || count > length || first > length - count)
    throw Failure(FNN_INVALID, "first = " + std::to_string(first) + ", count = " + std::to_string(count) +
                                   ": must lie within the " + std::to_string(length) +
                                   (of_order ? " entries of order" : " rows"));
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
    fnn::Network(*network, 1); /* its errors come before the device's */
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
      model->made = std::make_unique<fnn::Networks<float>>(*network, device, members, thetas, each);
    else
      model->made = std::make_unique<fnn::Networks<double>>(*network, device, members, thetas, each);
  });
}

void load(fnn::Model &made, const void *x, const void *y, int64_t rows, const int64_t *orders, int64_t n_order) {
  check_not_null({x, y, orders}, "x, y and order must not be NULL");
  if (rows < 1 || n_order < 1)
    throw Failure(FNN_INVALID,
                  "rows = " + std::to_string(rows) + ", n_order = " + std::to_string(n_order) + ": must be at least 1");
  for (int64_t i = 0; i < made.members * n_order; i++)
    if (orders[i] < 0 || orders[i] >= rows)
      throw Failure(FNN_INVALID, "order[" + std::to_string(i) + "] = " + std::to_string(orders[i]) +
                                     ": row numbers lie in [0, " + std::to_string(rows) + ")");
  made.load(x, y, rows, orders, n_order);
}

void train(fnn::Model &made, int64_t first, int64_t count, int64_t batch_size, const double *rates, double *seconds) {
  check_range(made, first, count, true);
  check_not_null({rates, seconds}, "learning_rates and seconds must not be NULL");
  if (batch_size < 1)
    throw Failure(FNN_INVALID, "batch_size = " + std::to_string(batch_size) + ": must be at least 1");
  for (int64_t k = 0; k < made.members; k++)
    if (!(rates[k] > 0 && rates[k] < INFINITY))
      throw Failure(FNN_INVALID, "learning_rate = " + std::to_string(rates[k]) + ": must be finite and above 0");
  *seconds = made.train(first, count, std::min(batch_size, count), rates);
}

/* The device's name, and cuBLAS's version, where there are such: a result without them could not be repeated. */
std::string what_it_runs_on() {
  try {
    cudaDeviceProp properties;
    CHECK(cudaGetDeviceProperties, &properties, fnn::choose_device().ordinal);
    std::string words = std::string("; device ") + properties.name;
#ifdef FNN_BLAS
    words += "; cuBLAS " + fnn::Blas::version();
#endif
    return words;
  } catch (...) {
    return ""; /* fnn_unavailable says why */
  }
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
                                   what_it_runs_on() +
                                   "\n"
                                   "clock=std::chrono::steady_clock\n"
                                   "activations=identity,sigmoid,tanh,relu\n"
                                   "losses=squared_error,half_squared_error,softmax_cross_entropy,"
                                   "sigmoid_cross_entropy\n"
                                   "arithmetic=native\n"
                                   "deterministic=yes\n"
                                   "many=yes\n";
  return about.c_str();
}

const char *fnn_unavailable(void) {
  thread_local std::string words;
  try {
    fnn::choose_device();
#ifdef FNN_BLAS
    fnn::Blas::open();
#endif
    return nullptr;
  } catch (const fnn::Unusable &why) {
    words = why.reason + "\n" + why.remedy;
  } catch (const std::exception &other) {
    words = other.what();
  }
  return words.c_str();
}

int fnn_create(const fnn_network *network, const void *theta, fnn_model **model) {
  return create(network, 1, theta, nullptr, false, model);
}

int fnn_create_many(const fnn_network *network, int64_t members, const void *thetas, const double *l2s,
                    fnn_model **model) {
  return create(network, members, thetas, l2s, true, model);
}

void fnn_destroy(fnn_model *model) {
  if (model != nullptr && model->made)
    cudaSetDevice(model->made->device.ordinal);
  delete model;
}

const char *fnn_last_error(const fnn_model *model) {
  return model == nullptr ? "out of memory" : model->error.c_str();
}

int32_t fnn_threads(const fnn_model *) {
  return 1;
}

int fnn_load(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *order, int64_t n_order) {
  return with(model, false, [&](fnn::Model &made) { load(made, x, y, rows, order, n_order); });
}

int fnn_load_many(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *orders,
                  int64_t n_order) {
  return with(model, true, [&](fnn::Model &made) { load(made, x, y, rows, orders, n_order); });
}

int fnn_forward(fnn_model *model, int64_t first, int64_t count, void *outputs) {
  return with(model, false, [&](fnn::Model &made) {
    check_range(made, first, count, false);
    check_not_null({outputs}, "a pointer to write to is NULL");
    made.forward(first, count, outputs);
  });
}

int fnn_loss_and_gradient(fnn_model *model, int64_t first, int64_t count, double *loss, void *gradient) {
  return with(model, false, [&](fnn::Model &made) {
    check_range(made, first, count, false);
    check_not_null({loss, gradient}, "a pointer to write to is NULL");
    *loss = made.loss_and_gradient(first, count, gradient);
  });
}

int fnn_train(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
              double *seconds) {
  return with(model, false, [&](fnn::Model &made) { train(made, first, count, batch_size, &learning_rate, seconds); });
}

int fnn_train_many(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, const double *learning_rates,
                   double *seconds) {
  return with(model, true, [&](fnn::Model &made) { train(made, first, count, batch_size, learning_rates, seconds); });
}

int fnn_time(fnn_model *model, int32_t operation, int64_t first, int64_t count, int64_t repeats, double *seconds,
             double *checksum) {
  return with(model, false, [&](fnn::Model &made) {
    check_range(made, first, count, false);
    check_not_null({seconds, checksum}, "a pointer to write to is NULL");
    if (operation != FNN_FORWARD && operation != FNN_GRADIENT)
      throw Failure(FNN_INVALID, "operation = " + std::to_string(operation) + ": 0 is forward, 1 is gradient");
    if (repeats < 1)
      throw Failure(FNN_INVALID, "repeats = " + std::to_string(repeats) + ": must be at least 1");
    *seconds = made.time(operation, first, count, repeats, checksum);
  });
}

int fnn_theta(fnn_model *model, void *theta) {
  return with(model, model != nullptr && model->many, [&](fnn::Model &made) {
    check_not_null({theta}, "theta must not be NULL");
    made.theta(theta);
  });
}

int fnn_reset(fnn_model *model) {
  return with(model, model != nullptr && model->many, [&](fnn::Model &made) { made.reset(); });
}

int fnn_device_seconds(const fnn_model *model, double *seconds) {
  if (model == nullptr || !model->made || seconds == nullptr || std::isnan(model->made->milliseconds))
    return FNN_INVALID;
  *seconds = 1e-3 * double(model->made->milliseconds);
  return FNN_OK;
}
