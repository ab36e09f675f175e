"""Claims about the proof on the machine itself: that what is planted is what is said, that the load comes, goes and
ends, that counts are right, and that the command measures what it tells. None depends on how quiet this machine is.
"""

import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import numpy as np
import psutil
import pytest
from matplotlib.axes import Axes
from scipy.stats import t as student_t
from support.requirements import require, workers
from support.sample_results import results_of

from bench.experiments.proof import __main__ as proof
from bench.experiments.proof import burner, slowed, trials
from bench.experiments.proof.__main__ import (
    draw_loaded,
    draw_verdicts,
    equal_table,
    half_width,
    is_low,
    loaded_table,
    main,
    share_of,
    slowed_table,
    tables,
)
from bench.experiments.proof.load import Load
from bench.experiments.proof.trials import (
    KINDS,
    METHODS,
    PLAIN,
    SAME,
    SLOWDOWN,
    SLOWED_TRUTH,
    SLOWER,
    Experiment,
    Kind,
    Method,
    Plan,
    Trial,
)
from bench.machine.cpus import choose_cpus
from bench.measure.arm import Settings
from bench.measure.case import CaseRun
from bench.report.drawing import BLUE, VERMILION
from bench.results import journal
from bench.results.schema import SCHEMA, Case
from bench.suites.load import built_in_workloads
from bench.suites.problem import make_problem
from pyfnn import parity, registry
from pyfnn.backend import Backend
from pyfnn.backends.c import LibraryModel
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.manifest import Row

DEEP = Kind("wine-deep", "train", "float32")


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Row]:
    try:
        registry.load_backend("c")
    except BackendUnavailable as error:
        require("c", False, str(error))
    return trials.planted(tmp_path)


# The planted slowdown ------------------------------------------------------------------------------------------------


class Clocks:
    """Of a thread that has its CPU for `share` of the time. To ask for CPU seconds costs some."""

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
def test_a_spin_is_the_share_it_says_however_much_of_the_cpu_its_process_gets(had: float, share: float) -> None:
    clocks = Clocks(had)

    def work() -> float:
        start = clocks.wall()
        clocks.work(2.0)
        return clocks.wall() - start

    seconds = slowed.spun(work, share, clocks.cpu, clocks.wall)
    assert seconds == pytest.approx((1 + share) * 2.0 / had, abs=3e-5 / had)
    assert seconds >= 2.0 / had


@pytest.mark.parametrize("operation", ["train", "forward", "gradient"])
def test_the_slowed_copy_really_spins_that_long_and_reports_it(
    rows: dict[str, Row], operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = make_problem(built_in_workloads()["wine-deep"], "float32")
    own: list[tuple[float, float]] = []  # CPU seconds of the work alone, and the seconds it said

    def watched(name: str) -> None:
        plain = getattr(LibraryModel, name)

        def method(self: LibraryModel, *arguments: Any) -> Any:
            start = time.thread_time()
            said = plain(self, *arguments)
            own.append((time.thread_time() - start, said if operation == "train" else said[0]))
            return said

        monkeypatch.setattr(LibraryModel, name, method)

    watched("_train" if operation == "train" else "_time")
    with registry.load(rows[SLOWER]).create(problem.network, problem.theta) as model:
        model.load(problem.x, problem.y, problem.order)
        start = time.thread_time()
        if operation == "train":
            seconds = model._train(0, 100_000, 1, 1e-3)
        else:
            seconds, _ = model._time(operation, 0, 1, 100_000)  # type: ignore[arg-type]
        spent = time.thread_time() - start
    ((worked, said),) = own
    assert said > 0.02  # so that 3 % of it is more than what clocks and calls cost
    assert SLOWDOWN * worked <= spent - worked <= SLOWDOWN * worked + 2e-3
    assert seconds - said >= 0.99 * SLOWDOWN * worked  # what was spun took at least as long by the wall's clock


def test_the_slowed_copy_computes_what_c_does_and_says_that_it_is_slowed(rows: dict[str, Row]) -> None:
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


def test_many_networks_are_slowed_too_and_several_threads_refused(rows: dict[str, Row]) -> None:
    backend: Backend = registry.load(rows[SLOWER])
    problem = make_problem(built_in_workloads()["wine-shallow"], "float32")
    many = backend.create_many(problem.network, np.stack([problem.theta] * 2))
    assert {type(model) for model in many._models} == {slowed.SlowedModel}  # type: ignore[attr-defined]
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


# The load ------------------------------------------------------------------------------------------------------------


class Ticking:
    """A clock on which a look takes 5 ms, and a parent that ends after so many seconds."""

    def __init__(self, life: float) -> None:
        self.now, self.slept, self.naps, self._life = 0.0, 0.0, list[float](), life

    def monotonic(self) -> float:
        self.now += 0.005
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.naps.append(seconds)

    def getppid(self) -> int:
        return 7 if self.now < self._life else 1


def burnt(seed: str, monkeypatch: pytest.MonkeyPatch, life: float = 400.0) -> Ticking:
    ticking = Ticking(life)
    monkeypatch.setattr(burner, "time", ticking)
    monkeypatch.setattr(burner, "os", ticking)
    monkeypatch.setattr(sys, "argv", ["burner.py", "7", seed, "1.5"])
    burner.main()
    return ticking


def test_a_burner_is_busy_half_of_the_time_by_its_seed_and_ends_with_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, again, other = (burnt(seed, monkeypatch) for seed in ("0 1", "0 1", "1 1"))
    for ticking in (one, other):
        assert ticking.now == pytest.approx(400.0, abs=0.2)
        assert 0.35 < ticking.slept / ticking.now < 0.65
        assert max(ticking.naps) <= 0.05
    assert one.naps == again.naps
    assert one.naps != other.naps


def alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)


def wait_for_end(pids: Sequence[int]) -> None:
    end = time.monotonic() + 20
    while any(map(alive, pids)):
        assert time.monotonic() < end, f"{pids} still run"
        time.sleep(0.05)


def test_a_load_keeps_to_its_cpus_and_is_gone_after_whatever_happens() -> None:
    cpus, pids = choose_cpus(1), list[int]()

    def interrupted() -> None:
        with Load(cpus, 0, 0.01) as load:
            pids.extend(load.pids)
            end = time.monotonic() + 20
            while load.taken() == 0:
                assert time.monotonic() < end, "never busy"
                time.sleep(0.05)
            assert (load.taken() or 0.0) <= 1.1
            if cpus:
                assert set(psutil.Process(load.pids[0]).cpu_affinity()) == set(cpus)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pids) == 1
    wait_for_end(pids)


PARENT = """
import sys, time
from bench.experiments.load import Load
with Load((), 0, 0.5) as load:
    print(*load.pids, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL: a POSIX system")
def test_a_load_that_has_ended_has_no_share() -> None:
    with Load((), 0, 0.01) as load:
        assert load.taken() is not None
        os.kill(load.pids[0], signal.SIGKILL)
        end = time.monotonic() + 20
        while load.taken() is not None:
            assert time.monotonic() < end, "still counted"
            time.sleep(0.05)


def test_a_load_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        assert all(map(alive, pids))
        parent.send_signal(signal.SIGKILL)
    wait_for_end(pids)


# Counting ------------------------------------------------------------------------------------------------------------


def made_up(lucks: Mapping[str, Sequence[float]], noise: float = 0.0, rounds: int = 3, **backend: str) -> Case:
    """A case in which each launch of an instance is slower by so much (log), and its blocks by random noise besides."""
    reference, draw = next(iter(lucks)), random.Random(0)
    events: list[dict[str, Any]] = [
        {"event": "run", "schema": SCHEMA, "created": journal.now(), "settings": {"reference": reference}},
        {
            **{"event": "case", "case": 0, "threads": 1, "batch": 1, "learning_rate": 0.1, "flops_per_step": 1.0},
            **DEEP._asdict(),
        },
    ]
    for instance, logs in lucks.items():
        at = {"case": 0, "instance": instance}
        told = {"name": instance.split("@")[0], "language": "Python", "division": "plain", "status": "ok", **backend}
        events.append({"event": "backend", **at, **told})
        for launch, number in ((launch, number) for launch in range(len(logs)) for number in range(rounds)):
            seconds = 0.05 * math.exp(logs[launch] + draw.gauss(0, noise))
            clocks = dict.fromkeys(("seconds", "cpu_seconds", "wall_seconds"), seconds)
            events.append({"event": "sample", **at, "launch": launch, "round": number, "steps": 100, **clocks})
    return results_of(events).cases[0]


LUCK = (0.0, 0.02, -0.01, 0.01, -0.02)


def shifted(by: float, spread: float = 0.0, order: Sequence[int] = (0, 1, 2, 3, 4)) -> list[float]:
    """Launches that share the reference's luck, slower by so much, with a spread of their own."""
    return [LUCK[i] + by + spread * LUCK[order[i]] for i in range(5)]


def trial(experiment: Experiment, by: float, floor: float, other: str, truth: float = 1.0) -> Trial:
    """An interleaved one, slower by `by` with a narrow interval, beside a second instance as far off as `floor`."""
    reference = PLAIN if other.startswith(PLAIN) else "numpy"
    lucks = {reference: LUCK, other: shifted(by, 0.1), f"{reference}@2": shifted(0.0, floor / 0.02)}
    return Trial(experiment, "interleaved", reference, other, truth, (made_up(lucks),))


@pytest.mark.parametrize("by", [-0.03, 0.0, 0.03, 0.1])
def test_interleaved_is_the_products_own_ratio_and_holds_what_is_within(by: float) -> None:
    own = trial("loaded", by, 0.01, SAME)
    found = own.estimate()
    assert found is not None
    assert found.median == pytest.approx(math.exp(-by))
    assert found.high / found.low < 1.02
    assert own.holds() == (by == 0.0)
    assert own.holds(truth=math.exp(-by))
    assert own.floor == own.cases[0].noise_floor is not None
    assert own.launches == 5


def test_the_others_are_welchs_of_all_launches_or_all_blocks_unpaired() -> None:
    a, b = made_up({PLAIN: LUCK}, 0.005), made_up({SAME: shifted(0.05, 1.5, (3, 1, 0, 4, 2))}, 0.01)
    for method, by_process, n in (("fresh processes", True, 5), ("one process", False, 15)):
        own = Trial("loaded", method, PLAIN, SAME, 1.0, (a, b))  # type: ignore[arg-type]
        found = own.estimate()
        assert found is not None
        x, y = (trials.logs(case.backends[0].samples, by_process) for case in (a, b))
        assert len(x) == len(y) == n
        u, v = variance(x) / n, variance(y) / n
        margin = student_t.ppf(0.975, (u + v) ** 2 * (n - 1) / (u**2 + v**2)) * math.sqrt(u + v)
        centre = fmean(x) - fmean(y)
        assert astuple(found) == pytest.approx([math.exp(centre + m) for m in (0.0, -margin, margin)])
        assert own.floor is None


def test_a_process_counts_by_the_mean_of_its_blocks() -> None:
    samples = made_up({PLAIN: LUCK}, 0.01).backends[0].samples
    blocks = trials.logs(samples, by_process=False)
    assert trials.logs(samples, by_process=True) == pytest.approx([fmean(blocks[i : i + 3]) for i in range(0, 15, 3)])


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ([True] * 39 + [False], "39 of 40 (98 % [87, 100])"),
        ([True] * 40, "40 of 40 (100 % [91, 100])"),
        ([False] * 3, "0 of 3 (0 % [0, 71])"),
        ([], "0 of 0"),
    ],
)
def test_a_share_is_told_with_clopper_and_pearsons_interval(held: list[bool], told: str) -> None:
    assert share_of(held) == told


def cells(table: Any) -> list[tuple[str, ...]]:
    return [line for _, lines in table.sections for line in lines]


def test_equality_is_counted_four_ways_of_which_one_can_have_only_one_end() -> None:
    same = trial("equal", 0.0, 0.01, "numpy-again")
    within = trial("equal", 0.005, 0.03, "numpy-again")  # the interval misses 1, the floor saves it
    beyond = trial("equal", 0.1, 0.01, "numpy-again")
    off = {"numpy": LUCK, "numpy-again": shifted(0.0, 0.1), "numpy@2": shifted(0.2, 0.1)}
    second = Trial("equal", "interleaved", "numpy", "numpy-again", 1.0, (made_up(off),))
    told = cells(equal_table(trials.Proof((same, within, beyond, second))))
    assert [(line[0], line[1], line[2].split(" (")[0]) for line in told] == [
        ("numpy-again", "interval and noise floor", "3 of 4"),
        ("numpy-again", "interval alone", "2 of 4"),
        ("numpy@2", "interval alone", "3 of 4"),
        ("numpy@2", "interval and noise floor", "4 of 4"),
    ]


def test_slowdowns_are_counted_apart_where_the_floor_is_low_and_where_it_is_not() -> None:
    by = math.log(1 + SLOWDOWN)
    floors = {"low": 0.002, "lower": 0.001, "high": 0.04}
    made = {name: trial("slowed", by, floor, SLOWER, SLOWED_TRUTH) for name, floor in floors.items()}
    missed = trial("slowed", 0.0, 0.002, SLOWER, SLOWED_TRUTH)
    assert [is_low(made[name]) for name in floors] == [True, True, False]
    assert all(own.holds() for own in made.values())
    assert not missed.holds()
    table = slowed_table(trials.Proof((*made.values(), missed)))
    (_, low), (_, high) = table.sections
    assert Counter(line[4] for line in low[:-1]) == {"slower": 2, "no difference shown": 1}
    assert low[-1][4].startswith("2 of 3 ")
    assert high[-1][4].startswith("0 of 1 ")
    assert "3 of 4" in table.notes[0]


def alone(method: Method, by: float, truth: float = 1.0, other: str = SAME) -> Trial:
    """One after the other, slower by `by` with narrow intervals."""
    cases = made_up({PLAIN: [0.001 * i for i in range(5)]}), made_up({other: [by + 0.001 * i for i in range(5)]})
    return Trial("loaded", method, PLAIN, other, truth, cases)


def test_intervals_beside_a_load_are_counted_by_method_and_truth() -> None:
    by = math.log(1 + SLOWDOWN)
    tried = (
        trial("loaded", 0.0, 0.01, SAME),
        trial("loaded", by, 0.01, SLOWER, SLOWED_TRUTH),
        *(alone("fresh processes", 0.0) for _ in range(2)),
        alone("fresh processes", 0.0, SLOWED_TRUTH, SLOWER),
        alone("one process", 0.2),
    )
    table = loaded_table(trials.Proof(tried, 0.3), 4.0)
    assert [tuple(cell.split(" (")[0] for cell in line[:4]) for line in cells(table)] == [
        ("interleaved", "1 of 1", "1 of 1", "2 of 2"),
        ("fresh processes", "2 of 2", "0 of 1", "2 of 3"),
        ("one process", "0 of 1", "0 of 0", "0 of 1"),
    ]
    width = 100 * math.expm1(half_width(tried[-1]))
    assert cells(table)[-1][-1] == f"±{width:.3g} %"
    assert "30 %" in table.notes[0]


def test_what_was_lost_is_named_and_counted_nowhere() -> None:
    whole = trial("equal", 0.0, 0.01, "numpy-again")
    names = {"numpy": LUCK, "numpy-again": LUCK}
    lost = Trial(
        "equal", "interleaved", "numpy", "numpy-again", 1.0, (made_up(names, status="crashed", reason="gone"),)
    )
    assert lost.estimate() is None
    assert not lost.holds()
    equal, without = tables(trials.Proof((whole, lost)), plan())
    assert [line[2].split(" (")[0] for line in cells(equal)] == ["1 of 1"] * 4
    ((experiment, title, method, why),) = cells(without)
    assert (experiment, title, method) == ("equal", "wine-deep train float32", "interleaved")
    assert "numpy-again: crashed: gone" in why


def test_one_that_failed_in_the_middle_has_no_ratio_by_what_samples_it_has() -> None:
    good, bad = made_up({PLAIN: LUCK}), made_up({SAME: LUCK}, status="implausible", reason="clock")
    methods: tuple[Method, ...] = ("fresh processes", "one process")
    for method in methods:
        assert Trial("loaded", method, PLAIN, SAME, 1.0, (good, made_up({SAME: LUCK}))).estimate()
        lost = Trial("loaded", method, PLAIN, SAME, 1.0, (good, bad))
        assert lost.estimate() is None
        assert lost.lost == f"{SAME}: implausible: clock"


def test_cases_are_begun_as_long_as_they_fit_and_one_always() -> None:
    clock = [0.0]

    def count(most: int, seconds: float, each: float) -> int:
        made = 0
        for _ in trials.fitting(most, seconds, lambda: clock[0]):
            clock[0] += each
            made += 1
        return made

    assert count(5, 100.0, 1.0) == 5
    assert count(50, 10.5, 1.0) == 10
    assert count(50, 0.0, 1.0) == 1
    assert count(0, 10.0, 1.0) == 0


# Measuring -----------------------------------------------------------------------------------------------------------


def plan(equal: int = 1, slow: int = 1, loaded: int = 1, **changes: Any) -> Plan:
    counts: dict[Experiment, int] = {"equal": equal, "slowed": slow, "loaded": loaded}
    return replace(Plan(counts, 1e6, Settings(), 0.01, 0.05), **changes)


@pytest.mark.usefixtures("rows")
def test_each_experiment_measures_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Kind, tuple[str, ...], Settings, float, type[CaseRun]]] = []

    def measure(
        kind: Kind, given: Sequence[Row], settings: Settings, budget: float, how: type[CaseRun] = CaseRun
    ) -> Case:
        names = tuple(row.name for row in given)
        asked.append((kind, names, settings, budget, how))
        return made_up({**dict.fromkeys(names, LUCK), **({f"{names[0]}@2": LUCK} if how is CaseRun else {})})

    monkeypatch.setattr(trials, "measure", measure)
    told: list[str] = []
    found = trials.prove(plan(len(KINDS) + 1, 2, 4, settings=Settings(rounds=2, min_launches=6)), told.append)
    assert len(told) == len(found.trials) == len(KINDS) + 1 + 2 + 4 * len(METHODS)
    assert found.load is not None
    equal, slow, loaded = (
        [one for one in asked if one[1] in wanted]
        for wanted in ([("numpy", "numpy-again")], [(PLAIN, SLOWER)], [(PLAIN,), (SAME,), (SLOWER,)])
    )
    assert {kind for kind, *_ in equal} == set(KINDS)
    assert len(slow) == 2 + 2  # and two beside the load
    assert [settings.precision for _, _, settings, *_ in slow[:2]] == [0.01] * 2
    methods = Counter(
        (settings.min_launches, settings.rounds, names) for _, names, settings, _, how in loaded if how is trials.Alone
    )
    assert methods == {
        (launches, rounds, (name,)): count
        for launches, rounds in ((6, 2), (1, 12))
        for name, count in ((PLAIN, 4), (SAME, 2), (SLOWER, 2))
    }
    beside = [t for t in found.trials if t.experiment == "loaded"]
    assert [t.truth for t in beside] == [*([1.0] * 3), *([SLOWED_TRUTH] * 3)] * 2
    assert all({t.method for t in beside[i : i + 3]} == set(METHODS) for i in range(0, 12, 3))
    assert not workers()


@pytest.mark.usefixtures("rows")
def test_an_experiment_of_no_cases_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "measure", lambda *_: made_up(dict.fromkeys(("numpy", "numpy-again", "numpy@2"), LUCK)))
    found = trials.prove(plan(2, 0, 0), lambda _: None)
    assert {t.experiment for t in found.trials} == {"equal"}
    assert len(tables(found, plan())) == 1
    assert found.load is None


def read(trial: Mapping[str, Any]) -> Trial:
    cases = tuple(Case.model_validate(case) for case in trial["cases"])
    named = {name: trial[name] for name in ("experiment", "method", "reference", "other", "truth")}
    return Trial(**named, cases=cases)


@pytest.mark.usefixtures("rows")
def test_the_command_measures_prints_and_writes_all_samples_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--quick", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    for words in ("Called equal to numpy", "A copy of c, slowed by 3 %", "beside a load", *METHODS, "numpy@2"):
        assert words in printed
    told = json.loads((tmp_path / "out" / "proof.json").read_text(encoding="utf-8"))
    assert 0 <= told["load_taken"] <= 1.1
    assert Counter(t["experiment"] for t in told["trials"]) == {"equal": 1, "slowed": 1, "loaded": len(METHODS)}
    for one in told["trials"]:
        again = read(one)
        assert again.lost == ""
        estimate = again.estimate()
        assert estimate is not None
        assert asdict(estimate) == pytest.approx(one["estimate"])
        assert one["holds"] == again.holds()
        blocks = {b.instance: len(b.samples) for case in again.cases for b in case.backends}
        assert set(blocks.values()) == {2 * 2}
        assert all(b.parity["checks"] > 0 for case in again.cases for b in case.backends if "@" not in b.instance)
        if again.method == "interleaved":
            assert {again.reference, again.other, f"{again.reference}@2"} <= set(blocks)
        else:
            assert [[b.instance for b in case.backends] for case in again.cases] == [[again.reference], [again.other]]
            assert again.launches == (2 if again.method == "fresh processes" else 1)
    for name in ("verdicts", "load"):
        assert (tmp_path / "out" / f"proof-{name}.png").read_bytes().startswith(b"\x89PNG")
    assert not workers()


@pytest.mark.usefixtures("rows")
def test_ctrl_c_costs_the_case_at_work_and_none_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = iter([made_up({"numpy": LUCK, "numpy-again": shifted(0.01, 0.1), "numpy@2": shifted(0.0, 0.1)})])

    def measure(*_: object) -> Case:
        for case in cases:
            return case
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "measure", measure)
    assert main(["--out", str(tmp_path / "out")]) == 130
    told = json.loads((tmp_path / "out" / "proof.json").read_text(encoding="utf-8"))
    assert [t["experiment"] for t in told["trials"]] == ["equal"]


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(proof, "prove", pytest.fail)
    assert main(["--out", str(tmp_path / "file" / "out")]) == 1
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--equal=-1", "--seconds=0", "--block=2", "--launches=1", "--dwell=0", "--rounds=0"]
)
def test_arguments_that_cannot_be_are_refused_by_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 2
    assert option.replace("=", " ") in capsys.readouterr().err


def test_the_figures_show_every_interval_and_mark_those_that_miss() -> None:
    tried = tuple(
        made
        for by in (0.0, 0.3, 0.0)
        for made in (
            trial("equal", by, 0.01, "numpy-again"),
            alone("one process", by),
            trial("loaded", 0.0, 0.01, SAME),
        )
    )
    everything = trials.Proof(tried)
    drawn = draw_loaded(everything, "note")
    counted = [axes.get_title() for axes in drawn.axes]
    assert counted == ["interleaved: 3 of 3 hold it", "fresh processes: 0 of 0 hold it", "one process: 2 of 3 hold it"]
    assert [coloured(axes) for axes in drawn.axes] == [(3, 0), (0, 0), (2, 1)]
    assert coloured(draw_verdicts(everything, "note").axes[0]) == (2, 1)


def coloured(axes: Axes) -> tuple[int, int]:
    """How many intervals are drawn as holding the truth, and as missing it."""
    lines = Counter(line.get_color() for line in axes.lines if np.size(line.get_xdata()) == 2)
    return lines[BLUE], lines[VERMILION]
