"""Claims about the backends in Cython: they agree with the oracle, are built as their rows say, and keep the checks.

Each test needs Cython and a C compiler; the planted bugs are compiled without optimization.
"""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support import native_code
from support.batteries import drawn
from support.logits import check_logits_of_a_thousand
from support.requirements import require
from support.strategies import targets
from support.topics import UNTIMED, passes

from bench.machine.availability import availability_of
from pyfnn import parity, programs, registry
from pyfnn.backend import Backend
from pyfnn.backends.cython import CythonModel
from pyfnn.errors import BackendUnavailable
from pyfnn.network import DTYPES, Network, initialize

NAMES = ["cython", "cython-unchecked"]


def load(name: str) -> Backend:
    try:
        return registry.load_backend(name)
    except BackendUnavailable as error:
        require("cython", False, str(error))
        raise


def own_layout(battery: list[parity.Trial]) -> bool:
    return any(f.row.hidden_only for f in battery[0].network.elementwise_activations)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_with_the_oracle_on_random_networks(name: str, dtype: str) -> None:
    backend, judged = load(name), 0
    for seed, battery in islice(drawn(0, dtype), 20):
        if own_layout(battery):
            continue
        evidence = parity.examine(backend.create, battery)
        assert evidence.passed, f"random_case({seed}, {dtype!r}): {evidence.worst}"
        judged += 1
    assert judged >= 10


def test_it_passes_the_conformance_kit(capsys: pytest.CaptureFixture[str]) -> None:
    load("cython")
    assert passes(UNTIMED, "--backends", "cython"), capsys.readouterr().out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_a_thousand_give_the_exact_loss(loss: str, dtype: str) -> None:
    check_logits_of_a_thousand(load("cython"), loss, dtype)


def test_the_description_names_versions_flags_and_the_directives_of_each_row() -> None:
    checked, unchecked = (load(name).description for name in NAMES)
    assert "Cython 3" in checked.compiler
    assert checked.compiler == unchecked.compiler
    assert checked.flags == "-O3 -ffp-contract=fast -march=native"
    assert unchecked.flags == f"{checked.flags} boundscheck=False wraparound=False cdivision=True"
    assert {"softplus", "hard_tanh"} <= set(checked.activations)
    assert "softmax" not in checked.activations


def model(name: str) -> CythonModel:
    network = Network((3, 4, 2), "tanh", "squared_error")
    made = load(name).create(network, initialize(network, 0))
    made.load(np.ones((5, 3), np.float32), np.ones((5, 2), np.float32), np.zeros(5, np.int64))
    assert isinstance(made, CythonModel)
    return made


def test_an_index_beyond_an_array_raises_an_error_in_the_plain_row() -> None:
    with model("cython") as made, pytest.raises(IndexError, match="Out of bounds"):
        made._module.forward(made._shape, made._current, made._x, 5, 1, made._Z, made._A)


def test_an_array_of_another_dtype_is_refused() -> None:
    with model("cython") as made, pytest.raises((TypeError, ValueError)):
        made._module.forward(made._shape, made._current, made._x.astype(np.float64), 0, 1, made._Z, made._A)


def test_arrays_begin_at_a_cache_line() -> None:
    with model("cython") as made:
        made.train(0, 5, 3, 0.1)
        for array in (made._current, made._dtheta, made._x, made._X, made._T, made._Z, made._A, made._delta):
            assert array.ctypes.data % 64 == 0


def test_another_thread_advances_during_a_call() -> None:
    network = Network((200, 400, 200), "tanh", "squared_error")
    x = np.zeros((4000, 200), np.float32)
    with load("cython").create(network, initialize(network, 0)) as made:
        made.load(x, x, np.zeros(4000, np.int64))
        assert native_code.lets_others_run(lambda: made._train(0, 500, 32, 1e-3))


BUGS = {
    "the article's gradient: dW from the pre-activations of the layer below": (
        "add_product(inputs, B, m, A, s.start[l - 1], 1, inputs, delta, at, gradient, W)",
        "add_product(inputs, B, m, Z, s.start[l - 1], 1, inputs, delta, at, gradient, W)",
        "dW_2",
    ),
    "a missing 1/B": (
        "<real>(2 if s.loss == SQUARED_ERROR else 1) / <real>B",
        "<real>(2 if s.loss == SQUARED_ERROR else 1)",
        "dW_1",
    ),
    "a zeroed bias gradient": ("gradient[b + j] += delta[at + n * m + j]", "gradient[b + j] += 0", "db_1"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_rejected(bug: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load("cython")
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    row, (old, new, tensor) = registry.find("cython"), BUGS[bug]
    folder = tmp_path / "cython"
    shutil.copytree(row.folder, folder)
    source = folder / "mlp.pyx"
    text = source.read_text(encoding="utf-8")
    assert text.count(old) == 1
    source.write_text(text.replace(old, new), encoding="utf-8")
    quick = str(row.build).replace("-O3", "-O0")
    broken = registry.load(replace(row, build=quick, manifest=folder / "backend.toml"))
    rng = np.random.default_rng(1)
    network = Network((5, 7, 4, 3), ("tanh", "sigmoid"), "squared_error", l2=0.01)
    x = rng.normal(size=(60, 5)).astype(network.dtype)
    battery = parity.battery(network, initialize(network, 2), x, targets(network, 60, rng), 4)
    evidence = parity.examine(broken.create, battery)
    assert tensor in {failure.what for failure in evidence.failures}


def test_to_list_it_builds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("cython", find_spec("Cython") is not None, "pip install cython")
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    assert availability_of(registry.find("cython")) == "available, built at first use"
    assert not (tmp_path / "cache").exists()


def test_without_cython_it_is_unavailable_with_a_remedy() -> None:
    row = registry.find("cython")
    absent = replace(row, probe=str(row.probe).replace("-m cython", "-m no_such_cython"))
    with pytest.raises(BackendUnavailable, match="No module named no_such_cython") as caught:
        registry.load(absent)
    assert caught.value.remedy.startswith("pip install 'pyfnn[cython]'")
