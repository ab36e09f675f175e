/* probe.h: the peak rates of a CUDA device, one burst a call: multiply-adds in registers, and copies in its memory.
 *
 * The Python that reads this header decides how long the bursts last, and which of them counts. The caller owns every
 * array. No state is kept between calls.
 */
#ifndef FNN_PROBE_H
#define FNN_PROBE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FNN_PROBE_MESSAGE 256

enum fnn_probe_status {
  FNN_PROBE_OK = 0,
  FNN_PROBE_INVALID = 1,     /* an argument breaks a rule of this header */
  FNN_PROBE_NO_DEVICE = 2,   /* no driver, no device, or none of that number */
  FNN_PROBE_UNSUPPORTED = 3, /* the device has no such unit */
  FNN_PROBE_FAILED = 4       /* the device or its driver failed */
};

/* The units that multiply and add: those of either type, or the matrix units for float64 in IEEE 754 arithmetic, which
 * libraries use (compute capability 8.0 and up). No unit of lower precision: no TF32. */
enum fnn_probe_unit { FNN_PROBE_FLOAT32 = 0, FNN_PROBE_FLOAT64 = 1, FNN_PROBE_MATRIX64 = 2 };

typedef struct fnn_probe_device {
  char name[256];
  int32_t major, minor;               /* compute capability */
  int32_t processors;                 /* multiprocessors */
  int32_t driver, runtime;            /* CUDA versions, 1000 major + 10 minor */
  int64_t memory, free_memory, cache; /* bytes; cache: L2 */
  char message[FNN_PROBE_MESSAGE];
} fnn_probe_device;

typedef struct fnn_probe_burst {
  double amount;                   /* floating-point operations, two a multiply-add; or bytes read plus bytes written */
  double device_seconds;           /* between two events around the burst */
  double wall_seconds;             /* from an idle device to an idle device, by the host's clock */
  int64_t chains, steps;           /* multiply_adds: the number of chains, and of multiply-adds in each */
  double sum;                      /* multiply_adds: the sum of all chains at the end */
  char message[FNN_PROBE_MESSAGE]; /* the reason of a failure; "" on success */
} fnn_probe_burst;

/* Describe device number `device`, in the CUDA runtime's numbering. */
int fnn_probe_about(int32_t device, fnn_probe_device *about);

/* Compute chains of x <- x * factor + addend; the chains of a thread start at 0, 1, 2, ... The matrix units compute
 * x <- x + factor * 1 and ignore `addend`. blocks: of threads; 0 takes as many as fill the device. rounds >= 1: each of
 * a few dozen steps. */
int fnn_probe_multiply_adds(int32_t device, int32_t unit, int64_t blocks, int64_t rounds, double factor, double addend,
                            fnn_probe_burst *burst);

/* Copy one array of the device's memory to another, `bytes` each (a multiple of 16), `passes` times. `source` fills the
 * first array, and `destination` receives the second one at the end; either may be NULL. */
int fnn_probe_copy(int32_t device, int64_t bytes, int64_t passes, const void *source, void *destination,
                   fnn_probe_burst *burst);

#ifdef __cplusplus
}
#endif

#endif /* FNN_PROBE_H */
