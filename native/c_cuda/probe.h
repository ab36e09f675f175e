/* probe.h: what a CUDA device can do, a burst at a time: multiply-adds in registers, and bytes to and from its memory.
 *
 * bench.device_probe reads this header and asks for bursts; how long they last and which counts is decided there.
 * Nothing here computes anything of use. Every array is the caller's. No state is kept between calls.
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

/* Which units multiply and add: those of either type, or the matrix units that compute float64 exactly as IEEE 754 has
 * it, which libraries use (compute capability 8.0 and up). Nothing of lower precision: no TF32. */
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
  double amount;         /* floating-point operations, a multiply-add being two; or bytes read plus bytes written */
  double device_seconds; /* between two events around the burst */
  double wall_seconds;   /* from an idle device to an idle device */
  int64_t chains, steps; /* multiply_adds: so many chains of so many multiply-adds each */
  double sum;            /* multiply_adds: of what all chains hold in the end */
  char message[FNN_PROBE_MESSAGE]; /* why the call failed; "" if it did not */
} fnn_probe_burst;

/* About device number `device`, as the CUDA runtime counts them. */
int fnn_probe_about(int32_t device, fnn_probe_device *about);

/* Chains of x <- x * factor + addend, the chains of a thread starting at 0, 1, 2, ...; on the matrix units
 * x <- x + factor * 1, whatever `addend` is. blocks: of threads; 0 for as many as fill the device. rounds >= 1: of a
 * few dozen steps each. */
int fnn_probe_multiply_adds(int32_t device, int32_t unit, int64_t blocks, int64_t rounds, double factor, double addend,
                            fnn_probe_burst *burst);

/* Copies from one array of the device's memory to another, `bytes` (a multiple of 16) each, `passes` times. Where
 * given, `source` is what the first array holds and `destination` gets what the second one holds in the end. */
int fnn_probe_copy(int32_t device, int64_t bytes, int64_t passes, const void *source, void *destination,
                   fnn_probe_burst *burst);

#ifdef __cplusplus
}
#endif

#endif /* FNN_PROBE_H */
