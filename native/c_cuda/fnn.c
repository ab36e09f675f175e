/* fnn.c: fnn.h for the network of mlp.c: entry points, checks of arguments, errors, memory and the clock. Not here:
 * mathematics. Nothing is kept outside a model, and no step allocates. */
#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include "mlp.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC visibility push(default) /* export what fnn.h declares, and nothing else */
#include "fnn.h"
#pragma GCC visibility pop

#ifndef FNN_COMPILER /* the build defines both */
#define FNN_COMPILER __VERSION__
#define FNN_FLAGS "unknown"
#endif

struct fnn_model {
  char error[256];
  bool created;        /* fnn_create succeeded */
  optimizer optimizer; /* state: NULL until one is selected */
  mlp network;
};

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

/* Start a call on a model: clear its error and refuse a handle without a network. */
static int begin(fnn_model *model) {
  if (model == NULL)
    return FNN_INVALID;
  model->error[0] = '\0';
  return model->created ? FNN_OK : fail(model, FNN_INVALID, "this model was never made: fnn_create failed");
}

/* Allocate rows * width items of `size` bytes, each of the three positive. NULL where there is no memory, or where an
 * int64_t cannot hold the bytes. Arrays start at a cache line: elsewhere vectors straddle two lines, and a step takes
 * up to half as long again, depending on earlier allocations. The fill touches every page before a clock starts, and
 * its bytes are NaN, which reveals a number that is read before it is written. */
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

/* --- Creating a model. -------------------------------------------------------------------------------------------- */

/* Return the row of the table of losses that has this name, or -1. */
static int find_loss(const char *name) {
  for (int row = 0; loss_name(row) != NULL; row++)
    if (strcmp(loss_name(row), name) == 0)
      return row;
  return -1;
}

static int check_network(fnn_model *model, const fnn_network *given) {
  if (given == NULL || given->sizes == NULL || given->activations == NULL || given->loss == NULL)
    return fail(model, FNN_INVALID, "network, sizes, activations and loss must not be NULL");
  if (given->n_layers < 1)
    return fail(model, FNN_INVALID, "n_layers = %" PRId32 ": must be at least 1", given->n_layers);
  if (!(given->l2 >= 0 && given->l2 < INFINITY))
    return fail(model, FNN_INVALID, "l2 = %g: must be finite, 0 or more", given->l2);
  if (given->threads < 1)
    return fail(model, FNN_INVALID, "threads = %" PRId32 ": must be at least 1", given->threads);
  if (given->dtype < 0 || given->dtype >= N_DTYPES)
    return fail(model, FNN_UNSUPPORTED, "no dtype %" PRId32 ": 0 is float32, 1 is float64", given->dtype);
  return FNN_OK;
}

/* Check the sizes of the network, whose layers have their activations. */
static int check_sizes(fnn_model *model, const fnn_network *given) {
  const int64_t most = INT64_MAX / 64; /* parameters: keeps every later sum of sizes in range */
  for (int64_t l = 0; l <= given->n_layers; l++)
    if (given->sizes[l] < 1)
      return fail(model, FNN_INVALID, "sizes[%" PRId64 "] = %" PRId64 ": must be at least 1", l, given->sizes[l]);
  int64_t n_parameters = 0;
  for (int64_t l = 0; l < given->n_layers; l++) {
    const layer *each = &model->network.layers[l];
    const int64_t inputs = given->sizes[l], outputs = given->sizes[l + 1];
    const int64_t of_unit = inputs < most ? (inputs + 1) * pieces(each) + slopes_of_unit(each) : INT64_MAX;
    if (outputs > (most - n_parameters) / of_unit)
      return fail(model, FNN_UNSUPPORTED, "layer %" PRId64 " is too large: its parameters cannot be counted", l + 1);
    n_parameters += of_unit * outputs;
  }
  return FNN_OK;
}

static int take_sizes(fnn_model *model, const fnn_network *given) {
  const int status = check_sizes(model, given);
  if (status == FNN_OK)
    set_layers(&model->network, given->sizes);
  return status;
}

static int take_functions(fnn_model *model, const fnn_network *given) {
  mlp *network = &model->network;
  if (!(network->layers = allocate(given->n_layers, 1, sizeof(layer))))
    return no_memory(model, "the layers");
  network->n_layers = given->n_layers;
  if ((network->loss_function = find_loss(given->loss)) < 0)
    return fail(model, FNN_UNSUPPORTED, "no loss '%.40s'", given->loss);
  const char *fused = fused_activation(network->loss_function);
  for (int64_t l = 0; l < network->n_layers; l++) {
    const char *name = given->activations[l];
    if (name == NULL)
      return fail(model, FNN_INVALID, "activations[%" PRId64 "] is NULL", l);
    const bool fuses = fused != NULL && l == network->n_layers - 1;
    if (fuses && strcmp(name, fused) != 0)
      return fail(model, FNN_INVALID, "%s fuses %s: its output activation cannot be '%.40s'", given->loss, fused, name);
    const int row = find_activation(name, &network->layers[l].parameter);
    const bool last = l == network->n_layers - 1;
    if (row < 0 || (!fuses && !(last ? is_elementwise(row) : is_hidden(row))))
      return fail(model, FNN_UNSUPPORTED, "no activation '%.40s' for layer %" PRId64, name, l + 1);
    network->layers[l].activation = row;
  }
  return FNN_OK;
}

static int take_theta(fnn_model *model, const void *theta) {
  mlp *network = &model->network;
  const int64_t n = network->n_parameters, size = network->arithmetic->size;
  if (theta == NULL)
    return fail(model, FNN_INVALID, "theta must not be NULL");
  if (!(network->theta = allocate(n, 1, size)) || !(network->start = allocate(n, 1, size)) ||
      !(network->gradient = allocate(n, 1, size)))
    return no_memory(model, "the parameters");
  memcpy(network->theta, theta, n * size);
  memcpy(network->start, theta, n * size);
  return FNN_OK;
}

int fnn_create(const fnn_network *given, const void *theta, fnn_model **handle) {
  if (handle == NULL)
    return FNN_INVALID;
  fnn_model *model = *handle = calloc(1, sizeof(fnn_model));
  if (model == NULL)
    return FNN_NO_MEMORY;
  int status;
  if ((status = check_network(model, given)) != FNN_OK || (status = take_functions(model, given)) != FNN_OK ||
      (status = take_sizes(model, given)) != FNN_OK)
    return status;
  model->network.l2 = given->l2;
  model->network.arithmetic = &arithmetics[given->dtype];
  model->network.optimizer = &model->optimizer;
  status = take_theta(model, theta);
  model->created = status == FNN_OK;
  return status;
}

void fnn_destroy(fnn_model *model) {
  if (model == NULL)
    return;
  mlp *network = &model->network;
  free(network->layers);
  free(network->theta);
  free(network->start);
  free(network->gradient);
  free(network->x);
  free(network->y);
  free(network->order);
  free(network->workspace);
  free(model->optimizer.state);
  free(model);
}

/* --- Facts about the library and about a model. ------------------------------------------------------------------- */

int32_t fnn_version(void) {
  return FNN_VERSION;
}

static char about[2048];

static void add_name(char *list, size_t bytes, const char *name) {
  const size_t length = strlen(list);
  snprintf(list + length, bytes - length, "%s%s", length > 0 ? "," : "", name);
}

/* Write what fnn_about returns. It runs when the library is loaded, before any thread can read the text, and takes the
 * names from the network's tables. */
__attribute__((constructor)) static void write_about(void) {
  char activations[256] = "", losses[256] = "", optimizers[256] = "sgd";
  for (int row = 0; activation_name(row) != NULL; row++)
    if (is_hidden(row))
      add_name(activations, sizeof activations, activation_name(row));
  for (int row = 0; loss_name(row) != NULL; row++)
    add_name(losses, sizeof losses, loss_name(row));
  for (int row = 0; optimizer_name(row) != NULL; row++)
    add_name(optimizers, sizeof optimizers, optimizer_name(row));
  snprintf(about, sizeof about,
           "name=%s\n"
           "language=C\n"
           "compiler=%s\n"
           "flags=%s%s\n"
           "clock=clock_gettime(CLOCK_MONOTONIC)\n"
           "activations=%s\n"
           "losses=%s\n"
           "optimizers=%s\n"
           "arithmetic=native\n"
           "deterministic=yes\n",
           FNN_NAME, FNN_COMPILER, FNN_FLAGS, FNN_MORE_FLAGS, activations, losses, optimizers);
}

const char *fnn_about(void) {
  return about;
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
  memcpy(theta, model->network.theta, model->network.n_parameters * model->network.arithmetic->size);
  return FNN_OK;
}

int fnn_is_finite(fnn_model *model, int32_t *finite) {
  const int status = begin(model);
  if (status == FNN_OK && finite == NULL)
    return fail(model, FNN_INVALID, "finite must not be NULL");
  if (status == FNN_OK)
    *finite = model->network.arithmetic->is_finite(&model->network);
  return status;
}

int fnn_set_theta(fnn_model *model, const void *theta) {
  const int status = begin(model);
  if (status != FNN_OK)
    return status;
  if (theta == NULL)
    return fail(model, FNN_INVALID, "theta must not be NULL");
  set_theta(&model->network, theta);
  return FNN_OK;
}

int fnn_reset(fnn_model *model) {
  const int status = begin(model);
  if (status == FNN_OK)
    reset(&model->network);
  return status;
}

/* --- Data and the workspace. -------------------------------------------------------------------------------------- */

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
  mlp *network = &model->network;
  const int64_t size = network->arithmetic->size, m_0 = network->layers[0].inputs, m_L = n_outputs(network);
  void *new_x = allocate(rows, m_0, size), *new_y = allocate(rows, m_L, size);
  int64_t *new_order = allocate(n_order, 1, sizeof(int64_t));
  if (new_x == NULL || new_y == NULL || new_order == NULL) {
    free(new_x);
    free(new_y);
    free(new_order);
    return no_memory(model, "the data");
  }
  free(network->x);
  free(network->y);
  free(network->order);
  network->x = memcpy(new_x, x, rows * m_0 * size);
  network->y = memcpy(new_y, y, rows * m_L * size);
  network->order = memcpy(new_order, order, n_order * sizeof(int64_t));
  network->rows = rows;
  network->n_order = n_order;
  return FNN_OK;
}

/* Make the workspace large enough for B rows; on failure the old one stays. */
static int reserve(fnn_model *model, int64_t B) {
  mlp *network = &model->network;
  if (B <= network->capacity)
    return FNN_OK;
  const int64_t bytes = workspace_bytes(network, B);
  void *workspace = bytes < 0 ? NULL : allocate(bytes, 1, 1);
  if (workspace == NULL)
    return no_memory(model, "a batch of this size");
  free(network->workspace);
  set_workspace(network, workspace, B);
  return FNN_OK;
}

/* --- Work. -------------------------------------------------------------------------------------------------------- */

/* Check that [first, first + count) lies within the rows, or within the entries of order. */
static int check_range(fnn_model *model, int64_t first, int64_t count, bool of_order) {
  const int64_t length = of_order ? model->network.n_order : model->network.rows;
  if (length == 0)
    return fail(model, FNN_INVALID, "no data yet: call fnn_load first");
  if (first < 0 || count < 1 || count > length || first > length - count)
    return fail(model, FNN_INVALID, "first = %" PRId64 ", count = %" PRId64 ": must lie within the %" PRId64 " %s",
                first, count, length, of_order ? "entries of order" : "rows");
  return FNN_OK;
}

/* Prepare work on rows [first, first + count): check the range and the two pointers to write to, and reserve. */
static int prepare(fnn_model *model, int64_t first, int64_t count, const void *written, const void *also_written) {
  int status = begin(model);
  if (status == FNN_OK)
    status = check_range(model, first, count, false);
  if (status == FNN_OK && (written == NULL || also_written == NULL))
    status = fail(model, FNN_INVALID, "a pointer to write to is NULL");
  return status == FNN_OK ? reserve(model, count) : status;
}

int fnn_forward(fnn_model *model, int64_t first, int64_t count, void *outputs) {
  const int status = prepare(model, first, count, outputs, outputs);
  if (status != FNN_OK)
    return status;
  const mlp *network = &model->network;
  network->arithmetic->outputs(network, first, count);
  memcpy(outputs, network->layers[network->n_layers - 1].A, count * n_outputs(network) * network->arithmetic->size);
  return FNN_OK;
}

int fnn_loss(fnn_model *model, int64_t first, int64_t count, double *loss) {
  const int status = prepare(model, first, count, loss, loss);
  if (status == FNN_OK)
    *loss = model->network.arithmetic->loss(&model->network, first, count);
  return status;
}

int fnn_loss_and_gradient(fnn_model *model, int64_t first, int64_t count, double *loss, void *gradient) {
  const int status = prepare(model, first, count, loss, gradient);
  if (status == FNN_OK)
    *loss = model->network.arithmetic->loss_and_gradient(&model->network, first, count, gradient);
  return status;
}

typedef void training(const mlp *network, int64_t first, int64_t count, int64_t batch_size, double rate);

/* Do the work of fnn_train with one of the two trainings of `arithmetic`. */
static int train(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
                 double *seconds, training *steps) {
  int status = check_range(model, first, count, true);
  if (status != FNN_OK)
    return status;
  if (batch_size < 1)
    return fail(model, FNN_INVALID, "batch_size = %" PRId64 ": must be at least 1", batch_size);
  if (!(learning_rate > 0 && learning_rate < INFINITY))
    return fail(model, FNN_INVALID, "learning_rate = %g: must be finite and above 0", learning_rate);
  if (seconds == NULL)
    return fail(model, FNN_INVALID, "seconds must not be NULL");
  const int64_t B = batch_size < count ? batch_size : count;
  if ((status = reserve(model, B)) != FNN_OK)
    return status;
  const double start = now();
  steps(&model->network, first, count, B, learning_rate);
  *seconds = now() - start;
  return FNN_OK;
}

int fnn_train(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
              double *seconds) {
  const int status = begin(model);
  return status == FNN_OK
             ? train(model, first, count, batch_size, learning_rate, seconds, model->network.arithmetic->train)
             : status;
}

/* Check that every probe names one of `entries` numbers. */
static int check_probes(fnn_model *model, const int64_t *probes, int64_t n_probes, int64_t entries) {
  if (probes == NULL)
    return fail(model, FNN_INVALID, "probes must not be NULL");
  if (n_probes < 1)
    return fail(model, FNN_INVALID, "n_probes = %" PRId64 ": must be at least 1", n_probes);
  for (int64_t i = 0; i < n_probes; i++)
    if (probes[i] < 0 || probes[i] >= entries)
      return fail(model, FNN_INVALID, "probes[%" PRId64 "] = %" PRId64 ": must lie in [0, %" PRId64 ")", i, probes[i],
                  entries);
  return FNN_OK;
}

int fnn_time(fnn_model *model, int32_t operation, int64_t first, int64_t count, int64_t repeats, const int64_t *probes,
             int64_t n_probes, double *seconds, double *checksum) {
  int status = prepare(model, first, count, seconds, checksum);
  if (status != FNN_OK)
    return status;
  if (operation != FNN_FORWARD && operation != FNN_GRADIENT)
    return fail(model, FNN_INVALID, "operation = %" PRId32 ": 0 is forward, 1 is gradient", operation);
  if (repeats < 1)
    return fail(model, FNN_INVALID, "repeats = %" PRId64 ": must be at least 1", repeats);
  const mlp *network = &model->network;
  const int64_t entries = operation == FNN_FORWARD ? count * n_outputs(network) : network->n_parameters;
  if ((status = check_probes(model, probes, n_probes, entries)) != FNN_OK)
    return status;
  const int64_t places = network->rows - count + 1;
  double sum = 0;
  const double start = now();
  for (int64_t r = 0, s = first, p = 0; r < repeats; r++, s = (s + count) % places, p = p + 1 < n_probes ? p + 1 : 0)
    sum += network->arithmetic->timed_pass(network, operation, s, count, probes[p]);
  *seconds = now() - start;
  *checksum = sum;
  return FNN_OK;
}

#include "optimizer.h"
