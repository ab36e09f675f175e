"""Checks of native backends: whether calls release the GIL, and the number of allocations in a step."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pyfnn.manifest import native_folder
from support.requirements import require

# C++ source that counts the calls of operator new in `allocations`.
_COUNTER = """
#include <cstdio>
#include <cstdlib>
#include <new>

static long allocations = 0;
void *operator new(std::size_t size) {
  ++allocations;
  if (void *memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void *operator new(std::size_t size, std::align_val_t to) {
  ++allocations;
  const std::size_t unit = static_cast<std::size_t>(to);
  if (void *memory = std::aligned_alloc(unit, (size + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void *memory, std::align_val_t) noexcept { std::free(memory); }
"""


def lets_others_run(work: Callable[[], object]) -> bool:
    """Return whether another Python thread advances during `work`.

    A machine that pauses this process shows no thread, so work is done again until one is seen, at most 30 times.
    """
    return any(_lets_others_run(work) for _ in range(30))


def _lets_others_run(work: Callable[[], object]) -> bool:
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    other = threading.Thread(target=tick)
    other.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    done.set()
    other.join()
    # While `work` holds the GIL the other thread cannot run, so its ticks lie only at the start and the end.
    return any(0.3 < (at - start) / seconds < 0.7 for at in ticks)


def allocations(folder: Path, source: str) -> list[int]:
    """Compile and run a C++ program that may read `allocations`; return the numbers it prints."""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    require("c++", compiler is not None, "install a C++17 compiler, or set CXX to one")
    assert compiler is not None
    file, program = folder / "allocations.cpp", folder / "allocations"
    file.write_text(_COUNTER + source)
    command = [compiler, "-std=c++17", "-O1", "-pthread", f"-I{native_folder() / 'cpp'}", str(file), "-o", str(program)]
    subprocess.run(command, check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return list(map(int, printed.split()))
