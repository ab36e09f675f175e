/* scatter.c: gives the heap of each process a layout of its own. The driver preloads this library into every worker on
 * Linux (pyfnn/process/worker.py), since fresh processes with the same commands lay out their heaps alike.
 *
 * Before `main`, blocks of random sizes are allocated and half of them freed, so that later blocks from malloc, up to
 * the size that it maps separately, begin at random offsets within a page. Heaps that do not come from malloc stay as
 * they are: the programs in Go, Java and Lua do the same by themselves. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

enum { BLOCKS = 256, LARGEST = 16384 }; /* bytes; about 1 MB stays allocated */

/* The next number of the SplitMix64 generator (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
 * generators", figure 1). */
static uint64_t next(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

__attribute__((constructor)) static void scatter(void) {
  uint64_t state;
  if (getrandom(&state, sizeof state, 0) != sizeof state)
    return;
  void *volatile blocks[BLOCKS]; /* volatile: the compiler may not leave the allocations out */
  for (int i = 0; i < BLOCKS; i++)
    blocks[i] = malloc(1 + next(&state) % LARGEST);
  for (int i = 0; i < BLOCKS; i++)
    if (next(&state) & 1)
      free(blocks[i]);
}
