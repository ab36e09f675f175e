"""Claims about a planted slowdown: its spin has the stated length, its results are those of the copied backend."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.proof_rows import proof_rows

from bench.experiments.proof import trials
from bench.experiments.proof.trials import PLAIN, SAME, SLOWDOWN, SLOWER
from bench.measure import slowed
from bench.suites.load import built_in_workloads
from bench.suites.problem import make_problem
from pyfnn import parity, registry
from pyfnn.backend import Backend
from pyfnn.backends.c import LibraryModel
from pyfnn.errors import Unsupported
from pyfnn.manifest import Row


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Row]:
    return proof_rows(tmp_path)


class Clocks:
    """The clocks of a thread that has a CPU for `share` of the time; each reading costs CPU time."""

    def __init__(self, share: float, cost: float = 1e-5) -> None:
        self.cpu_seconds, self.share, self._cost = 100.0, share, cost

    def work(self, seconds: float) -> None:
        self.cpu_seconds += seconds

    def cpu(self) -> float:
        self.work(self._cost)
        return self.cpu_seconds

    def wall(self) -> float:
        return self.cpu_seconds / self.share


@pytest.mark.parametrize("had", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("share", [0.0, 0.03, 0.5])
def test_a_spin_is_the_stated_share_of_the_work_at_any_share_of_the_cpu(had: float, share: float) -> None:
    clocks = Clocks(had)

    def work() -> float:
        start = clocks.wall()
        clocks.work(2.0)
        return clocks.wall() - start

    seconds = slowed.spun(work, share, clocks.cpu, clocks.wall)
    assert seconds == pytest.approx((1 + share) * 2.0 / had, abs=3e-5 / had)
    assert seconds >= 2.0 / had


@pytest.mark.parametrize("operation", ["train", "forward", "gradient"])
def test_the_slowed_copy_spins_for_the_stated_time_and_reports_it(
    rows: dict[str, Row], operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(built_in_workloads()["wine-deep"], "float32")
    own: list[tuple[float, float]] = []  # CPU seconds of the work alone, and the seconds that it reported

    def record(name: str) -> None:
        plain = getattr(LibraryModel, name)

        def method(self: LibraryModel, *arguments: Any) -> Any:
            start = time.thread_time()
            result = plain(self, *arguments)
            own.append((time.thread_time() - start, result if operation == "train" else result[0]))
            return result

        monkeypatch.setattr(LibraryModel, name, method)

    record("_train" if operation == "train" else "_time")
    with registry.load(rows[SLOWER]).create(problem.network, problem.theta) as model:
        model.load(problem.x, problem.y, problem.order)
        for _ in range(5):  # a pause may lengthen the spin
            own.clear()
            start = time.thread_time()
            if operation == "train":
                seconds = model._train(0, 100_000, 1, 1e-3)
            else:
                seconds, _ = model._time(operation, 0, 1, 100_000, np.zeros(1, np.int64))  # type: ignore[arg-type]
            spent = time.thread_time() - start
            ((worked, reported),) = own
            if spent - worked <= SLOWDOWN * worked + 2e-3:
                break
    assert reported > 0.02  # so that 3 % of it is more than the cost of clocks and calls
    assert SLOWDOWN * worked <= spent - worked <= SLOWDOWN * worked + 2e-3
    assert seconds - reported >= 0.99 * SLOWDOWN * worked  # the spin took at least as long by the wall clock


def test_the_slowed_copy_has_the_results_of_c_and_describes_itself_as_slowed(rows: dict[str, Row]) -> None:
    workload = built_in_workloads()["digits"]
    problem = make_problem(workload, "float64")
    ends, plain, spinning = [], registry.load(rows["c"]), registry.load(rows[SLOWER])
    for backend in (plain, spinning):
        with backend.create(problem.network, problem.theta) as model:
            model.load(problem.x, problem.y, problem.order)
            model.train(0, 320, workload.batch, workload.learning_rate)
            passes = model.time("gradient", 0, workload.batch, 3)
            ends.append((model.theta().tobytes(), model.checksum))
            assert passes > 0
    assert ends[0] == ends[1]
    assert ends[0][0] != problem.theta.tobytes()
    assert plain.description.flags in spinning.description.flags
    assert "slowed by 3 %" in spinning.description.flags
    proven = parity.examine(spinning.create, [parity.small_variant(problem.network, np.random.default_rng(0))])
    assert proven.passed


@pytest.mark.parametrize("reported", [None, 0.5])
def test_the_spin_counts_in_the_cpu_seconds_that_the_original_reports(reported: float | None) -> None:
    def work() -> tuple[float, float]:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return 0.02, 7.0

    model: Any = SimpleNamespace(cpu_seconds=reported)
    seconds, checksum = slowed._slowed(model, work, 0.5)
    assert checksum == 7.0
    assert seconds >= 0.02 + 0.0095
    assert model.cpu_seconds is None if reported is None else model.cpu_seconds >= reported + 0.0095


def test_many_networks_are_slowed_and_several_threads_are_refused(rows: dict[str, Row]) -> None:
    backend: Backend = registry.load(rows[SLOWER])
    problem = make_problem(built_in_workloads()["wine-shallow"], "float32")
    many = backend.create_many(problem.network, np.stack([problem.theta] * 2))
    assert all("_train" in vars(model) for model in many._models)  # type: ignore[attr-defined]
    many.close()
    assert not backend.description.many
    with pytest.raises(Unsupported, match="threads = 2"):
        backend.create(problem.network, problem.theta, threads=2)


def test_copies_have_one_host_and_names_of_one_length(rows: dict[str, Row]) -> None:
    assert set(rows) == {"numpy", "c", *trials.PLANTED}
    assert rows["numpy-again"].host == rows["numpy"].host
    assert rows[SAME].host == rows[PLAIN].host == rows[SLOWER].host != rows["c"].host
    assert len(SAME) == len(PLAIN) == len(SLOWER)
    assert {rows[name].division for name in rows} == {"plain"}
