"""Claims about the memory of C's library: aligned arrays, no allocation in a step, every failed allocation reported."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fnn_libraries import NETWORK, SOURCES, compile_library, compiler, data, row
from support.requirements import require

from pyfnn import registry
from pyfnn.backends import c
from pyfnn.network import initialize


class Counted:
    """C's library with its allocations counted, and `counts` to read and limit them."""

    def __init__(self, folder: Path) -> None:
        library = compile_library(folder, "counted_allocations.c")
        self.backend = registry.load(row(library))
        import cffi

        self.ffi: Any = cffi.FFI()
        self.ffi.cdef("extern int64_t allocations, allocations_between, allocations_left;")
        self.ffi.cdef("int64_t offsets_in_line(void *);")
        self.counts: Any = self.ffi.dlopen(str(library))


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def test_every_array_begins_at_a_cache_line(counted: Counted) -> None:
    with counted.backend.create(NETWORK, initialize(NETWORK, 1)) as model:
        model.load(*data(NETWORK))
        model.train(0, 11, 3, 0.01)
        assert isinstance(model, c.LibraryModel)
        assert counted.counts.offsets_in_line(counted.ffi.cast("void *", model._handle)) == 0


def test_no_step_allocates(counted: Counted) -> None:
    with counted.backend.create(NETWORK, initialize(NETWORK, 1)) as model:
        model.load(*data(NETWORK))
        before = counted.counts.allocations
        model.train(0, 11, 2, 0.01)
        assert counted.counts.allocations > before, "the first call prepares its workspace"
        assert counted.counts.allocations_between == 0
        model.time("gradient", 0, 6, 5)
        assert counted.counts.allocations_between == 0
        before = counted.counts.allocations
        model.train(0, 11, 3, 0.01)
        model.time("forward", 0, 6, 5)
        assert counted.counts.allocations == before, "a workspace that is large enough is kept"


def test_every_failed_allocation_is_reported_and_leaves_the_model_unchanged(counted: Counted) -> None:
    x, y, order = data(NETWORK)
    theta = initialize(NETWORK, 1)
    counts = counted.counts
    with counted.backend.create(NETWORK, theta) as model:
        model.load(x, y, order)
        before = model.forward(0, 2)
        for enough in range(3):
            counts.allocations_left = enough
            with pytest.raises(MemoryError, match="no memory for the data"):
                model.load(-x, y, order)
            counts.allocations_left = 2**62
            np.testing.assert_array_equal(model.forward(0, 2), before)
        counts.allocations_left = 0
        with pytest.raises(MemoryError, match="no memory for a batch of this size"):
            model.train(0, 11, 6, 0.1)
        np.testing.assert_array_equal(model.theta(), theta)
        np.testing.assert_array_equal(model.forward(0, 2), before)
    for enough, words in enumerate(["out of memory", "the layers", *["the parameters"] * 3]):
        counts.allocations_left = enough
        with pytest.raises(MemoryError, match=words):
            counted.backend.create(NETWORK, theta)


def test_every_function_is_clean_under_the_sanitizers(tmp_path: Path) -> None:
    cc, program = compiler(), tmp_path / "sanitize_test"
    sanitize = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    able = subprocess.run([cc, *sanitize, str(empty), "-o", str(program)], capture_output=True, check=False)
    require("sanitizers", able.returncode == 0, "install the compiler's ASan and UBSan libraries")
    subprocess.run([cc, *sanitize, str(SOURCES / "sanitize_test.c"), "-o", str(program), "-lm"], check=True)
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
