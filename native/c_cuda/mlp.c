/* mlp.c: fnn.h in plain C11: the model, its memory and its errors. The mathematics is in mlp_kernel.h, once a dtype.
 *
 * What this file does not do: use threads, a BLAS or intrinsics; keep anything outside a model; allocate in a step.
 */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tgmath.h> /* tanh of a float is tanhf, and so on */
#include <time.h>

#pragma GCC visibility push(default) /* what fnn.h declares is all that this library exports */
#include "fnn.h"
#pragma GCC visibility pop

#ifndef FNN_COMPILER /* the build knows better */
#define FNN_COMPILER __VERSION__
#define FNN_FLAGS "unknown"
#endif

typedef struct layer {
  int64_t inputs, outputs; /* m_{l-1}, m_l */
  int64_t W, b;            /* where W_l and b_l start in theta; b_l follows W_l */
  int activation;          /* row of the table of activations */
  void *Z, *A, *delta;     /* (capacity, outputs), in the workspace */
} layer;

struct fnn_model {
  char error[256];
  bool made;                           /* fnn_create succeeded */
  const struct arithmetic *arithmetic; /* the functions of the network's dtype */
  int64_t n_layers, n_parameters;
  layer *layers; /* [n_layers] */
  int loss;      /* row of the table of losses */
  double l2;
  void *theta, *start, *gradient; /* [n_parameters]: as it is, as fnn_create got it, and of the last step */

  int64_t rows, n_order; /* 0 until fnn_load */
  void *x, *y;           /* (rows, m_0), (rows, m_L) */
  int64_t *order;        /* [n_order] */

  int64_t capacity; /* rows that the workspace has room for */
  void *workspace;  /* holds X, T, and Z, A, delta of every layer */
  void *X, *T;      /* (capacity, m_0), (capacity, m_L): the rows of a minibatch */
};

#define REAL float
#define NAME(x) x##_float
#include "mlp_kernel.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(x) x##_double
#include "mlp_kernel.h"
#undef REAL
#undef NAME

/* What a dtype brings along: its size in bytes and the last functions of mlp_kernel.h. */
static const struct arithmetic {
  int64_t size;
  void (*outputs)(const fnn_model *model, int64_t first, int64_t count);
  double (*loss_and_gradient)(const fnn_model *model, int64_t first, int64_t count, void *gradient);
  void (*train)(const fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double rate);
  double (*timed_pass)(const fnn_model *model, int32_t operation, int64_t first, int64_t count);
} arithmetics[] = {
    [FNN_FLOAT32] = {sizeof(float), outputs_float, loss_and_gradient_float, train_float, timed_pass_float},
    [FNN_FLOAT64] = {sizeof(double), outputs_double, loss_and_gradient_double, train_double, timed_pass_double},
};

#define CACHE_LINE 64 /* bytes */
#define LENGTH(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* --- Errors, memory, time. ---------------------------------------------------------------------------------------- */

static int fail(fnn_model *model, int status, const char *format, ...) {
  va_list values;
  va_start(values, format);
  vsnprintf(model->error, sizeof model->error, format, values);
  va_end(values);
  return status;
}

static int no_memory(fnn_model *model, const char *what) {
  return fail(model, FNN_NO_MEMORY, "no memory for %s", what);
}

/* How every call on a model starts. */
static int begin(fnn_model *model) {
  if (model == NULL)
    return FNN_INVALID;
  model->error[0] = '\0';
  return model->made ? FNN_OK : fail(model, FNN_INVALID, "this model was never made: fnn_create failed");
}

/* An array of rows * width items, each of them positive; NULL where there is no memory, or no number for its size.
 * From a cache line's start: elsewhere vectors straddle lines, and a step takes longer by up to half, according to what
 * the process allocated before. Filled here so that no page is touched for the first time inside a clock, and with NaN
 * so that a number read before it was written shows. */
static void *allocate(int64_t rows, int64_t width, int64_t size) {
  if (rows > (PTRDIFF_MAX - CACHE_LINE) / size / width)
    return NULL;
  void *array = aligned_alloc(CACHE_LINE, (rows * width * size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
  if (array != NULL)
    memset(array, 0xff, rows * width * size);
  return array;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + 1e-9 * time.tv_nsec;
}

/* --- Making a model. ---------------------------------------------------------------------------------------------- */

/* The row of a name, or -1. */
static int find_activation(const char *name) {
  for (int row = 0; row < LENGTH(activations_float); row++)
    if (strcmp(activations_float[row].name, name) == 0)
      return row;
  return -1;
}

static int find_loss(const char *name) {
  for (int row = 0; row < LENGTH(losses_float); row++)
    if (strcmp(losses_float[row].name, name) == 0)
      return row;
  return -1;
}

static int check_network(fnn_model *model, const fnn_network *network) {
  if (network == NULL || network->sizes == NULL || network->activations == NULL || network->loss == NULL)
    return fail(model, FNN_INVALID, "network, sizes, activations and loss must not be NULL");
  if (network->n_layers < 1)
    return fail(model, FNN_INVALID, "n_layers = %" PRId32 ": must be at least 1", network->n_layers);
  if (!(network->l2 >= 0 && network->l2 < INFINITY))
    return fail(model, FNN_INVALID, "l2 = %g: must be finite, 0 or more", network->l2);
  if (network->threads < 1)
    return fail(model, FNN_INVALID, "threads = %" PRId32 ": must be at least 1", network->threads);
  if (network->dtype < 0 || network->dtype >= LENGTH(arithmetics))
    return fail(model, FNN_UNSUPPORTED, "no dtype %" PRId32 ": 0 is float32, 1 is float64", network->dtype);
  return FNN_OK;
}

static int take_sizes(fnn_model *model, const fnn_network *network) {
  const int64_t most = INT64_MAX / 64; /* of parameters: keeps every later sum of sizes in range */
  for (int64_t l = 0; l <= network->n_layers; l++)
    if (network->sizes[l] < 1)
      return fail(model, FNN_INVALID, "sizes[%" PRId64 "] = %" PRId64 ": must be at least 1", l, network->sizes[l]);
  if (!(model->layers = allocate(network->n_layers, 1, sizeof(layer))))
    return no_memory(model, "the layers");
  model->n_layers = network->n_layers;
  for (int64_t l = 0; l < model->n_layers; l++) {
    const int64_t inputs = network->sizes[l], outputs = network->sizes[l + 1];
    if (inputs >= most || outputs > (most - model->n_parameters) / (inputs + 1))
      return fail(model, FNN_UNSUPPORTED, "layer %" PRId64 " is too large: its parameters cannot be counted", l + 1);
    model->layers[l] = (layer){.inputs = inputs, .outputs = outputs, .W = model->n_parameters};
    model->layers[l].b = model->layers[l].W + inputs * outputs;
    model->n_parameters = model->layers[l].b + outputs;
  }
  return FNN_OK;
}

static int take_functions(fnn_model *model, const fnn_network *network) {
  if ((model->loss = find_loss(network->loss)) < 0)
    return fail(model, FNN_UNSUPPORTED, "no loss '%.40s'", network->loss);
  const char *fused = losses_float[model->loss].fuses;
  for (int64_t l = 0; l < model->n_layers; l++) {
    const char *name = network->activations[l];
    if (name == NULL)
      return fail(model, FNN_INVALID, "activations[%" PRId64 "] is NULL", l);
    const bool fuses = fused != NULL && l == model->n_layers - 1;
    if (fuses && strcmp(name, fused) != 0)
      return fail(model, FNN_INVALID, "%s fuses %s: its output activation cannot be '%.40s'", network->loss, fused,
                  name);
    const int row = find_activation(name);
    if (row < 0 || (!fuses && activations_float[row].slope == NULL))
      return fail(model, FNN_UNSUPPORTED, "no activation '%.40s' for layer %" PRId64, name, l + 1);
    model->layers[l].activation = row;
  }
  return FNN_OK;
}

static int take_theta(fnn_model *model, const void *theta) {
  const int64_t n = model->n_parameters, size = model->arithmetic->size;
  if (theta == NULL)
    return fail(model, FNN_INVALID, "theta must not be NULL");
  if (!(model->theta = allocate(n, 1, size)) || !(model->start = allocate(n, 1, size)) ||
      !(model->gradient = allocate(n, 1, size)))
    return no_memory(model, "the parameters");
  memcpy(model->theta, theta, n * size);
  memcpy(model->start, theta, n * size);
  return FNN_OK;
}

int fnn_create(const fnn_network *network, const void *theta, fnn_model **handle) {
  if (handle == NULL)
    return FNN_INVALID;
  fnn_model *model = *handle = calloc(1, sizeof(fnn_model));
  if (model == NULL)
    return FNN_NO_MEMORY;
  int status = check_network(model, network);
  if (status == FNN_OK)
    status = take_sizes(model, network);
  if (status == FNN_OK)
    status = take_functions(model, network);
  if (status != FNN_OK)
    return status;
  model->l2 = network->l2;
  model->arithmetic = &arithmetics[network->dtype];
  status = take_theta(model, theta);
  model->made = status == FNN_OK;
  return status;
}

void fnn_destroy(fnn_model *model) {
  if (model == NULL)
    return;
  free(model->layers);
  free(model->theta);
  free(model->start);
  free(model->gradient);
  free(model->x);
  free(model->y);
  free(model->order);
  free(model->workspace);
  free(model);
}

/* --- What is known of the library and of a model. ----------------------------------------------------------------- */

int32_t fnn_version(void) {
  return FNN_VERSION;
}

const char *fnn_about(void) {
  return "name=c\n"
         "language=C\n"
         "compiler=" FNN_COMPILER "\n"
         "flags=" FNN_FLAGS "\n"
         "clock=clock_gettime(CLOCK_MONOTONIC)\n"
         "activations=identity,sigmoid,tanh,relu\n"
         "losses=squared_error,half_squared_error,softmax_cross_entropy,sigmoid_cross_entropy\n"
         "arithmetic=native\n"
         "deterministic=yes\n";
}

const char *fnn_last_error(const fnn_model *model) {
  return model == NULL ? "out of memory" : model->error;
}

int32_t fnn_threads(const fnn_model *model) {
  (void)model;
  return 1;
}

int fnn_theta(fnn_model *model, void *theta) {
  const int status = begin(model);
  if (status != FNN_OK)
    return status;
  if (theta == NULL)
    return fail(model, FNN_INVALID, "theta must not be NULL");
  memcpy(theta, model->theta, model->n_parameters * model->arithmetic->size);
  return FNN_OK;
}

int fnn_reset(fnn_model *model) {
  const int status = begin(model);
  if (status == FNN_OK)
    memcpy(model->theta, model->start, model->n_parameters * model->arithmetic->size);
  return status;
}

/* --- Data. -------------------------------------------------------------------------------------------------------- */

static int64_t n_outputs(const fnn_model *model) {
  return model->layers[model->n_layers - 1].outputs;
}

static int check_data(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *order,
                      int64_t n_order) {
  if (x == NULL || y == NULL || order == NULL)
    return fail(model, FNN_INVALID, "x, y and order must not be NULL");
  if (rows < 1 || n_order < 1)
    return fail(model, FNN_INVALID, "rows = %" PRId64 ", n_order = %" PRId64 ": must be at least 1", rows, n_order);
  for (int64_t i = 0; i < n_order; i++)
    if (order[i] < 0 || order[i] >= rows)
      return fail(model, FNN_INVALID, "order[%" PRId64 "] = %" PRId64 ": row numbers lie in [0, %" PRId64 ")", i,
                  order[i], rows);
  return FNN_OK;
}

int fnn_load(fnn_model *model, const void *x, const void *y, int64_t rows, const int64_t *order, int64_t n_order) {
  int status = begin(model);
  if (status == FNN_OK)
    status = check_data(model, x, y, rows, order, n_order);
  if (status != FNN_OK)
    return status;
  const int64_t size = model->arithmetic->size, m_0 = model->layers[0].inputs, m_L = n_outputs(model);
  void *new_x = allocate(rows, m_0, size), *new_y = allocate(rows, m_L, size);
  int64_t *new_order = allocate(n_order, 1, sizeof(int64_t));
  if (new_x == NULL || new_y == NULL || new_order == NULL) {
    free(new_x);
    free(new_y);
    free(new_order);
    return no_memory(model, "the data");
  }
  free(model->x);
  free(model->y);
  free(model->order);
  model->x = memcpy(new_x, x, rows * m_0 * size);
  model->y = memcpy(new_y, y, rows * m_L * size);
  model->order = memcpy(new_order, order, n_order * sizeof(int64_t));
  model->rows = rows;
  model->n_order = n_order;
  return FNN_OK;
}

/* The next array of a block, so many bytes that begin at a cache line; `at` moves on behind them. */
static void *carve(char **at, int64_t bytes) {
  void *array = *at;
  *at += (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
  return array;
}

/* Room for a batch of that many rows. */
static int reserve(fnn_model *model, int64_t rows) {
  if (rows <= model->capacity)
    return FNN_OK;
  const int64_t size = model->arithmetic->size, m_0 = model->layers[0].inputs, m_L = n_outputs(model);
  int64_t width = m_0 + m_L;
  for (int64_t l = 0; l < model->n_layers; l++)
    width += 3 * model->layers[l].outputs;
  const int64_t padding = (2 + 3 * model->n_layers) * CACHE_LINE;
  if (rows > (PTRDIFF_MAX - CACHE_LINE - padding) / size / width)
    return no_memory(model, "a batch of this size");
  char *at = allocate(rows * width * size + padding, 1, 1);
  if (at == NULL)
    return no_memory(model, "a batch of this size");
  free(model->workspace);
  model->workspace = at;
  model->capacity = rows;
  model->X = carve(&at, rows * m_0 * size);
  model->T = carve(&at, rows * m_L * size);
  for (layer *l = model->layers; l < model->layers + model->n_layers; l++) {
    l->Z = carve(&at, rows * l->outputs * size);
    l->A = carve(&at, rows * l->outputs * size);
    l->delta = carve(&at, rows * l->outputs * size);
  }
  return FNN_OK;
}

/* --- Work. -------------------------------------------------------------------------------------------------------- */

/* [first, first + count) must lie within the rows, or within the entries of order. */
static int check_range(fnn_model *model, int64_t first, int64_t count, bool of_order) {
  const int64_t length = of_order ? model->n_order : model->rows;
  if (length == 0)
    return fail(model, FNN_INVALID, "no data yet: call fnn_load first");
  if (first < 0 || count < 1 || count > length || first > length - count)
    return fail(model, FNN_INVALID, "first = %" PRId64 ", count = %" PRId64 ": must lie within the %" PRId64 " %s",
                first, count, length, of_order ? "entries of order" : "rows");
  return FNN_OK;
}

/* All that comes before work on rows [first, first + count), results to be written where `written` points. */
static int prepare(fnn_model *model, int64_t first, int64_t count, const void *written, const void *also) {
  int status = begin(model);
  if (status == FNN_OK)
    status = check_range(model, first, count, false);
  if (status == FNN_OK && (written == NULL || also == NULL))
    status = fail(model, FNN_INVALID, "a pointer to write to is NULL");
  return status == FNN_OK ? reserve(model, count) : status;
}

int fnn_forward(fnn_model *model, int64_t first, int64_t count, void *outputs) {
  const int status = prepare(model, first, count, outputs, outputs);
  if (status != FNN_OK)
    return status;
  model->arithmetic->outputs(model, first, count);
  memcpy(outputs, model->layers[model->n_layers - 1].A, count * n_outputs(model) * model->arithmetic->size);
  return FNN_OK;
}

int fnn_loss_and_gradient(fnn_model *model, int64_t first, int64_t count, double *loss, void *gradient) {
  const int status = prepare(model, first, count, loss, gradient);
  if (status == FNN_OK)
    *loss = model->arithmetic->loss_and_gradient(model, first, count, gradient);
  return status;
}

int fnn_train(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
              double *seconds) {
  int status = begin(model);
  if (status == FNN_OK)
    status = check_range(model, first, count, true);
  if (status != FNN_OK)
    return status;
  if (batch_size < 1)
    return fail(model, FNN_INVALID, "batch_size = %" PRId64 ": must be at least 1", batch_size);
  if (!(learning_rate > 0 && learning_rate < INFINITY))
    return fail(model, FNN_INVALID, "learning_rate = %g: must be finite and above 0", learning_rate);
  if (seconds == NULL)
    return fail(model, FNN_INVALID, "seconds must not be NULL");
  const int64_t batch = batch_size < count ? batch_size : count;
  if ((status = reserve(model, batch)) != FNN_OK)
    return status;
  const double start = now();
  model->arithmetic->train(model, first, count, batch, learning_rate);
  *seconds = now() - start;
  return FNN_OK;
}

int fnn_time(fnn_model *model, int32_t operation, int64_t first, int64_t count, int64_t repeats, double *seconds,
             double *checksum) {
  const int status = prepare(model, first, count, seconds, checksum);
  if (status != FNN_OK)
    return status;
  if (operation != FNN_FORWARD && operation != FNN_GRADIENT)
    return fail(model, FNN_INVALID, "operation = %" PRId32 ": 0 is forward, 1 is gradient", operation);
  if (repeats < 1)
    return fail(model, FNN_INVALID, "repeats = %" PRId64 ": must be at least 1", repeats);
  const int64_t places = model->rows - count + 1;
  double sum = 0;
  const double start = now();
  for (int64_t r = 0, s = first; r < repeats; r++, s = (s + count) % places)
    sum += model->arithmetic->timed_pass(model, operation, s, count);
  *seconds = now() - start;
  *checksum = sum;
  return FNN_OK;
}
