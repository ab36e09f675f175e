/* optimizer.h: the part of fnn.c behind the optional functions of fnn.h for optimizers with a state. fnn.c includes it
 * at its end. Not here: mathematics, which is in optimizer_kernel.h.
 */

static int find_optimizer(const char *name) {
  for (int row = 0; optimizer_name(row) != NULL; row++)
    if (strcmp(optimizer_name(row), name) == 0)
      return row;
  return -1;
}

/* Report whether the settings of an optimizer are in range: those before the last of adam lie in [0, 1). */
static bool are_settings(int row, const double *settings) {
  const int n = optimizer_settings(row), shares = n > 1 ? n - 1 : n;
  for (int i = 0; i < shares; i++)
    if (!(settings[i] >= 0 && settings[i] < 1))
      return false;
  return shares == n || (settings[n - 1] > 0 && settings[n - 1] < INFINITY);
}

int fnn_set_optimizer(fnn_model *model, const char *optimizer, const double *settings, int64_t steps,
                      const void *state) {
  const int status = begin(model);
  if (status != FNN_OK)
    return status;
  if (optimizer == NULL || settings == NULL || state == NULL)
    return fail(model, FNN_INVALID, "optimizer, settings and state must not be NULL");
  const int row = find_optimizer(optimizer);
  if (row < 0)
    return fail(model, FNN_UNSUPPORTED, "no optimizer '%.40s'", optimizer);
  if (steps < 0 || steps > INT64_MAX / 2 || !are_settings(row, settings))
    return fail(model, FNN_INVALID, "steps or a setting of %s is out of range", optimizer);
  const mlp *network = &model->network;
  const int64_t vectors = optimizer_vectors(row), size = network->arithmetic->size;
  void *copy = allocate(network->n_parameters, vectors, size);
  if (copy == NULL)
    return no_memory(model, "the state of an optimizer");
  free(model->optimizer.state);
  model->optimizer.state = memcpy(copy, state, vectors * network->n_parameters * size);
  memcpy(model->optimizer.settings, settings, optimizer_settings(row) * sizeof(double));
  model->optimizer.row = row;
  model->optimizer.steps = steps;
  return FNN_OK;
}

/* Clear the error, and require that an optimizer was selected. */
static int begin_with_optimizer(fnn_model *model) {
  const int status = begin(model);
  if (status == FNN_OK && model->optimizer.state == NULL)
    return fail(model, FNN_INVALID, "no optimizer yet: call fnn_set_optimizer first");
  return status;
}

int fnn_optimizer_state(fnn_model *model, int64_t *steps_made, void *state) {
  const int status = begin_with_optimizer(model);
  if (status != FNN_OK)
    return status;
  if (steps_made == NULL || state == NULL)
    return fail(model, FNN_INVALID, "steps_made and state must not be NULL");
  const mlp *network = &model->network;
  const int64_t numbers = optimizer_vectors(model->optimizer.row) * network->n_parameters;
  memcpy(state, model->optimizer.state, numbers * network->arithmetic->size);
  *steps_made = model->optimizer.steps;
  return FNN_OK;
}

int fnn_train_with(fnn_model *model, int64_t first, int64_t count, int64_t batch_size, double learning_rate,
                   double *seconds) {
  const int status = begin_with_optimizer(model);
  return status == FNN_OK
             ? train(model, first, count, batch_size, learning_rate, seconds, model->network.arithmetic->train_with)
             : status;
}
