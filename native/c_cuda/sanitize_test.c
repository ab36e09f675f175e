/* sanitize_test.c: calls every function of fnn.c at odd sizes, for builds under -fsanitize.
 *
 * It checks gradients against central differences and errors against their status, and exits with 1 on a mismatch. It
 * includes fnn.c and mlp.c, to make allocations fail and to change theta. Not installed; the parity battery, not this
 * file, compares with the oracle.
 */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdlib.h>

static int64_t allocations_left = INT64_MAX; /* every later allocation fails */

static void *limited_aligned_alloc(size_t alignment, size_t size) {
  return allocations_left-- > 0 ? aligned_alloc(alignment, size) : NULL;
}

static void *limited_calloc(size_t count, size_t size) {
  return allocations_left-- > 0 ? calloc(count, size) : NULL;
}

#define calloc limited_calloc
#define aligned_alloc limited_aligned_alloc
#include "fnn.c"
#include "mlp.c"
#undef calloc
#undef aligned_alloc

#define ROWS 9
#define WIDEST 33
#define MOST_PARAMETERS 2048

static int mismatches = 0;

#define CHECK(claim) check(claim, #claim, __LINE__)

static void check(bool holds, const char *claim, int line) {
  if (!holds) {
    printf("line %d: this does not hold: %s\n", line, claim);
    mismatches++;
  }
}

/* Return the next number in [-1, 1), the same in every run (Knuth's MMIX generator). */
static double draw(void) {
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(state >> 11) / (1ull << 52) - 1;
}

/* One network, with its theta and data in both dtypes. */
typedef struct {
  fnn_network network;
  int64_t n_parameters;
  double theta[MOST_PARAMETERS], x[ROWS * WIDEST], y[ROWS * WIDEST];
  float theta_float[MOST_PARAMETERS], x_float[ROWS * WIDEST], y_float[ROWS * WIDEST];
} sample;

static const int64_t order[] = {8, 0, 3, 3, 7, 1, 0, 5, 2, 8, 4};
#define N_ORDER LENGTH(order)

static void fill(sample *s) {
  const int64_t *m = s->network.sizes, m_0 = m[0], m_L = m[s->network.n_layers];
  s->n_parameters = 0;
  for (int l = 0; l < s->network.n_layers; l++) {
    layer each;
    each.activation = find_activation(s->network.activations[l], &each.parameter);
    s->n_parameters += ((m[l] + 1) * pieces(&each) + slopes_of_unit(&each)) * m[l + 1];
  }
  for (int64_t i = 0; i < s->n_parameters; i++)
    s->theta[i] = s->theta_float[i] = (float)(0.7 * draw());
  for (int64_t i = 0; i < ROWS * m_0; i++)
    s->x[i] = s->x_float[i] = (float)draw();
  for (int64_t i = 0; i < ROWS * m_L; i++)
    s->y[i] = s->y_float[i] = i % m_L == i / m_L % m_L; /* one-hot targets */
}

static fnn_model *make(const sample *s, int32_t dtype) {
  fnn_network network = s->network;
  network.dtype = dtype;
  const bool wide = dtype == FNN_FLOAT64;
  fnn_model *model;
  CHECK(fnn_create(&network, wide ? (void *)s->theta : (void *)s->theta_float, &model) == FNN_OK);
  CHECK(fnn_load(model, wide ? (void *)s->x : (void *)s->x_float, wide ? (void *)s->y : (void *)s->y_float, ROWS, order,
                 N_ORDER) == FNN_OK);
  return model;
}

/* Compare the gradient with (R(theta + h) - R(theta - h)) / 2h, parameter by parameter. */
static void check_gradient(fnn_model *model, int64_t first, int64_t count) {
  static double gradient[MOST_PARAMETERS], unused[MOST_PARAMETERS];
  const double h = 1e-6;
  double loss, above, below, *theta = model->network.theta;
  CHECK(fnn_loss_and_gradient(model, first, count, &loss, gradient) == FNN_OK);
  for (int64_t i = 0; i < model->network.n_parameters; i++) {
    const double kept = theta[i];
    theta[i] = kept + h;
    CHECK(fnn_loss_and_gradient(model, first, count, &above, unused) == FNN_OK);
    theta[i] = kept - h;
    CHECK(fnn_loss_and_gradient(model, first, count, &below, unused) == FNN_OK);
    theta[i] = kept;
    CHECK(fabs((above - below) / (2 * h) - gradient[i]) < 1e-7 * (1 + fabs(gradient[i])) + 1e-8 * fabs(loss));
  }
}

static void check_float_beside_double(fnn_model *narrow, fnn_model *wide, int64_t first, int64_t count) {
  static float dtheta_float[MOST_PARAMETERS], outputs_float[ROWS * WIDEST];
  static double dtheta[MOST_PARAMETERS], outputs[ROWS * WIDEST];
  double loss_float, loss;
  CHECK(fnn_loss_and_gradient(narrow, first, count, &loss_float, dtheta_float) == FNN_OK);
  CHECK(fnn_loss_and_gradient(wide, first, count, &loss, dtheta) == FNN_OK);
  CHECK(fabs(loss_float - loss) < 1e-4 * (1 + fabs(loss)));
  for (int64_t i = 0; i < wide->network.n_parameters; i++)
    CHECK(fabs(dtheta_float[i] - dtheta[i]) < 1e-4 * (1 + fabs(dtheta[i])));
  CHECK(fnn_forward(narrow, first, count, outputs_float) == FNN_OK);
  CHECK(fnn_forward(wide, first, count, outputs) == FNN_OK);
  for (int64_t i = 0; i < count * n_outputs(&wide->network); i++)
    CHECK(fabs(outputs_float[i] - outputs[i]) < 1e-4 * (1 + fabs(outputs[i])));
}

/* Check one step, theta - rate * gradient, on a minibatch of rows 3 and 3, and that reset undoes it. */
static void check_step(fnn_model *model) {
  static double before[MOST_PARAMETERS], after[MOST_PARAMETERS], gradient[MOST_PARAMETERS];
  const double rate = 0.125;
  double loss, seconds;
  CHECK(fnn_theta(model, before) == FNN_OK);
  CHECK(fnn_loss_and_gradient(model, 3, 1, &loss, gradient) == FNN_OK);
  CHECK(fnn_train(model, 2, 2, 2, rate, &seconds) == FNN_OK && seconds >= 0);
  CHECK(fnn_theta(model, after) == FNN_OK);
  for (int64_t i = 0; i < model->network.n_parameters; i++)
    CHECK(fabs(after[i] - (before[i] - rate * gradient[i])) < 1e-12);
  int32_t finite = -1;
  CHECK(fnn_is_finite(model, NULL) == FNN_INVALID && fnn_is_finite(model, &finite) == FNN_OK && finite == 1);
  after[model->network.n_parameters - 1] = INFINITY;
  CHECK(fnn_set_theta(model, after) == FNN_OK && fnn_is_finite(model, &finite) == FNN_OK && finite == 0);
  CHECK(fnn_reset(model) == FNN_OK && fnn_theta(model, after) == FNN_OK);
  CHECK(memcmp(before, after, model->network.n_parameters * sizeof(double)) == 0);
}

static void check_train_and_time(fnn_model *model) {
  static const int64_t batches[] = {1, 2, 3, 4, 5, 8, 11, 12, INT64_MAX};
  const int64_t last = model->network.n_parameters - 1;
  double seconds, checksum;
  for (int i = 0; i < LENGTH(batches); i++)
    CHECK(fnn_train(model, 0, N_ORDER, batches[i], 1e-3, &seconds) == FNN_OK);
  for (int64_t count = 1; count <= ROWS; count++)
    for (int32_t operation = FNN_FORWARD; operation <= FNN_GRADIENT; operation++) {
      const int64_t end = operation == FNN_FORWARD ? count * n_outputs(&model->network) - 1 : last;
      const int64_t probes[] = {end, 0, end / 2};
      CHECK(fnn_time(model, operation, ROWS - count, count, 7, probes, 3, &seconds, &checksum) == FNN_OK);
      CHECK(isfinite(checksum));
    }
  CHECK(fnn_reset(model) == FNN_OK);
}

/* Check one step of adam on rows 3 and 3 against its formula, and that training in two calls, with the state copied out
 * and in, ends where training in one does. */
static void check_optimizers(fnn_model *model) {
  static double before[MOST_PARAMETERS], after[MOST_PARAMETERS], gradient[MOST_PARAMETERS], state[2 * MOST_PARAMETERS];
  static const double zeros[2 * MOST_PARAMETERS], settings[] = {0.9, 0.99, 1e-3};
  static const char *const names[] = {"momentum", "nesterov", "adam"};
  const int64_t bytes = model->network.n_parameters * sizeof(double);
  double loss, seconds;
  int64_t steps;
  CHECK(fnn_train_with(model, 0, 1, 1, 0.1, &seconds) == FNN_INVALID); /* no optimizer yet */
  CHECK(fnn_optimizer_state(model, &steps, state) == FNN_INVALID);
  CHECK(fnn_theta(model, before) == FNN_OK);
  CHECK(fnn_loss_and_gradient(model, 3, 1, &loss, gradient) == FNN_OK);
  CHECK(fnn_set_optimizer(model, "adam", settings, 0, zeros) == FNN_OK);
  CHECK(fnn_train_with(model, 2, 2, 2, 0.125, &seconds) == FNN_OK && seconds >= 0);
  CHECK(fnn_theta(model, after) == FNN_OK);
  for (int64_t i = 0; i < model->network.n_parameters; i++) /* m = 0.1 g, v = 0.01 g^2 */
    CHECK(fabs(before[i] - after[i] - 0.125 * 0.1 * gradient[i] / (0.1 * fabs(gradient[i]) + 1e-3)) < 1e-9);
  for (int i = 0; i < LENGTH(names); i++) {
    CHECK(fnn_reset(model) == FNN_OK && fnn_set_optimizer(model, names[i], settings, 0, zeros) == FNN_OK);
    CHECK(fnn_train_with(model, 0, N_ORDER, 2, 1e-2, &seconds) == FNN_OK && fnn_theta(model, before) == FNN_OK);
    CHECK(fnn_reset(model) == FNN_OK && fnn_set_optimizer(model, names[i], settings, 0, zeros) == FNN_OK);
    CHECK(fnn_train_with(model, 0, 4, 2, 1e-2, &seconds) == FNN_OK);
    CHECK(fnn_optimizer_state(model, &steps, state) == FNN_OK && steps == 2);
    CHECK(fnn_set_optimizer(model, names[i], settings, steps, state) == FNN_OK);
    CHECK(fnn_train_with(model, 4, N_ORDER - 4, 2, 1e-2, &seconds) == FNN_OK && fnn_theta(model, after) == FNN_OK);
    CHECK(memcmp(before, after, bytes) == 0);
  }
  CHECK(fnn_set_optimizer(model, "rprop", settings, 0, zeros) == FNN_UNSUPPORTED);
  CHECK(fnn_set_optimizer(model, "adam", settings, -1, zeros) == FNN_INVALID);
  CHECK(fnn_set_optimizer(model, "adam", settings, INT64_MAX, zeros) == FNN_INVALID);
  CHECK(fnn_set_optimizer(model, "adam", zeros, 0, zeros) == FNN_INVALID); /* epsilon = 0 */
  CHECK(fnn_set_optimizer(model, "adam", settings, 0, NULL) == FNN_INVALID);
  CHECK(fnn_optimizer_state(model, NULL, state) == FNN_INVALID);
  CHECK(fnn_train_with(model, 0, 1, 0, 0.1, &seconds) == FNN_INVALID);
  CHECK(fnn_reset(model) == FNN_OK);
}

static void check_sample(sample *s) {
  fill(s);
  fnn_model *wide = make(s, FNN_FLOAT64), *narrow = make(s, FNN_FLOAT32); /* two models at once */
  for (int64_t count = 1; count <= ROWS; count += 3) {
    check_gradient(wide, ROWS - count, count);
    check_float_beside_double(narrow, wide, ROWS - count, count);
  }
  check_step(wide);
  check_optimizers(wide);
  check_train_and_time(wide);
  check_train_and_time(narrow);
  CHECK(fnn_threads(wide) == 1 && strlen(fnn_last_error(wide)) == 0);
  fnn_destroy(wide);
  fnn_destroy(narrow);
}

static void check_networks(void) {
  static const int64_t sizes[][6] = {{1, 1}, {11, 17}, {3, 5, 2}, {7, 33, 9, 1}, {5, 4, 8, 3, 6}, {13, 2, 1, 19, 3, 7}};
  static const int32_t layers[] = {1, 1, 2, 3, 4, 5};
  static const char *const hidden[] = {"tanh",     "sigmoid",  "relu",         "identity",  "leaky_relu(-0.3)",
                                       "elu(0.5)", "softplus", "hard_sigmoid", "hard_tanh", "prelu(-0.4)",
                                       "maxout(3)"};
  static sample s;
  for (int at = 0; at < LENGTH(layers); at++)
    for (int loss = 0; loss < LENGTH(losses_float); loss++)
      for (int f = 0; f < LENGTH(hidden); f++) {
        const char *functions[5];
        for (int l = 0; l < layers[at]; l++)
          functions[l] = hidden[(f + l) % LENGTH(hidden)];
        double unused;
        if (!is_elementwise(find_activation(functions[layers[at] - 1], &unused)))
          functions[layers[at] - 1] = "tanh"; /* the output layer has no layout of its own */
        if (losses_float[loss].fuses != NULL)
          functions[layers[at] - 1] = losses_float[loss].fuses;
        s.network = (fnn_network){layers[at], sizes[at], functions, losses_float[loss].name, f % 2 * 0.01, 0, 1};
        check_sample(&s);
      }
}

/* Return the status of fnn_create for this network and theta. */
static int status_of(fnn_network network, const void *theta) {
  fnn_model *model;
  const int status = fnn_create(&network, theta, &model);
  double number = 0;
  int64_t row = 0;
  CHECK(status == FNN_OK || strlen(fnn_last_error(model)) > 0);
  if (status != FNN_OK) { /* calls on this handle fail, and do not crash */
    CHECK(fnn_load(model, &number, &number, 1, &row, 1) == FNN_INVALID);
    CHECK(fnn_forward(model, 0, 1, &number) == FNN_INVALID);
    CHECK(fnn_theta(model, &number) == FNN_INVALID && fnn_reset(model) == FNN_INVALID);
    int32_t finite;
    CHECK(fnn_is_finite(model, &finite) == FNN_INVALID);
  }
  fnn_destroy(model);
  return status;
}

static void check_refusals(void) {
  const int64_t sizes[] = {2, 3, 1}, none[] = {2, 0, 1}, absurd[] = {INT64_MAX, INT64_MAX, 1},
                large[] = {1, 1ll << 57, 1};
  const char *functions[] = {"tanh", "identity"}, *unknown[] = {"tanh", "gauss"}, *early[] = {"softmax", "identity"};
  const char *bad[] = {"maxout(1)", "maxout(2.5)", "maxout(17)", "maxout(-2)", "maxout(nan)", "prelu(inf)"};
  const char *own[] = {"prelu", "maxout", "maxout(3)"};
  const double theta[13] = {0};
  const fnn_network good = {2, sizes, functions, "squared_error", 0, FNN_FLOAT64, 1};
  fnn_network n;
  CHECK(status_of(good, theta) == FNN_OK);
  CHECK(status_of(good, NULL) == FNN_INVALID);
  n = good, n.n_layers = 0;
  CHECK(status_of(n, theta) == FNN_INVALID);
  n = good, n.sizes = NULL;
  CHECK(status_of(n, theta) == FNN_INVALID);
  n = good, n.sizes = none;
  CHECK(status_of(n, theta) == FNN_INVALID);
  n = good, n.sizes = absurd;
  CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  n = good, n.sizes = large;
  CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  n = good, n.activations = unknown;
  CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  n = good, n.activations = early;
  CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  for (int i = 0; i < LENGTH(bad); i++) {
    const char *hidden[] = {bad[i], "identity"}, *output[] = {"tanh", own[i % LENGTH(own)]};
    n = good, n.activations = hidden;
    CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
    n = good, n.activations = output;
    CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  }
  n = good, n.loss = "softmax_cross_entropy";
  CHECK(status_of(n, theta) == FNN_INVALID);
  n = good, n.loss = "hinge";
  CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  n = good, n.l2 = -1;
  CHECK(status_of(n, theta) == FNN_INVALID);
  n = good, n.l2 = NAN;
  CHECK(status_of(n, theta) == FNN_INVALID);
  n = good, n.dtype = 2;
  CHECK(status_of(n, theta) == FNN_UNSUPPORTED);
  n = good, n.threads = 0;
  CHECK(status_of(n, theta) == FNN_INVALID);
  CHECK(fnn_create(&good, theta, NULL) == FNN_INVALID);
  fnn_model *model;
  CHECK(fnn_create(NULL, theta, &model) == FNN_INVALID);
  fnn_destroy(model);
  fnn_destroy(NULL);
}

static void check_bad_calls(void) {
  const int64_t sizes[] = {2, 1}, rows[] = {0, 1, 2}, beyond[] = {0, 3}, below[] = {-1}, probes[] = {0, 1, 2};
  const char *functions[] = {"identity"};
  const double theta[3] = {1, 2, 3}, x[6] = {0}, y[3] = {0};
  const fnn_network network = {1, sizes, functions, "squared_error", 0, FNN_FLOAT64, 1};
  double loss, seconds, gradient[3], outputs[3];
  fnn_model *m;
  CHECK(fnn_create(&network, theta, &m) == FNN_OK);
  CHECK(fnn_forward(m, 0, 1, outputs) == FNN_INVALID); /* no data yet */
  CHECK(fnn_load(m, x, y, 3, rows, 3) == FNN_OK);
  CHECK(fnn_load(m, x, y, 3, beyond, 2) == FNN_INVALID && fnn_load(m, x, y, 3, below, 1) == FNN_INVALID);
  CHECK(fnn_load(m, NULL, y, 3, rows, 3) == FNN_INVALID && fnn_load(m, x, y, 0, rows, 3) == FNN_INVALID);
  CHECK(fnn_load(m, x, y, INT64_MAX, rows, 3) == FNN_NO_MEMORY);
  CHECK(fnn_forward(m, 0, 3, outputs) == FNN_OK); /* the first data is kept */
  CHECK(fnn_forward(m, -1, 1, outputs) == FNN_INVALID && fnn_forward(m, 1, 3, outputs) == FNN_INVALID);
  CHECK(fnn_forward(m, INT64_MAX, INT64_MAX, outputs) == FNN_INVALID && fnn_forward(m, 0, 0, outputs) == FNN_INVALID);
  CHECK(fnn_forward(m, 0, INT64_MIN, outputs) == FNN_INVALID && fnn_forward(m, 0, 3, NULL) == FNN_INVALID);
  CHECK(fnn_loss_and_gradient(m, 0, 4, &loss, gradient) == FNN_INVALID);
  CHECK(fnn_loss_and_gradient(m, 0, 1, NULL, gradient) == FNN_INVALID);
  CHECK(fnn_train(m, 0, 4, 1, 0.1, &seconds) == FNN_INVALID && fnn_train(m, 0, 3, 0, 0.1, &seconds) == FNN_INVALID);
  CHECK(fnn_train(m, 0, 3, 1, NAN, &seconds) == FNN_INVALID && fnn_train(m, 0, 3, 1, 0.1, NULL) == FNN_INVALID);
  CHECK(fnn_time(m, 2, 0, 1, 1, probes, 1, &seconds, &loss) == FNN_INVALID);
  CHECK(fnn_time(m, FNN_FORWARD, 0, 1, 0, probes, 1, &seconds, &loss) == FNN_INVALID);
  CHECK(fnn_time(m, FNN_FORWARD, 0, 1, 1, NULL, 1, &seconds, &loss) == FNN_INVALID);
  CHECK(fnn_time(m, FNN_FORWARD, 0, 1, 1, probes, 0, &seconds, &loss) == FNN_INVALID);
  CHECK(fnn_time(m, FNN_FORWARD, 0, 2, 1, probes, 3, &seconds, &loss) == FNN_INVALID); /* 2 outputs: 0 and 1 */
  CHECK(fnn_time(m, FNN_FORWARD, 0, 3, 3, probes, 3, &seconds, &loss) == FNN_OK);
  CHECK(fnn_time(m, FNN_GRADIENT, 0, 1, 1, beyond, 2, &seconds, &loss) == FNN_INVALID); /* 3 parameters */
  CHECK(fnn_time(m, FNN_GRADIENT, 0, 1, 1, below, 1, &seconds, &loss) == FNN_INVALID);
  CHECK(fnn_theta(m, NULL) == FNN_INVALID && strlen(fnn_last_error(m)) > 0);
  fnn_destroy(m);
  CHECK(fnn_forward(NULL, 0, 1, outputs) == FNN_INVALID && fnn_reset(NULL) == FNN_INVALID);
  CHECK(strcmp(fnn_last_error(NULL), "out of memory") == 0);
}

/* Let each allocation fail in turn: the call reports it, the model keeps its state, and nothing leaks. */
static void check_failing_allocations(void) {
  const int64_t sizes[] = {2, 3, 1}, rows[] = {1, 0};
  const char *functions[] = {"relu", "identity"};
  const double theta[13] = {0.5, -1, 2}, x[4] = {1, 2, 3, 4}, y[2] = {1, 2};
  const fnn_network network = {2, sizes, functions, "squared_error", 0, FNN_FLOAT64, 1};
  double seconds, outputs[2];
  int status = FNN_NO_MEMORY;
  for (int64_t enough = 0; status != FNN_OK; enough++) {
    fnn_model *m;
    allocations_left = enough;
    status = fnn_create(&network, theta, &m);
    if (status == FNN_OK)
      status = fnn_load(m, x, y, 2, rows, 2);
    if (status == FNN_OK)
      status = fnn_forward(m, 0, 1, outputs);
    if (status == FNN_OK)
      status = fnn_train(m, 0, 2, 2, 0.01, &seconds);
    allocations_left = INT64_MAX;
    CHECK(status == FNN_OK || (status == FNN_NO_MEMORY && strlen(fnn_last_error(m)) > 0));
    CHECK(enough < 20);
    if (m != NULL && m->network.capacity > 0)
      CHECK(fnn_forward(m, 0, 1, outputs) == FNN_OK);
    fnn_destroy(m);
  }
}

int main(void) {
  CHECK(fnn_version() == FNN_VERSION && strstr(fnn_about(), "language=C\n") != NULL);
  check_networks();
  check_refusals();
  check_bad_calls();
  check_failing_allocations();
  printf("%d mismatches\n", mismatches);
  return mismatches > 0;
}
