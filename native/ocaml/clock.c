/* clock.c: the clocks that OCaml's libraries lack, in seconds. worker.ml declares both functions. */
#include <time.h>

static double seconds_of(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

double fnn_wall_seconds(long unit) {
  (void)unit;
  return seconds_of(CLOCK_MONOTONIC);
}

/* CPU time of the process, all threads. */
double fnn_cpu_seconds(long unit) {
  (void)unit;
  return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}
