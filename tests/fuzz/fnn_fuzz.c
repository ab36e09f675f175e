/* fnn_fuzz.c: fuzzes fnn.h. Every input is a list of calls, with any arguments that a caller may give, on three models.
 *
 * clang -fsanitize=fuzzer,address,undefined makes a libFuzzer of it. With -DSTANDALONE it has a main of its own, for
 * compilers without one: fnn_fuzz RUNS SEED FILE ... runs the files, and RUNS mutations of them.
 *
 * Beside what the sanitizers find, a call must return a status of fnn.h, explain each failure, and change nothing where
 * it fails. Arrays have exactly the size that fnn.h gives them, so that a read or write beyond one is found. The file
 * includes fnn.c and mlp.c, to make allocations fail and to read theta.
 */
#define _POSIX_C_SOURCE 199309L
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MOST_BYTES (1 << 20) /* of one allocation; the system has no more */

static int64_t allocations_left = INT64_MAX; /* every later allocation of the library fails */

static void *limited_aligned_alloc(size_t alignment, size_t size) {
  return size <= MOST_BYTES && allocations_left-- > 0 ? aligned_alloc(alignment, size) : NULL;
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

static void require(bool holds, const char *claim, int line) {
  if (holds)
    return;
  fprintf(stderr, "fnn_fuzz.c:%d: this does not hold: %s\n", line, claim);
  abort();
}

#define REQUIRE(claim) require(claim, #claim, __LINE__)

/* --- Values from the input; zeros behind its end. ----------------------------------------------------------------- */

static const uint8_t *input, *input_end;

static uint8_t byte(void) {
  return input < input_end ? *input++ : 0;
}

static uint64_t bits(void) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++)
    value = value << 8 | byte();
  return value;
}

static double real(void) {
  const uint8_t kind = byte();
  const uint64_t all = kind % 8 ? 0 : bits();
  double any;
  memcpy(&any, &all, sizeof any);
  return kind % 8 ? (kind - 100) / 64.0 : any; /* mostly of moderate size; sometimes any bits */
}

/* Return a number of things: mostly from 1 to `most`; sometimes below, or far too many. */
static int64_t count_of(int64_t most) {
  const uint8_t kind = byte();
  if (kind < 240)
    return 1 + kind % most;
  return kind < 248 ? -(kind % 4) : INT64_MAX - (int64_t)(bits() >> (kind % 43 + 1));
}

/* --- Models. ------------------------------------------------------------------------------------------------------ */

#define MODELS 3
#define MOST_ROWS 12

static fnn_model *models[MODELS];

static int64_t theta_bytes(const fnn_model *model) {
  return model->network.n_parameters * model->network.arithmetic->size;
}

/* Allocate an array of exactly so many numbers of the model's dtype, filled with moderate ones. */
static void *numbers(const fnn_model *model, int64_t n) {
  const bool wide = model->network.arithmetic == &arithmetics[FNN_FLOAT64];
  float *narrow = malloc(n * (wide ? sizeof(double) : sizeof(float)));
  double *doubles = (double *)(void *)narrow, value = real();
  for (int64_t i = 0; i < n; i++, value = value * 0.75 + 0.125)
    if (wide)
      doubles[i] = value;
    else
      narrow[i] = (float)value;
  return narrow;
}

static int64_t *entries(int64_t n, int64_t stop) {
  int64_t *drawn = malloc(n * sizeof(int64_t));
  for (int64_t i = 0; i < n; i++) {
    const uint8_t kind = byte();
    drawn[i] = kind < 250 ? kind % stop : kind == 250 ? stop : kind == 251 ? -1 : (int64_t)bits();
  }
  return drawn;
}

/* Check the outcome of a call; theta: that before it, NULL where a success may change it. */
static void check(const fnn_model *model, int status, const void *theta) {
  REQUIRE(status >= FNN_OK && status <= FNN_NO_MEMORY);
  REQUIRE((strlen(fnn_last_error(model)) > 0) == (status != FNN_OK));
  if (model != NULL && model->created && theta != NULL)
    REQUIRE(memcmp(theta, model->network.theta, theta_bytes(model)) == 0);
}

/* Return the number of parameters of a network that fnn_create may accept; -1 where theirs is no number. */
static int64_t parameters(const fnn_network *network) {
  double sum = 0;
  for (int l = 0; l < network->n_layers; l++) {
    layer each = {0};
    if (network->sizes[l] < 1 || network->sizes[l + 1] < 1)
      return -1;
    each.activation = find_activation(network->activations[l], &each.parameter);
    if (each.activation >= 0)
      sum += ((network->sizes[l] + 1.0) * pieces(&each) + slopes_of_unit(&each)) * network->sizes[l + 1];
  }
  return sum < MOST_BYTES ? (int64_t)sum : -1;
}

static void create_call(fnn_model **model) {
  static const char *const names[] = {
      "identity",     "sigmoid",   "tanh",       "relu",      "leaky_relu(0.3)",  "elu(-0.5)",  "softplus",
      "hard_sigmoid", "hard_tanh", "prelu(0.1)", "maxout(3)", "softmax",          "maxout(17)", "maxout(2.5)",
      "elu(nan)",     "elu(",      "tanh(1)",    "",          "leaky_relu(1e999)"};
  static const char *const losses[] = {"squared_error", "half_squared_error", "softmax_cross_entropy",
                                       "sigmoid_cross_entropy", "hinge"};
  int64_t sizes[6];
  const char *activations[5];
  const int layers = byte() % 6;
  for (int l = 0; l <= layers; l++)
    sizes[l] = count_of(7);
  for (int l = 0; l < layers; l++)
    activations[l] = names[byte() % LENGTH(names)];
  const uint8_t loss = byte();
  if (layers > 0 && loss & 8) /* the output activation that the loss fuses */
    activations[layers - 1] = loss % 4 == 2 ? "softmax" : loss % 4 == 3 ? "sigmoid" : activations[layers - 1];
  const fnn_network network = {
      byte() % 16 ? layers : -layers, sizes,      activations,   losses[loss % 8 % LENGTH(losses)],
      byte() % 4 ? 0.01 : real(),     byte() % 3, (int8_t)byte()};
  const int64_t n = layers > 0 ? parameters(&network) : -1, n_theta = n > 0 ? n : 1;
  double *theta = malloc(n_theta * sizeof(double));
  for (int64_t i = 0; i < n_theta; i++)
    theta[i] = 0.001 * (i % 7) - 0.002;
  fnn_destroy(*model);
  const int status = fnn_create(byte() % 64 ? &network : NULL, byte() % 64 ? theta : NULL, model);
  check(*model, status, NULL);
  REQUIRE(*model != NULL || status == FNN_NO_MEMORY);
  free(theta);
}

static void load_call(fnn_model *model) {
  const mlp *network = &model->network;
  int64_t rows = count_of(MOST_ROWS);
  const int64_t given = rows >= 1 && rows <= MOST_ROWS ? rows : 1, n = 1 + byte() % MOST_ROWS;
  if (rows > MOST_ROWS)
    rows |= MOST_BYTES; /* more than any allocation holds */
  void *x = numbers(model, given * network->layers[0].inputs), *y = numbers(model, given * n_outputs(network));
  int64_t *order = entries(n, given);
  void *theta = malloc(theta_bytes(model));
  memcpy(theta, network->theta, theta_bytes(model));
  check(model, fnn_load(model, byte() % 64 ? x : NULL, y, rows, order, byte() % 64 ? n : -n), theta);
  free(theta);
  free(order);
  free(y);
  free(x);
}

/* A range of rows or of entries of order, with the number of those in it; 0 where it must be refused. */
typedef struct {
  int64_t first, count, inside;
} range;

static range draw_range(int64_t length) {
  range r = {byte() % 16 ? byte() % MOST_ROWS : (int64_t)bits(), count_of(MOST_ROWS), 0};
  if (r.first >= 0 && r.count >= 1 && r.count <= length && r.first <= length - r.count)
    r.inside = r.count;
  return r;
}

/* Call the functions that read a model; each leaves theta as it is. */
static void read_call(fnn_model *model, int function) {
  const mlp *network = &model->network;
  const range r = draw_range(network->rows);
  const int64_t m_L = n_outputs(network), n = network->n_parameters, repeats = byte() % 64 ? byte() % 8 : -1;
  const int32_t operation = byte() % 32 ? byte() % 2 : (int8_t)byte();
  const int64_t n_probes = 1 + byte() % 4, stop = operation == FNN_FORWARD && r.inside ? r.inside * m_L : n;
  void *theta = malloc(theta_bytes(model)), *outputs = numbers(model, r.inside ? r.inside * m_L : 1);
  void *gradient = numbers(model, n);
  int64_t *probes = entries(n_probes, stop);
  double loss, seconds;
  memcpy(theta, network->theta, theta_bytes(model));
  int status = FNN_OK;
  switch (function) {
  case 0:
    status = fnn_forward(model, r.first, r.count, byte() % 64 ? outputs : NULL);
    break;
  case 1:
    status = fnn_loss(model, r.first, r.count, byte() % 64 ? &loss : NULL);
    break;
  case 2:
    status = fnn_loss_and_gradient(model, r.first, r.count, &loss, byte() % 64 ? gradient : NULL);
    break;
  default:
    status = fnn_time(model, operation, r.first, r.count, repeats, byte() % 64 ? probes : NULL,
                      byte() % 64 ? n_probes : 0, &seconds, &loss);
  }
  REQUIRE(status != FNN_OK || r.inside);
  check(model, status, theta);
  free(probes);
  free(gradient);
  free(outputs);
  free(theta);
}

static void train_call(fnn_model *model, bool with) {
  const range r = draw_range(model->network.n_order);
  const int64_t batch = count_of(MOST_ROWS);
  const double rate = real();
  double seconds = -1;
  void *theta = malloc(theta_bytes(model));
  memcpy(theta, model->network.theta, theta_bytes(model));
  int (*const function)(fnn_model *, int64_t, int64_t, int64_t, double, double *) = with ? fnn_train_with : fnn_train;
  const int status = function(model, r.first, r.count, batch, rate, byte() % 64 ? &seconds : NULL);
  REQUIRE(status != FNN_OK || (r.inside && batch >= 1 && rate > 0 && rate < INFINITY && seconds >= 0));
  check(model, status, status == FNN_OK ? NULL : theta);
  free(theta);
}

static void theta_call(fnn_model *model, bool in) {
  void *theta = numbers(model, model->network.n_parameters), *given = byte() % 64 ? theta : NULL;
  const int status = in ? fnn_set_theta(model, given) : fnn_theta(model, given);
  REQUIRE((status == FNN_OK) == (given != NULL));
  check(model, status, status == FNN_OK ? theta : NULL);
  int32_t finite = -1;
  REQUIRE(fnn_is_finite(model, NULL) == FNN_INVALID && fnn_is_finite(model, &finite) == FNN_OK);
  REQUIRE(finite == 0 || finite == 1);
  free(theta);
}

static void optimizer_call(fnn_model *model, bool set) {
  static const char *const names[] = {"momentum", "nesterov", "adam", "sgd", ""};
  const double settings[] = {byte() / 256.0, real(), real()};
  void *state = numbers(model, 2 * model->network.n_parameters);
  int64_t steps = byte() % 16 ? byte() : (int64_t)bits();
  const int status = set ? fnn_set_optimizer(model, byte() % 64 ? names[byte() % LENGTH(names)] : NULL, settings, steps,
                                             byte() % 64 ? state : NULL)
                         : fnn_optimizer_state(model, byte() % 64 ? &steps : NULL, state);
  check(model, status, NULL);
  free(state);
}

/* Call every function with a handle that has no network; each must refuse it. */
static void call_without_network(fnn_model *model) {
  double number = 0;
  int64_t row = 0;
  REQUIRE(fnn_load(model, &number, &number, 1, &row, 1) == FNN_INVALID);
  REQUIRE(fnn_forward(model, 0, 1, &number) == FNN_INVALID && fnn_loss(model, 0, 1, &number) == FNN_INVALID);
  REQUIRE(fnn_loss_and_gradient(model, 0, 1, &number, &number) == FNN_INVALID);
  REQUIRE(fnn_train(model, 0, 1, 1, 1, &number) == FNN_INVALID);
  REQUIRE(fnn_train_with(model, 0, 1, 1, 1, &number) == FNN_INVALID);
  REQUIRE(fnn_time(model, 0, 0, 1, 1, &row, 1, &number, &number) == FNN_INVALID);
  REQUIRE(fnn_theta(model, &number) == FNN_INVALID && fnn_set_theta(model, &number) == FNN_INVALID);
  REQUIRE(fnn_set_optimizer(model, "adam", &number, 0, &number) == FNN_INVALID);
  REQUIRE(fnn_optimizer_state(model, &row, &number) == FNN_INVALID && fnn_reset(model) == FNN_INVALID);
  int32_t finite = 0;
  REQUIRE(fnn_is_finite(model, &finite) == FNN_INVALID);
  REQUIRE(fnn_threads(model) == 1);
}

static void call(fnn_model **model) {
  const uint8_t function = byte() % 16;
  if (function == 0 || *model == NULL) {
    create_call(model);
  } else if (function == 1) {
    fnn_destroy(*model);
    *model = NULL;
  } else if (!(*model)->created) {
    call_without_network(*model);
  } else if (function < 4) {
    load_call(*model);
  } else if (function < 8) {
    read_call(*model, function - 4);
  } else if (function < 11) {
    train_call(*model, function == 10);
  } else if (function < 13) {
    theta_call(*model, function == 12);
  } else if (function < 15) {
    optimizer_call(*model, function == 13);
  } else {
    check(*model, fnn_reset(*model), (*model)->network.start);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input = data;
  input_end = data + size;
  while (input < input_end) {
    const uint8_t place = byte();
    allocations_left = place >= 224 ? place % 8 : INT64_MAX;
    call(&models[place % MODELS]);
  }
  allocations_left = INT64_MAX;
  call_without_network(NULL);
  for (int i = 0; i < MODELS; i++) {
    fnn_destroy(models[i]);
    models[i] = NULL;
  }
  return 0;
}

#ifdef STANDALONE

#define MOST_INPUT 512

static uint64_t state;

/* Return the next number (Knuth's MMIX generator). */
static uint32_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(state >> 32);
}

/* Replace, repeat or append some bytes; return the new size. */
static size_t mutate(uint8_t *data, size_t size) {
  for (uint32_t changes = 1 + draw() % 8; changes > 0; changes--)
    if (size == 0 || (draw() % 4 == 0 && size < MOST_INPUT))
      data[size++] = (uint8_t)draw();
    else if (draw() % 8 == 0)
      data[draw() % size] = data[draw() % size];
    else
      data[draw() % size] = (uint8_t)draw();
  return size;
}

int main(int words, char **word) {
  if (words < 3)
    return 2;
  const long runs = atol(word[1]);
  state = strtoull(word[2], NULL, 10);
  static uint8_t files[256][MOST_INPUT];
  size_t sizes[256] = {0}, n = 0;
  for (; (int)n + 3 < words && n < 256; n++) {
    FILE *file = fopen(word[n + 3], "rb");
    if (file == NULL)
      return 2;
    sizes[n] = fread(files[n], 1, MOST_INPUT, file);
    fclose(file);
    LLVMFuzzerTestOneInput(files[n], sizes[n]);
  }
  for (long run = 0; run < runs; run++) {
    uint8_t data[MOST_INPUT];
    const size_t from = n > 0 ? draw() % n : 0;
    memcpy(data, files[from], sizes[from]);
    LLVMFuzzerTestOneInput(data, mutate(data, sizes[from]));
  }
  printf("%ld runs, %zu files\n", runs, n);
  return 0;
}

#endif
