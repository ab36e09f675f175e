/* counted_allocations.c: fnn.c and mlp.c with their allocations counted, and made to fail when a test asks for it. */
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
int64_t allocations = 0, allocations_left = INT64_MAX;
int64_t allocations_between = 0; /* between the last two readings of the clock */
static int64_t at_last_reading = 0;
static void *counted_aligned_alloc(size_t alignment, size_t size) {
  allocations++;
  return allocations_left-- > 0 ? aligned_alloc(alignment, size) : NULL;
}
static void *counted_calloc(size_t count, size_t size) {
  allocations++;
  return allocations_left-- > 0 ? calloc(count, size) : NULL;
}
static int counted_clock_gettime(clockid_t clock, struct timespec *now) {
  allocations_between = allocations - at_last_reading;
  at_last_reading = allocations;
  return clock_gettime(clock, now);
}
#define aligned_alloc counted_aligned_alloc
#define calloc counted_calloc
#define clock_gettime counted_clock_gettime
#include "fnn.c"
#include "mlp.c"
/* Return the union of the offsets in a cache line of all arrays that a step uses: 0 if all start at one. */
__attribute__((visibility("default"))) int64_t offsets_in_line(const fnn_model *model) {
  const mlp *m = &model->network;
  uintptr_t all = (uintptr_t)m->theta | (uintptr_t)m->gradient | (uintptr_t)m->x | (uintptr_t)m->y |
                  (uintptr_t)m->order | (uintptr_t)m->X | (uintptr_t)m->T;
  for (const layer *l = m->layers; l < m->layers + m->n_layers; l++)
    all |= (uintptr_t)l->Z | (uintptr_t)l->A | (uintptr_t)l->delta;
  return all % 64;
}
