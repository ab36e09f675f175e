"""Claims about what the steps of a GPU run do: what they install, examine, profile and write."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.experiments.gpu import crossover, packages, parity, proofs, suite, work
from bench.experiments.gpu.plan import PROFILE, Setting, plan
from bench.results.store import load_results
from pyfnn.activations import TABLE


def test_a_package_without_a_wheel_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = list[list[str]]()

    def install(names: list[str], _: Path) -> bool:
        asked.append(list(names))
        return names == ["b"]

    monkeypatch.setattr(packages, "missing", lambda: ["a", "b"])
    monkeypatch.setattr(packages, "install", install)
    assert packages.main(["--wheels", str(tmp_path)]) == 1
    assert asked == [["a", "b"], ["a"], ["b"]]
    assert "not installed: a:" in capsys.readouterr().out


def test_a_package_that_is_absent_is_found_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "REQUIRED", ("numpy", "no-such-package"))
    monkeypatch.setattr(packages, "BUILDERS", ("no-such-builder", "sh"))
    assert packages.missing() == ["no-such-package", "no-such-builder"]


def test_parity_examines_every_activation_that_a_backend_declares_in_both_dtypes() -> None:
    def activations(declared: tuple[str, ...]) -> set[tuple[str, str]]:
        networks = [network for _, network, _ in parity.cases(declared, rehearsal=False)]
        return {(a.key, n.dtype) for n in networks for a in n.elementwise_activations}

    core = ("identity", "tanh", "relu")  # the output is identity where the loss is squared_error
    for declared in (core, (*core, "elu"), tuple(TABLE)):
        assert activations(declared) == {(name, dtype) for name in declared for dtype in ("float32", "float64")}
    last = [what for what, _, _ in parity.cases(core, rehearsal=False)][-2:]
    assert all(what.endswith("large") for what in last)


def test_a_backend_that_ends_its_process_costs_no_other_backend_its_parity(tmp_path: Path) -> None:
    (part_of_parity,) = (each for each in plan(Setting(tmp_path)) if each.name == "parity")
    assert part_of_parity.together
    assert [step.name for step in part_of_parity.steps] == ["parity-cuda", "parity-cuda-blas", "parity-spread"]


def test_the_profiled_workload_calls_train_more_often_than_the_profiler_skips_launches() -> None:
    calls = list[int]()

    class Model:
        def __enter__(self) -> "Model":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def load(self, *_: object) -> None:
            pass

        def train(self, *_: object) -> None:
            calls.append(1)

    class Backend:
        def create(self, *_: object) -> Model:
            return Model()

    backend: Any = Backend()
    work.train_workload(backend, "wine-shallow", 2)
    assert len(calls) > int(PROFILE[PROFILE.index("--launch-skip") + 1])


def test_an_error_in_the_suite_leaves_the_results_of_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(suite.Suite, "probe", lambda *_: None)
    monkeypatch.setattr(suite.Suite, "run", fail)
    options = ["--backend", "x", "--small", "--proofs", str(tmp_path), "--seconds", "1", "--out", str(tmp_path / "s")]
    with pytest.raises(RuntimeError, match="unforeseen"):
        suite.main(options)
    assert load_results(tmp_path / "s").cases == []


def test_a_battery_comes_from_the_process_that_makes_them_or_from_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def obtained(seconds: float) -> Any:
        return proofs.obtain(tmp_path, "wine-deep", time.monotonic() + seconds)

    monkeypatch.setattr(proofs, "make", lambda workload: f"made {workload} here")
    assert obtained(5) == "made wine-deep here"
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert obtained(0.3) is None
    dead = subprocess.Popen([sys.executable, "-c", ""])  # a zombie until it is waited for
    while psutil.Process(dead.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    (tmp_path / "pid").write_text(str(dead.pid))
    assert obtained(5) == "made wine-deep here"
    dead.wait()
    (tmp_path / "wine-deep.pickle").write_bytes(pickle.dumps("made before"))
    assert obtained(0) == "made before"


def test_the_crossover_lies_where_spreading_becomes_the_faster_way() -> None:
    sizes = [(8, 1), (16, 1), (32, 1)]
    block, spread = dict(zip(sizes, (1.0, 2.0, 9.0), strict=True)), dict(zip(sizes, (4.0, 4.0, 4.0), strict=True))
    lines = crossover.crossovers({"persistent": block, "spread": spread})
    assert lines[2:] == ["| 1 | 16 | 2.56e+03 | 32 | 1.02e+04 |"]


def test_a_tile_counts_as_wrong_where_another_takes_five_percent_less() -> None:
    table = {
        "spread": {(8, 1): 1.0, (16, 1): 1.04},
        "large": {(8, 1): 0.5, (16, 1): 1.0},
        "medium": {(8, 1): 1.0, (16, 1): 1.1},
        "small": {(8, 1): 2.0, (16, 1): 1.2},
    }
    lines = crossover.tiles(table)
    assert lines[0] == "Wrong tile at 1 of 2 sizes."
    assert lines[-1] == "| 8 | 1 | large | 2.00 |"
