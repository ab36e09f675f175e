/* optimizer_kernel.h: the optimizers with a state, in one dtype: momentum, Nesterov's momentum and Adam.
 *
 * mlp.c includes this file behind mlp_kernel.h, once for each dtype. Each function sets theta from the gradient g of
 * the last step, and its own state, all [n_parameters]. Nothing here checks an argument, allocates, or reads a clock.
 */

/* v <- mu v - rate g; theta <- theta + v. */
static void NAME(momentum)(const mlp *network, double learning_rate) {
  const optimizer *o = network->optimizer;
  const REAL rate = learning_rate, mu = o->settings[0];
  REAL *restrict theta = network->theta, *restrict v = o->state;
  const REAL *restrict g = network->gradient;
  for (int64_t i = 0; i < network->n_parameters; i++) {
    v[i] = mu * v[i] - rate * g[i];
    theta[i] += v[i];
  }
}

/* v <- mu v - rate g; theta <- theta + mu v - rate g. */
static void NAME(nesterov)(const mlp *network, double learning_rate) {
  const optimizer *o = network->optimizer;
  const REAL rate = learning_rate, mu = o->settings[0];
  REAL *restrict theta = network->theta, *restrict v = o->state;
  const REAL *restrict g = network->gradient;
  for (int64_t i = 0; i < network->n_parameters; i++) {
    v[i] = mu * v[i] - rate * g[i];
    theta[i] += mu * v[i] - rate * g[i];
  }
}

/* m <- beta_1 m + (1 - beta_1) g; v <- beta_2 v + (1 - beta_2) g^2; theta <- theta - step m / (sqrt(v) + epsilon). The
 * powers in `step` are computed in double: 1 - beta_2^t loses most digits of a float. */
static void NAME(adam)(const mlp *network, double learning_rate) {
  const optimizer *o = network->optimizer;
  const double beta_1 = o->settings[0], beta_2 = o->settings[1], t = o->steps;
  const REAL keep_1 = beta_1, add_1 = 1 - beta_1, keep_2 = beta_2, add_2 = 1 - beta_2;
  const REAL epsilon = fmax(o->settings[2], sizeof(REAL) == sizeof(float) ? FLT_MIN : DBL_MIN); /* 0/(0 + 0) is NaN */
  const REAL step = learning_rate * sqrt(1 - pow(beta_2, t)) / (1 - pow(beta_1, t));
  REAL *restrict theta = network->theta, *restrict m = o->state, *restrict v = m + network->n_parameters;
  const REAL *restrict g = network->gradient;
  for (int64_t i = 0; i < network->n_parameters; i++) {
    m[i] = keep_1 * m[i] + add_1 * g[i];
    v[i] = keep_2 * v[i] + add_2 * (g[i] * g[i]);
    theta[i] -= step * m[i] / (sqrt(v[i]) + epsilon);
  }
}

static const struct {
  const char *name;
  int vectors, settings; /* of its state, and numbers that set it */
  void (*update)(const mlp *network, double learning_rate);
} NAME(optimizers)[] = {
    {"momentum", 1, 1, NAME(momentum)},
    {"nesterov", 1, 1, NAME(nesterov)},
    {"adam", 2, 3, NAME(adam)},
};

static void NAME(update_with)(const mlp *network, double learning_rate) {
  network->optimizer->steps++;
  NAME(optimizers)[network->optimizer->row].update(network, learning_rate);
}

/* Train by the selected optimizer. */
static void NAME(train_with)(const mlp *network, int64_t first, int64_t count, int64_t batch_size, double rate) {
  NAME(steps)(network, first, count, batch_size, rate, NAME(update_with));
}
