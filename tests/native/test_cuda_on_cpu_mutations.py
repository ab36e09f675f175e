"""Claims that mistakes in the CUDA kernels are found on the CPU: every barrier removed in turn, and planted bugs."""

import ctypes
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.cuda_kernels import (
    NETWORK,
    PATHS,
    SOURCES,
    Hosted,
    battery,
    compiled,
    compiled_kernels,
    everything,
    host,
    shared_folder,
)

from pyfnn import parity
from pyfnn.errors import PyfnnError
from pyfnn.network import Network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory)


# Barriers -------------------------------------------------------------------------------------------------------------

WIDE = Network((70, 40, 40, 3), "tanh", "squared_error", l2=0.01, dtype="float64")
MUTATED = (NETWORK, WIDE, replace(NETWORK, l2=0.0, dtype="float64"))


def test_every_barrier_is_missed_when_it_is_removed(folder: Path) -> None:
    """Remove each barrier, wait and commit in turn; it is needless unless a mistake is found or the outputs differ."""
    survivors, seen = [], set()
    for path in PATHS:
        hosted = compiled_kernels(folder, path)
        hosted.device.reset()
        expected = [[array.tobytes() for array in everything(hosted, network)] for network in MUTATED]
        barriers = hosted.device.barriers()
        seen |= {barrier.split()[1] for barrier in barriers}
        for barrier, places in barriers.items():
            if not any(_missed(hosted, places, *trial) for trial in zip(MUTATED, expected, strict=True)):
                survivors.append(f"{path} path: {barrier} is not missed: delete it if it is needless")
        hosted.device.reset()
    assert survivors == []
    written = set()
    for source in SOURCES.glob("*.cuh"):
        for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"^\s*(__sync\w+|__pipeline_(commit|wait_prior))\(", line):
                written.add(f"{source.name}:{number}")
    assert seen == written, "no run passed some barrier, so the test does not show that it is needed"


def _missed(hosted: Hosted, places: list[int], network: Network, expected: list[bytes]) -> bool:
    """Report whether a run without this barrier fails, has a finding, or ends with other bits."""
    hosted.device.reset()
    hosted.device.skip(places)
    try:
        ends = [array.tobytes() for array in everything(hosted, network)]
    except PyfnnError:
        return True
    return bool(hosted.device.findings) or ends != expected


# Planted bugs ---------------------------------------------------------------------------------------------------------

PLANTED = {  # (source, an expression that occurs in it once, the wrong expression), in networks of relu
    "l2 forgotten, single rows": (
        "persistent.cuh",
        "a * shared[layer.delta + j] + l2 * w",
        "a * shared[layer.delta + j]",
    ),
    "l2 forgotten, several rows": ("persistent.cuh", "dW[c] + l2 * W[c * layer.W_stride]", "dW[c]"),
    "the biases go uphill": (
        "persistent.cuh",
        "shared[layer.b + j] -= rate * sum",
        "shared[layer.b + j] += rate * sum",
    ),
    "the first input's weights stay": ("persistent.cuh", "update && inside", "update && inside && i > 0"),
    "full size for a short batch": (
        "persistent.cuh",
        "arguments.loss_derivative / rows",
        "arguments.loss_derivative / Real(batch)",
    ),
    "relu's derivative is 1 at 0": ("functions.cuh", "a > 0 ? delta : Real(0)", "a >= 0 ? delta : Real(0)"),
    "a loss without its mean": ("step.cuh", "row_losses[n] / double(rows)", "row_losses[n]"),
    "a gradient without its mean": (
        "spread.hpp",
        "Real(losses[network_.loss_function].derivative) / Real(B)",
        "Real(losses[network_.loss_function].derivative)",
    ),
    "l2 forgotten in the gradient": ("product.cuh", "sums.at[v] + arguments.l2 * below.at[v]", "sums.at[v]"),
    "order forgotten": ("step.cuh", "arguments.order[*arguments.cursor + n]", "n"),
    "the last row left out of db": (
        "step.cuh",
        "layer.delta.data[n * layer.delta.stride + j]",
        "n + 1 < arguments.rows ? layer.delta.data[n * layer.delta.stride + j] : Real(0)",
    ),
}
PLANTED_SLOPES = {  # the same, in networks of the last item
    "leaky_relu's slope is 1 at 0": (
        "functions.cuh",
        "z > 0 ? Real(1) : p",
        "z >= 0 ? Real(1) : p",
        "leaky_relu(0.3)",
    ),
    "leaky_relu's slope from the sign of a": (
        "functions.cuh",
        "z > 0 ? Real(1) : p",
        "z != 0 ? Real(1) : p",
        "leaky_relu(-0.5)",
    ),
    "elu's slope is off by one": ("functions.cuh", "below + p", "below + p + 1", "elu(0.3)"),
    "softplus's slope is that of relu": (
        "functions.cuh",
        "(z < 0 ? e : Real(1)) / (1 + e)",
        "z > 0 ? Real(1) : Real(0)",
        "softplus",
    ),
    "hard_sigmoid's slope is 1": (
        "functions.cuh",
        "fabs(z) < 2 ? Real(0.25) : Real(0)",
        "fabs(z) < 2 ? Real(1) : Real(0)",
        "hard_sigmoid",
    ),
    "hard_tanh's slope is 1 at 1": (
        "functions.cuh",
        "fabs(z) < 1 ? Real(1) : Real(0)",
        "fabs(z) <= 1 ? Real(1) : Real(0)",
        "hard_tanh",
    ),
    "a block keeps no slope": ("persistent_plan.hpp", "keeps_slope(layer.activation)", "false", "softplus"),
    "a spread step keeps no slope": ("spread.hpp", "keeps_slope(arguments.activation)", "false", "softplus"),
}
BUGS: dict[str, tuple[str, ...]] = {**PLANTED, **PLANTED_SLOPES}
PLANTED_BATCH = 60


def _plant(folder: Path) -> Path:
    """Copy the sources with all of these bugs, each off until `planted_bug` selects it, and return their mlp.cu."""
    shutil.copytree(SOURCES, folder)
    for number, (source, right, wrong, *_) in enumerate(BUGS.values(), 1):
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
    """The kernels with all bugs: batches of one row take the persistent path, those of `PLANTED_BATCH` are spread."""
    flag = "-DFNN_PERSISTENT_OPERATIONS=20000"
    return host(compiled(folder, "planted", lambda: _plant(folder / "planted"), flag))


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_bug_planted_in_a_kernel_is_rejected(planted: Hosted, bug: str | None) -> None:
    chosen = ctypes.c_int.in_dll(ctypes.CDLL(str(planted.device.library)), "planted_bug")
    chosen.value = 0 if bug is None else 1 + list(BUGS).index(bug)
    planted.device.reset()
    network = replace(NETWORK, activation=PLANTED_SLOPES[bug][-1]) if bug in PLANTED_SLOPES else NETWORK
    trials = [*battery(network, 1), battery(network, PLANTED_BATCH)[0]]
    passed = (parity.examine(planted.backend.create, [trial], deterministic=False).passed for trial in trials)
    assert all(passed) == (bug is None)
    assert planted.device.findings == []
