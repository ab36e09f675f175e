"""Claims about the CUDA kernels, run on the CPU (tests/cuda_on_cpu): parity, equal bits, no mistake in any access."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.cuda_kernels import (
    NETWORK,
    PATHS,
    SOURCES,
    Hosted,
    battery,
    clean,
    compiled_kernels,
    data,
    everything,
    host,
    many_battery,
    shared_folder,
)
from support.fnn_libraries import WRONG_SPELLINGS, create

from pyfnn import parity
from pyfnn.activations import TABLE
from pyfnn.backends import c
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.network import DTYPES, Network, initialize

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory)


@pytest.fixture(params=list(PATHS))
def cuda(request: pytest.FixtureRequest, folder: Path) -> Iterator[Hosted]:
    yield from clean(folder, request.param)


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
    trials = battery(Network(sizes, activation, loss, dtype=dtype), batch)
    cuda.device.seed(batch)
    evidence = parity.examine(cuda.backend.create, trials)
    assert evidence.passed, evidence.worst


@pytest.mark.parametrize(
    ("activations", "output", "dtype", "batch"),
    [
        (("leaky_relu(-0.5)", "softplus"), "elu(0.3)", "float64", 1),
        (("elu(-0.5)", "hard_tanh"), "hard_sigmoid", "float32", 4),
    ],
)
def test_layers_with_each_further_activation_agree_with_the_oracle(
    cuda: Hosted, activations: tuple[str, ...], output: str, dtype: str, batch: int
) -> None:
    network = Network((5, 4, 4, 2), activations, "squared_error", 0.01, output, dtype)
    evidence = parity.examine(cuda.backend.create, battery(network, batch))
    assert evidence.passed, evidence.worst


def test_every_spelling_of_an_activation_is_taken_and_a_wrong_one_refused(folder: Path) -> None:
    backend = compiled_kernels(folder, "spread").backend
    assert isinstance(backend, c.Library)
    lib = backend.interface[1]
    elementwise = [name for name, row in TABLE.items() if not row.hidden_only]
    assert set(backend.description.activations) == set(elementwise)
    for name in (*elementwise, "leaky_relu(-1e-05)", "elu(2)"):
        assert create(lib, activations=(name, name)) == (0, "")
    for name in WRONG_SPELLINGS:
        status, words = create(lib, activations=("tanh", name))
        assert (status, words) == (lib.FNN_UNSUPPORTED, f"no activation '{name}' for layer 2")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("members", "batch"), [(5, 1), (3, 4)])
def test_many_networks_at_once_agree_with_the_oracle(cuda: Hosted, members: int, batch: int, dtype: str) -> None:
    trials = many_battery(Network((5, 7, 3), "tanh", "squared_error", dtype=dtype), members, batch)
    evidence = parity.examine_many(cuda.backend.create_many, trials)
    assert evidence.passed, evidence.worst


def test_a_rate_too_small_for_float32_moves_nothing(cuda: Hosted) -> None:
    x, y, order = data(NETWORK)
    theta = initialize(NETWORK, 2)
    with cuda.backend.create(NETWORK, theta) as model:
        model.load(x, y, order)
        for batch in (1, 5):
            model.train(1, 13, batch, 1e-46)
        assert (model.theta() == theta).all()


def test_training_goes_on_from_a_theta_that_was_set_with_the_same_bits(cuda: Hosted) -> None:
    x, y, order = data(NETWORK)
    with cuda.backend.create(NETWORK, initialize(NETWORK, 2)) as model:
        model.load(x, y, order)
        model.train(0, 12, 5, 0.05)
        middle, outputs = model.theta(), model.forward(0, 12)
        model.train(12, 12, 5, 0.05)
        end = model.theta()
        model.set_theta(middle)
        assert (model.theta() == middle).all()
        assert (model.predict(x) == outputs).all()
        assert model.loss(2, 7) == model.loss_and_gradient(2, 7)[0]
        model.train(12, 12, 5, 0.05)
        assert (model.theta() == end).all()
        model.reset()
        assert (model.theta() == initialize(NETWORK, 2)).all()


@pytest.mark.parametrize("preempt", [0, 50])
def test_the_bits_do_not_depend_on_the_interleaving(cuda: Hosted, preempt: int) -> None:
    ends = []
    for seed in SEEDS:
        cuda.device.seed(seed, preempt)
        ends.append(b"".join(array.tobytes() for array in everything(cuda)))
    assert len(set(ends)) == 1


TILED = [  # networks and batches that use tiles of every size
    (Network((3, 128, 384, 2), "tanh", "squared_error"), 384),
    (Network((128, 64, 2), "tanh", "squared_error"), 128),
    (Network((5, 7, 3), "tanh", "squared_error"), 8),
]


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_in_tiles_of_every_size_agree_with_the_oracle(folder: Path, dtype: str) -> None:
    hosted = compiled_kernels(folder, "spread")
    hosted.device.reset()
    for network, rows in TILED:
        own = battery(replace(network, dtype=dtype), rows)[0]
        single_step = replace(own, trajectories=own.trajectories[1:])
        evidence = parity.examine(hosted.backend.create, [single_step], deterministic=False)
        assert evidence.passed, evidence.worst
    assert hosted.device.findings == []
    tiles = rf"(void )?fnn::multiply_tile<fnn::Tile<{'float' if dtype == 'float32' else 'double'},"
    compiled = {function for function in hosted.device.functions() if re.match(tiles, function)}
    assert len(compiled) >= 3
    assert compiled - hosted.device.launched() == set()


def _kernels(folder: Path) -> set[str]:
    """Return the names of all kernels in a folder."""
    comments, declared = r"/\*.*?\*/", r"__global__\s+void\s+(?:__launch_bounds__\(.*?\)\s*)?(\w+)\("
    paths = [path for path in folder.iterdir() if path.suffix in {".cu", ".cuh", ".hpp"}]
    texts = (re.sub(comments, "", path.read_text(encoding="utf-8"), flags=re.DOTALL) for path in paths)
    return {name for text in texts for name in re.findall(declared, text)}


def test_every_other_kernel_that_is_compiled_has_run_here(folder: Path) -> None:
    probes = {"chained", "multiplied", "copied"}  # of probe.cu, run by test_device_probe
    names = _kernels(SOURCES) - {"multiply_tile", "epilogue_all"} - probes  # the second follows cuBLAS, which is absent
    assert len(names) >= 5
    compiled, ran = set(), set()
    for path in PATHS:
        hosted = compiled_kernels(folder, path)
        hosted.device.reset()
        for dtype in DTYPES:
            everything(hosted, replace(NETWORK, dtype=dtype, activation="elu(-0.5)"))
        ran |= hosted.device.launched()
        compiled |= {f for f in hosted.device.functions() if re.match(rf"(void )?fnn::({'|'.join(names)})[<(]", f)}
    assert compiled - ran == set()


def test_without_a_device_the_library_loads_and_reports_a_remedy(folder: Path) -> None:
    hosted = compiled_kernels(folder, "persistent")
    hosted.device.reset()
    hosted.device.devices(0)
    try:
        with pytest.raises(BackendUnavailable) as caught:
            host(hosted.device.library)
        assert re.search("device|driver|GPU", caught.value.reason)
        assert caught.value.remedy
    finally:
        hosted.device.reset()


@pytest.mark.parametrize("number", ["x", "7", "-1"])
def test_an_absent_device_is_refused_with_a_list_of_those_present(
    folder: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosted = compiled_kernels(folder, "persistent")
    monkeypatch.setenv("PYFNN_CUDA_DEVICE", number)
    with pytest.raises(BackendUnavailable) as caught:
        host(hosted.device.library)
    assert f"PYFNN_CUDA_DEVICE={number}: the devices are 0 (fibers on the CPU)" in caught.value.reason
    assert "PYFNN_CUDA_DEVICE" in caught.value.remedy


def test_each_failing_call_of_cuda_is_reported_and_leaves_nothing_behind(cuda: Hosted) -> None:
    small = Network((3, 4, 2), "tanh", "squared_error")
    x, y, order = data(small)

    def work() -> None:
        with cuda.backend.create(small, initialize(small, 1)) as model:
            model.load(x, y, order)
            model.loss_and_gradient(0, 3)
            model.train(0, 5, 2, 0.1)
            model.theta()

    cuda.device.fail_at(0)
    work()
    calls, messages = cuda.device.calls, []
    assert calls > 20
    for call in range(1, calls + 1):
        cuda.device.fail_at(call)
        try:
            work()
        except (PyfnnError, MemoryError) as error:
            messages.append(str(error))
        assert cuda.device.left == [], f"call {call} of {calls}"
    cuda.device.fail_at(0)
    work()
    assert len(messages) > calls / 2, "only a call that frees may fail without a message"
    assert [words for words in messages if not re.search(r"cudaError\w+|no memory", words)] == []
