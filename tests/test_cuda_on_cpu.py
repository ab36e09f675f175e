"""Claims about the CUDA kernels that need no GPU: tests/cuda_on_cpu runs the same sources, watching every access.

First that layer itself, by kernels with one mistake each; then the kernels of native/c_cuda, through the parity
battery, with planted bugs, with each barrier taken away in turn, with each of CUDA's calls failing in turn.
"""

import ctypes
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest
from conftest import require
from cuda_on_cpu import Device
from strategies import targets

from pyfnn import parity, registry
from pyfnn.backend import Array, Backend
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.manifest import Row, native_folder
from pyfnn.network import DTYPES, Network, initialize

SOURCES = native_folder() / "c_cuda"
PATHS = {"small": (), "large": ("-DFNN_PERSISTENT_OPERATIONS=0",)}  # in one launch a training; a launch a product
SEEDS = (0, 1, 2)


def _require_gcc() -> None:
    require("g++", cuda_on_cpu.compiler() is not None, "install GCC's C++ compiler and binutils")


# The layer itself -----------------------------------------------------------------------------------------------------


class Samples:
    """samples.cu, compiled."""

    def __init__(self, library: Path) -> None:
        self.device = Device(library)
        self._lib = ctypes.CDLL(str(library))

    def run(self, name: str, blocks: int = 5) -> tuple[int, Array, Array, int]:
        """CUDA's answer, the sums of rows that came out and that should have, the blocks that were counted."""
        x = np.random.default_rng(0).random((blocks, 64), np.float32)
        out, counter = np.zeros(blocks, np.float32), np.zeros(1, np.uint32)
        pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (x, out, counter))
        status = self._lib.run_sample(name.encode(), blocks, *pointers)
        return status, out, x.sum(1), int(counter[0])

    def host(self, name: str) -> int:
        """What CUDA answered the host, or what the sample is to return."""
        return int(self._lib.run_host_sample(name.encode()))


@pytest.fixture(scope="module")
def samples_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _require_gcc()
    folder = tmp_path_factory.mktemp("samples")
    return cuda_on_cpu.compile_library(folder / "samples.so", cuda_on_cpu.HERE / "samples.cu")


@pytest.fixture
def samples(samples_library: Path, tmp_path: Path) -> Samples:
    """With a device of its own."""
    return Samples(Path(shutil.copy(samples_library, tmp_path)))


@pytest.mark.parametrize("preempt", [0, 1, 7])
@pytest.mark.parametrize("name", ["sum", "warp sum", "copied sum", "counted sum"])
def test_what_is_right_is_right_in_any_interleaving(samples: Samples, name: str, preempt: int) -> None:
    ends = set()
    for seed in range(10):
        samples.device.seed(seed, preempt)
        status, out, wanted, counted = samples.run(name)
        assert (status, samples.device.findings, samples.device.left) == (0, [], [])
        np.testing.assert_allclose(out, wanted, rtol=1e-5)
        assert counted == (5 if name == "counted sum" else 0)
        ends.add(out.tobytes())
    assert len(ends) == 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no barrier", r"reads shared memory .* wrote at samples.cu:\d+, with no barrier between"),
        ("no warp barrier", r"reads shared memory .*(nobody wrote|, with no barrier between)"),
        ("no wait", r"the target of an asynchronous copy at samples.cu:\d+ not waited for"),
        ("no barrier after the wait", r"nobody wrote|not waited for|no barrier between"),
        ("overwritten after a shuffle", "writes shared memory .*, which thread 0 read .* no barrier between"),
        ("overwritten by another warp", "(wrote|read) .* no barrier between"),
        ("overwritten by another block", "(wrote|read) .* of another block of the same launch"),
        ("divergent", r"waits in __syncthreads at samples.cu:\d+, others in that at samples.cu:\d+"),
        ("left early", r"waits in __syncthreads at samples.cu:\d+, and thread 7 has left the kernel"),
        ("inactive lane", r"reads lane 20, which is not in the mask of __shfl_sync"),
        ("masks differ", r"thread \d+ waits in __syncwarp at samples.cu:\d+, and thread \d+ has left the kernel"),
        ("beyond shared", r"reads shared memory at byte \d+ at samples.cu:\d+: the launch has 256 bytes"),
        ("unwritten shared", "reads shared memory .* nobody wrote"),
        ("beyond device", "writes device memory .* not allocated"),
        ("unwritten device", "reads device memory .* nobody wrote"),
        ("host memory", "reads host memory"),
        ("all blocks write", "writes device memory .* of another block of the same launch"),
        ("misaligned", "reads device memory .* not a multiple of 8"),
    ],
)
def test_each_mistake_of_a_kernel_is_found_whatever_the_interleaving(
    samples: Samples, name: str, words: str, seed: int
) -> None:
    samples.device.seed(seed)
    assert samples.run(name)[0] == 719  # cudaErrorLaunchFailure
    (finding,) = samples.device.findings
    assert re.search(words, finding), finding
    samples.device.reset()
    assert samples.run("sum")[0] == 0, "the layer lives on"


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
def test_the_host_is_answered_as_by_cuda(samples: Samples, name: str, answer: int) -> None:
    assert samples.host(name) == answer
    assert (samples.device.findings, samples.device.left) == ([], [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("streams that do not wait for each other", "reads device memory .* nobody wrote"),
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
def test_a_barrier_taken_away_while_running_is_as_one_that_was_never_written(samples: Samples, name: str) -> None:
    samples.run(name)
    barriers = samples.device.barriers()
    assert len(barriers) == {"sum": 2, "warp sum": 2, "copied sum": 3}[name]
    for barrier, places in barriers.items():
        samples.device.reset()
        samples.device.skip(places)
        assert samples.run(name)[0] == 719, barrier
        assert len(samples.device.findings) == 1


def test_a_barrier_that_orders_nothing_is_not_missed(samples: Samples) -> None:
    samples.run("needless barrier")
    ((_, places),) = samples.device.barriers().items()
    samples.device.skip(places)
    assert samples.run("needless barrier")[0] == 0
    assert samples.device.findings == []


# The kernels ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hosted:
    """A library of the kernels, and the device that it runs on."""

    backend: Backend
    device: Device


def _host(library: Path) -> Hosted:
    device = Device(library)
    row = Row(name="cuda", language="CUDA", division="tuned", host="pyfnn.backends.c:Library", library=str(library))
    return Hosted(registry.load(row), device)


@cache
def _compiled(folder: Path, path: str) -> Hosted:
    return _host(cuda_on_cpu.compile_library(folder / f"{path}.so", SOURCES / "mlp.cu", *PATHS[path]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _require_gcc()
    return tmp_path_factory.mktemp("cuda_on_cpu")


@pytest.fixture(params=list(PATHS))
def cuda(request: pytest.FixtureRequest, folder: Path) -> Iterator[Hosted]:
    """Either path. Nothing may have been found, nothing may be left."""
    hosted = _compiled(folder, request.param)
    hosted.device.reset()
    yield hosted
    assert hosted.device.findings == []
    assert hosted.device.left == []


@cache
def _battery(network: Network, batch: int) -> list[parity.Trial]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24 + 8 * batch, network.sizes[0])).astype(network.dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, len(x), rng), batch)


@cache
def _many_battery(network: Network, members: int, batch: int) -> list[parity.ManyTrial]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(24 + 8 * batch, network.sizes[0])).astype(network.dtype)
    thetas = np.stack([initialize(network, seed) for seed in range(members)])
    l2 = np.linspace(0.0, 0.05, members)
    return parity.many_battery(network, thetas, l2, x, targets(network, len(x), rng), batch)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "activation", "loss", "batch"),
    [
        ((5, 7, 4, 3), "tanh", "squared_error", 1),
        ((6, 9, 4), "relu", "softmax_cross_entropy", 4),
        ((3, 2), "sigmoid", "sigmoid_cross_entropy", 5),
        ((17, 40, 3), "sigmoid", "half_squared_error", 1),
    ],
)
def test_the_kernels_agree_with_the_oracle(
    cuda: Hosted, sizes: tuple[int, ...], activation: str, loss: str, batch: int, dtype: str
) -> None:
    trials = _battery(Network(sizes, activation, loss, dtype=dtype), batch)
    cuda.device.seed(batch)
    evidence = parity.examine(cuda.backend.create, trials)
    assert evidence.passed, evidence.worst


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("members", "batch"), [(5, 1), (3, 4)])
def test_many_networks_at_once_agree_with_the_oracle(cuda: Hosted, members: int, batch: int, dtype: str) -> None:
    trials = _many_battery(Network((5, 7, 3), "tanh", "squared_error", dtype=dtype), members, batch)
    evidence = parity.examine_many(cuda.backend.create_many, trials)
    assert evidence.passed, evidence.worst


NETWORK = Network((5, 4, 9, 3), "relu", "softmax_cross_entropy", l2=0.01)
Work = Callable[[Hosted], list[Array]]


def _data(network: Network, rows: int = 12) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    return x, targets(network, rows, rng), rng.integers(rows, size=2 * rows)


def _everything(hosted: Hosted, network: Network = NETWORK) -> list[Array]:
    """All that a model and an ensemble compute, with batches of one, of several, and a short last one."""
    x, y, order = _data(network)
    theta = initialize(network, 2)
    got = []
    with hosted.backend.create(network, theta) as model:
        model.load(x, y, order)
        got += [model.forward(2, 9), model.loss_and_gradient(1, 10)[1]]
        for batch in (1, 5):
            model.train(1, 13, batch, 0.05)
            got.append(model.theta())
        for operation in ("forward", "gradient"):
            model.time(operation, 0, 7, 3)
            got.append(np.array(model.checksum))
        model.reset()
        got.append(model.theta())
    with hosted.backend.create_many(network, np.stack([theta, -theta]), np.array([0.0, 0.1])) as many:
        many.load(x, y, np.stack([order, order[::-1]]))
        for batch in (1, 4):
            many.train(1, 9, batch, np.array([0.05, 0.02]))
            got.append(many.thetas())
    return got


def test_a_rate_too_small_for_float32_moves_nothing(cuda: Hosted) -> None:
    x, y, order = _data(NETWORK)
    theta = initialize(NETWORK, 2)
    with cuda.backend.create(NETWORK, theta) as model:
        model.load(x, y, order)
        for batch in (1, 5):
            model.train(1, 13, batch, 1e-46)
        assert (model.theta() == theta).all()


@pytest.mark.parametrize("preempt", [0, 50])
def test_the_bits_do_not_hang_on_the_interleaving(cuda: Hosted, preempt: int) -> None:
    ends = []
    for seed in SEEDS:
        cuda.device.seed(seed, preempt)
        ends.append(b"".join(array.tobytes() for array in _everything(cuda)))
    assert len(set(ends)) == 1


TILED = [  # networks and batches whose products take tiles of every size
    (Network((3, 128, 384, 2), "tanh", "squared_error"), 384),
    (Network((128, 64, 2), "tanh", "squared_error"), 128),
    (Network((5, 7, 3), "tanh", "squared_error"), 8),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_in_tiles_of_every_size_agree_with_the_oracle(folder: Path, dtype: str) -> None:
    hosted = _compiled(folder, "large")
    hosted.device.reset()
    for network, rows in TILED:
        own = _battery(replace(network, dtype=dtype), rows)[0]
        single_step = replace(own, walks=own.walks[1:])
        evidence = parity.examine(hosted.backend.create, [single_step], deterministic=False)  # others are held to it
        assert evidence.passed, evidence.worst
    assert hosted.device.findings == []
    tiles = rf"(void )?fnn::multiply_tile<fnn::Tile<{'float' if dtype == 'float32' else 'double'},"
    compiled = {function for function in hosted.device.functions() if re.match(tiles, function)}
    assert len(compiled) >= 3
    assert compiled - hosted.device.launched() == set()


def _kernels(folder: Path) -> set[str]:
    """The names of all kernels in a folder."""
    comments, declared = r"/\*.*?\*/", r"__global__\s+void\s+(?:__launch_bounds__\(.*?\)\s*)?(\w+)\("
    paths = [path for path in folder.iterdir() if path.suffix in {".cu", ".cuh", ".hpp"}]
    texts = (re.sub(comments, "", path.read_text(encoding="utf-8"), flags=re.DOTALL) for path in paths)
    return {name for text in texts for name in re.findall(declared, text)}


def test_every_other_kernel_that_is_compiled_has_run_here(folder: Path) -> None:
    probes = {"chained", "multiplied", "copied"}  # probe.cu's, which test_device_probe runs
    names = _kernels(SOURCES) - {"multiply_tile", "epilogue_all"} - probes  # the second follows cuBLAS, which is not here
    assert len(names) >= 5
    compiled, ran = set(), set()
    for path in PATHS:
        hosted = _compiled(folder, path)
        hosted.device.reset()
        for dtype in DTYPES:
            _everything(hosted, replace(NETWORK, dtype=dtype))
        ran |= hosted.device.launched()
        compiled |= {f for f in hosted.device.functions() if re.match(rf"(void )?fnn::({'|'.join(names)})[<(]", f)}
    assert compiled - ran == set()


def test_without_a_device_the_library_loads_and_says_what_to_do(folder: Path) -> None:
    hosted = _compiled(folder, "small")
    hosted.device.reset()
    hosted.device.devices(0)
    try:
        with pytest.raises(BackendUnavailable) as caught:
            _host(hosted.device.library)
        assert re.search("device|driver|GPU", caught.value.reason)
        assert caught.value.remedy
    finally:
        hosted.device.reset()


@pytest.mark.parametrize("number", ["x", "7", "-1"])
def test_a_device_that_is_not_there_is_refused_naming_those_that_are(
    folder: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = _compiled(folder, "small")
    monkeypatch.setenv("PYFNN_CUDA_DEVICE", number)
    with pytest.raises(BackendUnavailable) as caught:
        _host(hosted.device.library)
    assert f"PYFNN_CUDA_DEVICE={number}: there are the devices 0 (fibers on the CPU)" in caught.value.reason
    assert "PYFNN_CUDA_DEVICE" in caught.value.remedy


# Failures on demand ---------------------------------------------------------------------------------------------------


def test_whichever_call_of_cuda_fails_it_is_told_in_words_and_nothing_is_left(cuda: Hosted) -> None:
    small = Network((3, 4, 2), "tanh", "squared_error")
    x, y, order = _data(small)

    def work() -> None:
        with cuda.backend.create(small, initialize(small, 1)) as model:
            model.load(x, y, order)
            model.loss_and_gradient(0, 3)
            model.train(0, 5, 2, 0.1)
            model.theta()

    cuda.device.fail_at(0)
    work()
    calls, told = cuda.device.calls, []
    assert calls > 20
    for call in range(1, calls + 1):
        cuda.device.fail_at(call)
        try:
            work()
        except (PyfnnError, MemoryError) as error:
            told.append(str(error))
        assert cuda.device.left == [], f"call {call} of {calls}"
    cuda.device.fail_at(0)
    work()
    assert len(told) > calls / 2, "only what ends something may fail unheard"
    assert [words for words in told if not re.search(r"cudaError\w+|no memory", words)] == []


# Mutation -------------------------------------------------------------------------------------------------------------

WIDE = Network((70, 40, 40, 3), "tanh", "squared_error", l2=0.01, dtype="float64")
MUTATED = (NETWORK, WIDE, replace(NETWORK, l2=0.0, dtype="float64"))


def test_every_barrier_is_needed_and_missed_when_it_is_taken_away(folder: Path) -> None:
    """Each barrier, wait and commit in turn; if nothing was found, the outputs must differ: else it is needless."""
    survivors, seen = [], set()
    for path in PATHS:
        hosted = _compiled(folder, path)
        hosted.device.reset()
        expected = [[array.tobytes() for array in _everything(hosted, network)] for network in MUTATED]
        barriers = hosted.device.barriers()
        seen |= {barrier.split()[1] for barrier in barriers}
        for barrier, places in barriers.items():
            if not any(_missed(hosted, places, *trial) for trial in zip(MUTATED, expected, strict=True)):
                survivors.append(f"{path} path: {barrier} is missed by nothing: needless? delete it")
        hosted.device.reset()
    assert survivors == []
    written = set()
    for source in SOURCES.glob("*.cuh"):
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"^\s*(__sync\w+|__pipeline_(commit|wait_prior))\(", line):
                written.add(f"{source.name}:{number}")
    assert seen == written, "a barrier that was never passed has not been shown to be needed"


def _missed(hosted: Hosted, places: list[int], network: Network, expected: list[bytes]) -> bool:
    """Whether a run without this barrier fails, has something found, or ends elsewhere."""
    hosted.device.reset()
    hosted.device.skip(places)
    try:
        ends = [array.tobytes() for array in _everything(hosted, network)]
    except PyfnnError:
        return True
    return bool(hosted.device.findings) or ends != expected


# Planted bugs ---------------------------------------------------------------------------------------------------------

PLANTED = {  # (source, an expression that stands there once, what this bug makes of it)
    "l2 forgotten, single rows": (
        "persistent.cuh",
        "a * shared[layer.delta + j] + l2 * w",
        "a * shared[layer.delta + j]",
    ),
    "l2 forgotten, several rows": ("persistent.cuh", "dW[c] + l2 * W[c * layer.W_stride]", "dW[c]"),
    "the biases go uphill": ("persistent.cuh", "shared[layer.b + j] -= rate * sum", "shared[layer.b + j] += rate * sum"),
    "the first input's weights stay": ("persistent.cuh", "update && inside", "update && inside && i > 0"),
    "full size for a short batch": ("persistent.cuh", "arguments.loss_derivative / rows", "arguments.loss_derivative / Real(batch)"),
    "relu's derivative is 1 at 0": ("functions.cuh", "a > 0 ? delta : Real(0)", "a >= 0 ? delta : Real(0)"),
    "a loss without its mean": ("step.cuh", "row_losses[n] / double(rows)", "row_losses[n]"),
    "a gradient without its mean": (
        "spread.hpp",
        "Real(losses[network_.loss].derivative) / Real(B)",
        "Real(losses[network_.loss].derivative)",
    ),
    "l2 forgotten in the gradient": ("product.cuh", "sums.at[v] + arguments.l2 * below.at[v]", "sums.at[v]"),
    "order forgotten": ("step.cuh", "arguments.order[*arguments.cursor + n]", "n"),
    "the last row left out of db": (
        "step.cuh",
        "layer.delta.data[n * layer.delta.stride + j]",
        "n + 1 < arguments.rows ? layer.delta.data[n * layer.delta.stride + j] : Real(0)",
    ),
}
PLANTED_BATCH = 60


def _plant(folder: Path) -> Path:
    """mlp.cu of a copy of the sources that has all of these bugs, none of them in force until it is chosen."""
    shutil.copytree(SOURCES, folder)
    for number, (source, right, wrong) in enumerate(PLANTED.values(), 1):
        text = (folder / source).read_text(encoding="utf-8")
        assert text.count(right) == 1, f"{source} has {right!r} {text.count(right)} times: plant this bug elsewhere"
        either = f"(planted_bug == {number} ? ({wrong}) : ({right}))"
        (folder / source).write_text(text.replace(right, either), encoding="utf-8")
    main = folder / "mlp.cu"
    chooser = 'extern "C" __attribute__((visibility("default"))) int planted_bug = 0;\n'
    main.write_text(chooser + main.read_text(encoding="utf-8"), encoding="utf-8")
    return main


@pytest.fixture(scope="module")
def planted(folder: Path) -> Hosted:
    """Small batches go the small path, that of `PLANTED_BATCH` the large."""
    source = _plant(folder / "planted")
    return _host(cuda_on_cpu.compile_library(folder / "planted.so", source, "-DFNN_PERSISTENT_OPERATIONS=20000"))


@pytest.mark.parametrize("bug", [None, *PLANTED])
def test_a_bug_planted_in_a_kernel_is_rejected(planted: Hosted, bug: str | None) -> None:
    chosen = ctypes.c_int.in_dll(ctypes.CDLL(str(planted.device.library)), "planted_bug")
    chosen.value = 0 if bug is None else 1 + list(PLANTED).index(bug)
    planted.device.reset()
    trials = [*_battery(NETWORK, 1), _battery(NETWORK, PLANTED_BATCH)[0]]
    passed = (parity.examine(planted.backend.create, [trial], deterministic=False).passed for trial in trials)
    assert all(passed) == (bug is None)
    assert planted.device.findings == []
