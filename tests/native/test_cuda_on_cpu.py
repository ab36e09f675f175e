"""Claims about tests/cuda_on_cpu itself: it runs CUDA code as CUDA does, and finds each mistake of a kernel or host.

The kernels of native/c_cuda run on it in test_cuda_on_cpu_kernels and test_cuda_on_cpu_mutations.
"""

import ctypes
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cuda_on_cpu import HERE, Device
from support.cuda_kernels import compiled, shared_folder

from pyfnn.validation import Array

SEEDS = (0, 1, 2)


class Samples:
    """The compiled samples.cu."""

    def __init__(self, library: Path) -> None:
        self.device = Device(library)
        self._lib = ctypes.CDLL(str(library))

    def run(self, name: str, blocks: int = 5) -> tuple[int, Array, Array, int]:
        """Run a sample; return CUDA's status, the sums of rows, the expected sums, and the number of counted blocks."""
        x = np.random.default_rng(0).random((blocks, 64), np.float32)
        out, counter = np.zeros(blocks, np.float32), np.zeros(1, np.uint32)
        pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (x, out, counter))
        status = self._lib.run_sample(name.encode(), blocks, *pointers)
        return status, out, x.sum(1), int(counter[0])

    def host(self, name: str) -> int:
        """Run a sample of host code; return CUDA's status, or the sample's value."""
        return int(self._lib.run_host_sample(name.encode()))


@pytest.fixture(scope="module")
def samples_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(shared_folder(tmp_path_factory), "samples", HERE / "samples.cu")


@pytest.fixture
def samples(samples_library: Path, tmp_path: Path) -> Samples:
    """Return the samples with a device of their own."""
    return Samples(Path(shutil.copy(samples_library, tmp_path)))


@pytest.mark.parametrize("preempt", [0, 1, 7])
@pytest.mark.parametrize("name", ["sum", "warp sum", "copied sum", "counted sum"])
def test_a_correct_kernel_gives_the_same_result_in_every_interleaving(
    samples: Samples, name: str, preempt: int
) -> None:
    ends = set()
    for seed in range(10):
        samples.device.seed(seed, preempt)
        status, out, expected, counted = samples.run(name)
        assert (status, samples.device.findings, samples.device.left) == (0, [], [])
        np.testing.assert_allclose(out, expected, rtol=1e-5)
        assert counted == (5 if name == "counted sum" else 0)
        ends.add(out.tobytes())
    assert len(ends) == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no barrier", r"reads shared memory .* wrote at samples.cu:\d+, with no barrier between"),
        ("no warp barrier", r"reads shared memory .*(never written|, with no barrier between)"),
        ("no wait", r"the target of an asynchronous copy at samples.cu:\d+ not waited for"),
        ("no barrier after the wait", r"never written|not waited for|no barrier between"),
        ("overwritten after a shuffle", "writes shared memory .*, which thread 0 read .* no barrier between"),
        ("overwritten by another warp", "(wrote|read) .* no barrier between"),
        ("overwritten by another block", "(wrote|read) .* of another block of the same launch"),
        ("divergent", r"waits in __syncthreads at samples.cu:\d+, others in that at samples.cu:\d+"),
        ("left early", r"waits in __syncthreads at samples.cu:\d+, and thread 7 has left the kernel"),
        ("inactive lane", r"reads lane 20, which is not in the mask of __shfl_sync"),
        ("masks differ", r"thread \d+ waits in __syncwarp at samples.cu:\d+, and thread \d+ has left the kernel"),
        ("beyond shared", r"reads shared memory at byte \d+ at samples.cu:\d+: the launch has 256 bytes"),
        ("unwritten shared", "reads shared memory .* never written"),
        ("beyond device", "writes device memory .* not allocated"),
        ("unwritten device", "reads device memory .* never written"),
        ("host memory", "reads host memory"),
        ("all blocks write", "writes device memory .* of another block of the same launch"),
        ("misaligned", "reads device memory .* not a multiple of 8"),
    ],
)
def test_each_mistake_of_a_kernel_is_found_in_every_interleaving(
    samples: Samples, name: str, words: str, seed: int
) -> None:
    samples.device.seed(seed)
    assert samples.run(name)[0] == 719  # cudaErrorLaunchFailure
    (finding,) = samples.device.findings
    assert re.search(words, finding), finding
    samples.device.reset()
    assert samples.run("sum")[0] == 0, "the next launch works"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("graph replayed", 16 * 2 * 3),
        ("events", 0),
        ("not waited for", 1),
        ("copied the wrong way", 21),
        ("copied beyond", 1),
        ("too many threads", 9),
        ("more shared memory than allowed", 1),
        ("more shared memory than there is", 1),
    ],
)
def test_the_host_gets_the_status_that_cuda_returns(samples: Samples, name: str, answer: int) -> None:
    assert samples.host(name) == answer
    assert (samples.device.findings, samples.device.left) == ([], [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("streams that do not wait for each other", "reads device memory .* never written"),
        ("host reads the device", "host code reads device memory .* at samples.cu"),
        ("use after free", "reads device memory .* not allocated"),
        ("freed twice", "cudaFree of device memory .* not allocated"),
    ],
)
def test_each_mistake_of_the_host_is_found(samples: Samples, name: str, words: str) -> None:
    samples.host(name)
    (finding,) = samples.device.findings
    assert re.search(words, finding), finding


def test_what_is_not_freed_is_counted(samples: Samples) -> None:
    samples.host("leak")
    assert samples.device.left == ["1 allocation", "1 event"]


@pytest.mark.parametrize("name", ["sum", "warp sum", "copied sum"])
def test_a_barrier_skipped_at_run_time_is_missed_as_one_that_is_not_in_the_source(samples: Samples, name: str) -> None:
    samples.run(name)
    barriers = samples.device.barriers()
    assert len(barriers) == {"sum": 2, "warp sum": 2, "copied sum": 3}[name]
    for barrier, places in barriers.items():
        samples.device.reset()
        samples.device.skip(places)
        assert samples.run(name)[0] == 719, barrier
        assert len(samples.device.findings) == 1


def test_a_needless_barrier_is_not_missed(samples: Samples) -> None:
    samples.run("needless barrier")
    ((_, places),) = samples.device.barriers().items()
    samples.device.skip(places)
    assert samples.run("needless barrier")[0] == 0
    assert samples.device.findings == []
