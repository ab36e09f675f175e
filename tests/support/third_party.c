/* third_party.c: a library written from fnn.h alone: one linear layer in double. Macros make it break the contract. */
#include "fnn.h"
#include <stdlib.h>
#include <string.h>
#ifndef VERSION
#define VERSION FNN_VERSION
#endif
#ifndef STATUS
#define STATUS FNN_OK
#endif
#ifndef ABOUT
#define ABOUT                                                                                                          \
  "name=linear\nlanguage=C\ncompiler=cc\nflags=none\nclock=none\nactivations=identity\n"                               \
  "losses=squared_error\narithmetic=float64\ndeterministic=yes\n"
#endif

struct fnn_model {
  const char *error;
  int64_t inputs, outputs;
  double *theta, *start, *x, *y;
  int64_t *order;
};

static void *copy(const void *from, int64_t bytes) {
  return memcpy(malloc(bytes), from, bytes);
}

int32_t fnn_version(void) {
  return VERSION;
}
const char *fnn_about(void) {
  return ABOUT;
}

int fnn_create(const fnn_network *network, const void *theta, fnn_model **handle) {
  fnn_model *m = *handle = calloc(1, sizeof *m);
  if (network->n_layers != 1) {
    m->error = "this library has one layer only";
    return FNN_UNSUPPORTED;
  }
  m->error = "";
  m->inputs = network->sizes[0], m->outputs = network->sizes[1];
  int64_t bytes = (m->inputs + 1) * m->outputs * sizeof(double);
  m->theta = copy(theta, bytes), m->start = copy(theta, bytes);
  return FNN_OK;
}

void fnn_destroy(fnn_model *m) {
  if (m)
    free(m->theta), free(m->start), free(m->x), free(m->y), free(m->order), free(m);
}

const char *fnn_last_error(const fnn_model *m) {
  return m ? m->error : "out of memory";
}
int32_t fnn_threads(const fnn_model *m) {
  return m != 0;
}

int fnn_load(fnn_model *m, const void *x, const void *y, int64_t rows, const int64_t *order, int64_t n_order) {
  free(m->x), free(m->y), free(m->order);
  m->x = copy(x, rows * m->inputs * sizeof(double)), m->y = copy(y, rows * m->outputs * sizeof(double));
  m->order = copy(order, n_order * sizeof(int64_t));
  m->error = STATUS ? "asked to fail" : "";
  return STATUS;
}

static double output(const fnn_model *m, int64_t row, int64_t j) {
  double z = m->theta[m->inputs * m->outputs + j];
  for (int64_t i = 0; i < m->inputs; i++)
    z += m->x[row * m->inputs + i] * m->theta[i * m->outputs + j];
  return z;
}

int fnn_forward(fnn_model *m, int64_t first, int64_t count, void *outputs) {
  for (int64_t n = 0; n < count; n++)
    for (int64_t j = 0; j < m->outputs; j++)
      ((double *)outputs)[n * m->outputs + j] = output(m, first + n, j);
  return FNN_OK;
}

/* Add one row's share of the gradient of a batch of B rows, and return its share of the loss. */
static double share(const fnn_model *m, int64_t row, int64_t B, double *gradient) {
  double loss = 0;
  for (int64_t j = 0; j < m->outputs; j++) {
    double error = output(m, row, j) - m->y[row * m->outputs + j], delta = 2 * error / B;
    loss += error * error / B;
    for (int64_t i = 0; i < m->inputs; i++)
      gradient[i * m->outputs + j] += m->x[row * m->inputs + i] * delta;
    gradient[m->inputs * m->outputs + j] += delta;
  }
  return loss;
}

int fnn_loss_and_gradient(fnn_model *m, int64_t first, int64_t count, double *loss, void *gradient) {
  memset(gradient, 0, (m->inputs + 1) * m->outputs * sizeof(double));
  *loss = 0;
  for (int64_t n = 0; n < count; n++)
    *loss += share(m, first + n, count, gradient);
  return FNN_OK;
}

int fnn_train(fnn_model *m, int64_t first, int64_t count, int64_t batch_size, double rate, double *seconds) {
  int64_t size = (m->inputs + 1) * m->outputs;
  double *gradient = malloc(size * sizeof(double));
  for (int64_t at = 0; at < count; at += batch_size) {
    int64_t B = batch_size < count - at ? batch_size : count - at;
    memset(gradient, 0, size * sizeof(double));
    for (int64_t n = 0; n < B; n++)
      share(m, m->order[first + at + n], B, gradient);
    for (int64_t i = 0; i < size; i++)
      m->theta[i] -= rate * gradient[i];
  }
  free(gradient);
  *seconds = 1e-6;
  return FNN_OK;
}

int fnn_time(fnn_model *m, int32_t op, int64_t first, int64_t count, int64_t repeats, const int64_t *probes,
             int64_t n_probes, double *seconds, double *sum) {
  *seconds = 1e-6 * repeats, *sum = op + 10 * first + 100 * count + 1000 * probes[n_probes - 1] + 10000 * n_probes;
  return FNN_OK;
}

int fnn_theta(fnn_model *m, void *theta) {
  memcpy(theta, m->theta, (m->inputs + 1) * m->outputs * sizeof(double));
  return FNN_OK;
}

#ifdef UNAVAILABLE
const char *fnn_unavailable(void) {
  return UNAVAILABLE;
}
#endif
#ifdef DEVICE_SECONDS
int fnn_device_seconds(const fnn_model *m, double *seconds) {
  return *seconds = 0.25, m ? FNN_OK : FNN_INVALID;
}
#endif
#ifdef HALF_OF_MANY
int fnn_train_many(fnn_model *m, int64_t first, int64_t count, int64_t batch, const double *rates, double *seconds) {
  return FNN_UNSUPPORTED;
}
#endif

#ifndef WITHOUT_RESET
int fnn_reset(fnn_model *m) {
  memcpy(m->theta, m->start, (m->inputs + 1) * m->outputs * sizeof(double));
  return FNN_OK;
}
#endif
