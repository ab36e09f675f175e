/* failing_allocations.c: preloaded into a process, makes one allocation of a module fail, or one that the C++ library
 * makes for it. Python's own succeed. For glibc.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

#define LEAST 64 /* bytes: nodes of pybind11's tables are smaller, for which it has no error */

typedef struct {
  uintptr_t start, end;
} range;

static range watched[64];
static int n_watched = 0;
static int64_t left = -1; /* allocations before the one that fails; -1: none fails */

static int add(struct dl_phdr_info *object, size_t size, void *name) {
  (void)size;
  if (strstr(object->dlpi_name, name) == NULL && strstr(object->dlpi_name, "libstdc++") == NULL)
    return 0;
  for (int i = 0; i < object->dlpi_phnum && n_watched < 64; i++)
    if (object->dlpi_phdr[i].p_type == PT_LOAD) {
      const uintptr_t start = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
      watched[n_watched++] = (range){start, start + object->dlpi_phdr[i].p_memsz};
    }
  return 0;
}

/* Watch the module in whose path `name` is; return the number of its segments and those of the C++ library. */
int watch(char *name) {
  n_watched = 0;
  dl_iterate_phdr(add, name);
  return n_watched;
}

void fail_after(int64_t allocations) {
  left = allocations;
}

static int fails(void *caller, size_t size) {
  if (left < 0 || size < LEAST)
    return 0;
  for (int i = 0; i < n_watched; i++)
    if ((uintptr_t)caller >= watched[i].start && (uintptr_t)caller < watched[i].end) {
      if (left == 0)
        errno = ENOMEM;
      return left-- == 0;
    }
  return 0;
}

void *malloc(size_t size) {
  return fails(__builtin_return_address(0), size) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  return fails(__builtin_return_address(0), count * size) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
  return fails(__builtin_return_address(0), size) ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  return fails(__builtin_return_address(0), size) ? NULL : __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size) {
  return fails(__builtin_return_address(0), size) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
  if (fails(__builtin_return_address(0), size))
    return ENOMEM;
  *memory = __libc_memalign(alignment, size);
  return *memory == NULL ? ENOMEM : 0;
}
