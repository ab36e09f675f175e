"""Claims about bench.experiments.proof: intervals and counts are right, and the command measures what it prints.

No claim depends on how quiet this machine is. See test_load.py for the load, bench/measure/test_slowed.py for the
planted slowdown.
"""

import json
import math
import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from scipy.stats import t as student_t
from support.proof_rows import proof_rows
from support.requirements import workers
from support.sample_results import results_of

from bench.experiments.proof import __main__ as proof
from bench.experiments.proof import trials
from bench.experiments.proof.__main__ import (
    draw_loaded,
    draw_verdicts,
    equal_table,
    half_width,
    loaded_table,
    main,
    share_of,
    slowed_table,
    tables,
)
from bench.experiments.proof.trials import (
    KINDS,
    METHODS,
    PLAIN,
    SAME,
    SLOWDOWN,
    SLOWED_TRUTH,
    SLOWER,
    CaseKind,
    Comparison,
    Experiment,
    Method,
    ProofPlan,
)
from bench.measure.case import CaseRun
from bench.measure.settings import Settings
from bench.report.style import BLUE, VERMILION
from bench.results import journal
from bench.results.schema import SCHEMA, Case
from pyfnn.manifest import Row

DEEP = CaseKind("wine-deep", "train", "float32")


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Row]:
    return proof_rows(tmp_path)


# Counting ------------------------------------------------------------------------------------------------------------


def made_up(lucks: Mapping[str, Sequence[float]], noise: float = 0.0, rounds: int = 3, **backend: str) -> Case:
    """Return a simulated case: each launch of an instance is slower by its luck (log), each block by random noise."""
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
        head = {"name": instance.split("@")[0], "language": "Python", "division": "plain", "status": "ok", **backend}
        events.append({"event": "backend", **at, **head})
        for launch, number in ((launch, number) for launch in range(len(logs)) for number in range(rounds)):
            seconds = 0.05 * math.exp(logs[launch] + draw.gauss(0, noise))
            clocks = dict.fromkeys(("seconds", "cpu_seconds", "wall_seconds"), seconds)
            events.append({"event": "sample", **at, "launch": launch, "round": number, "steps": 100, **clocks})
    return results_of(events).cases[0]


LUCK = (0.0, 0.02, -0.01, 0.01, -0.02)


def shifted(by: float, spread: float = 0.0, order: Sequence[int] = (0, 1, 2, 3, 4)) -> list[float]:
    """Return launches with the reference's luck, slower by `by`, with an additional spread."""
    return [LUCK[i] + by + spread * LUCK[order[i]] for i in range(5)]


def trial(experiment: Experiment, by: float, floor: float, other: str, truth: float = 1.0) -> Comparison:
    """Return an interleaved comparison, slower by `by` with a narrow interval; A/A intervals reach about `floor`."""
    reference = PLAIN if other.startswith(PLAIN) else "numpy"
    lucks = {reference: LUCK, other: shifted(by, 0.1), f"{reference}@2": shifted(0.0, floor / 0.02)}
    return Comparison(experiment, "interleaved", reference, other, truth, (made_up(lucks),))


@pytest.mark.parametrize("by", [-0.03, 0.0, 0.03, 0.1])
def test_an_interleaved_estimate_is_the_ratio_of_bench_run_and_contains_the_truth_within_it(by: float) -> None:
    own = trial("loaded", by, 0.01, SAME)
    found = own.estimate()
    assert found is not None
    assert found.median == pytest.approx(math.exp(-by))
    assert found.high / found.low < 1.02
    assert own.holds() == (by == 0.0)
    assert own.holds(truth=math.exp(-by))
    assert own.verdict == own.cases[0].backends[1].verdict is not None
    assert own.launches == 5


def test_sequential_estimates_are_welchs_interval_over_all_launches_or_all_blocks() -> None:
    a, b = made_up({PLAIN: LUCK}, 0.005), made_up({SAME: shifted(0.05, 1.5, (3, 1, 0, 4, 2))}, 0.01)
    for method, by_process, n in (("fresh processes", True, 5), ("one process", False, 15)):
        own = Comparison("loaded", method, PLAIN, SAME, 1.0, (a, b))  # type: ignore[arg-type]
        found = own.estimate()
        assert found is not None
        x, y = (trials.logs(case.backends[0].samples, by_process) for case in (a, b))
        assert len(x) == len(y) == n
        u, v = variance(x) / n, variance(y) / n
        margin = student_t.ppf(0.975, (u + v) ** 2 * (n - 1) / (u**2 + v**2)) * math.sqrt(u + v)
        centre = fmean(x) - fmean(y)
        assert astuple(found) == pytest.approx([math.exp(centre + m) for m in (0.0, -margin, margin)])
        assert own.verdict is None


def test_a_process_counts_with_the_mean_of_its_blocks() -> None:
    samples = made_up({PLAIN: LUCK}, 0.01).backends[0].samples
    blocks = trials.logs(samples, by_process=False)
    assert trials.logs(samples, by_process=True) == pytest.approx([fmean(blocks[i : i + 3]) for i in range(0, 15, 3)])


@pytest.mark.parametrize(
    ("held", "printed"),
    [
        ([True] * 39 + [False], "39 of 40 (98 % [87, 100])"),
        ([True] * 40, "40 of 40 (100 % [91, 100])"),
        ([False] * 3, "0 of 3 (0 % [0, 71])"),
        ([], "0 of 0"),
    ],
)
def test_a_share_is_printed_with_clopper_and_pearsons_interval(held: list[bool], printed: str) -> None:
    assert share_of(held) == printed


def cells(table: Any) -> list[tuple[str, ...]]:
    return [line for _, lines in table.sections for line in lines]


def test_equality_is_counted_by_verdict_and_by_interval() -> None:
    same = trial("equal", 0.0, 0.01, "numpy-again")
    different = trial("equal", 0.1, 0.01, "numpy-again")
    off = {"numpy": LUCK, "numpy-again": shifted(0.0, 0.1), "numpy@2": shifted(0.2, 0.1)}
    second = Comparison("equal", "interleaved", "numpy", "numpy-again", 1.0, (made_up(off),))
    lines = cells(equal_table(trials.Proof((same, different, second))))
    assert [(line[0], line[1], line[2].split(" (")[0]) for line in lines] == [
        ("numpy-again", "verdict over the whole table", "2 of 3"),
        ("numpy-again", "interval alone", "2 of 3"),
        ("numpy@2", "interval alone", "2 of 3"),
    ]


def test_slowdowns_are_counted_and_the_narrowest_interval_comes_first() -> None:
    by = math.log(1 + SLOWDOWN)
    found = trial("slowed", by, 0.002, SLOWER, SLOWED_TRUTH)
    lucks = {PLAIN: LUCK, SLOWER: shifted(by, 4.0, (3, 1, 0, 4, 2))}
    wide = Comparison("slowed", "interleaved", PLAIN, SLOWER, SLOWED_TRUTH, (made_up(lucks),))
    missed = trial("slowed", 0.0, 0.002, SLOWER, SLOWED_TRUTH)
    assert [own.holds() for own in (found, wide, missed)] == [True, True, False]
    table = slowed_table(trials.Proof((wide, found, missed)))
    *lines, total = cells(table)
    assert [line[3] for line in lines][2] == "undecided"
    assert sorted(line[3] for line in lines) == ["same", "slower", "undecided"]
    assert total[3].startswith("1 of 3 ")
    assert "2 of 3" in table.notes[0]


def sequential(method: Method, by: float, truth: float = 1.0, other: str = SAME) -> Comparison:
    """Return a sequential comparison, slower by `by` with narrow intervals."""
    cases = made_up({PLAIN: [0.001 * i for i in range(5)]}), made_up({other: [by + 0.001 * i for i in range(5)]})
    return Comparison("loaded", method, PLAIN, other, truth, cases)


def test_intervals_beside_a_load_are_counted_by_method_and_truth() -> None:
    by = math.log(1 + SLOWDOWN)
    tried = (
        trial("loaded", 0.0, 0.01, SAME),
        trial("loaded", by, 0.01, SLOWER, SLOWED_TRUTH),
        *(sequential("fresh processes", 0.0) for _ in range(2)),
        sequential("fresh processes", 0.0, SLOWED_TRUTH, SLOWER),
        sequential("one process", 0.2),
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


def test_a_lost_comparison_is_named_and_not_counted() -> None:
    whole = trial("equal", 0.0, 0.01, "numpy-again")
    names = {"numpy": LUCK, "numpy-again": LUCK}
    lost = Comparison(
        "equal", "interleaved", "numpy", "numpy-again", 1.0, (made_up(names, status="crashed", reason="gone"),)
    )
    assert lost.estimate() is None
    assert not lost.holds()
    equal, without = tables(trials.Proof((whole, lost)), plan())
    assert [line[2].split(" (")[0] for line in cells(equal)] == ["1 of 1"] * 3
    ((experiment, title, method, why),) = cells(without)
    assert (experiment, title, method) == ("equal", "wine-deep train float32", "interleaved")
    assert "numpy-again: crashed: gone" in why


def test_a_backend_that_failed_midway_has_no_ratio_from_its_samples() -> None:
    good, bad = made_up({PLAIN: LUCK}), made_up({SAME: LUCK}, status="implausible", reason="clock")
    methods: tuple[Method, ...] = ("fresh processes", "one process")
    for method in methods:
        assert Comparison("loaded", method, PLAIN, SAME, 1.0, (good, made_up({SAME: LUCK}))).estimate()
        lost = Comparison("loaded", method, PLAIN, SAME, 1.0, (good, bad))
        assert lost.estimate() is None
        assert lost.lost == f"{SAME}: implausible: clock"


def test_cases_begin_as_long_as_they_fit_and_the_first_always() -> None:
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


def plan(equal: int = 1, slow: int = 1, loaded: int = 1, **changes: Any) -> ProofPlan:
    counts: dict[Experiment, int] = {"equal": equal, "slowed": slow, "loaded": loaded}
    return replace(ProofPlan(counts, 1e6, Settings(), 0.01, 0.05), **changes)


@pytest.mark.usefixtures("rows")
def test_each_experiment_measures_its_backends_by_its_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[CaseKind, tuple[str, ...], Settings, float, type[CaseRun]]] = []

    def measure(
        kind: CaseKind, given: Sequence[Row], settings: Settings, budget: float, how: type[CaseRun] = CaseRun
    ) -> Case:
        names = tuple(row.name for row in given)
        asked.append((kind, names, settings, budget, how))
        return made_up({**dict.fromkeys(names, LUCK), **({f"{names[0]}@2": LUCK} if how is CaseRun else {})})

    monkeypatch.setattr(trials, "measure", measure)
    printed: list[str] = []
    found = trials.prove(plan(len(KINDS) + 1, 2, 4, settings=Settings(rounds=2, min_launches=6)), printed.append)
    assert len(printed) == len(found.comparisons) == len(KINDS) + 1 + 2 + 4 * len(METHODS)
    assert found.load is not None
    equal, slow, loaded = (
        [one for one in asked if one[1] in wanted]
        for wanted in ([("numpy", "numpy-again")], [(PLAIN, SLOWER)], [(PLAIN,), (SAME,), (SLOWER,)])
    )
    assert {kind for kind, *_ in equal} == set(KINDS)
    assert len(slow) == 2 + 2  # the last two beside the load
    assert [settings.precision for _, _, settings, *_ in slow[:2]] == [0.01] * 2
    methods = Counter(
        (settings.min_launches, settings.rounds, names)
        for _, names, settings, _, how in loaded
        if how is trials.SoloCaseRun
    )
    assert methods == {
        (launches, rounds, (name,)): count
        for launches, rounds in ((6, 2), (1, 12))
        for name, count in ((PLAIN, 4), (SAME, 2), (SLOWER, 2))
    }
    beside = [t for t in found.comparisons if t.experiment == "loaded"]
    assert [t.truth for t in beside] == [*([1.0] * 3), *([SLOWED_TRUTH] * 3)] * 2
    assert all({t.method for t in beside[i : i + 3]} == set(METHODS) for i in range(0, 12, 3))
    assert not workers()


@pytest.mark.usefixtures("rows")
def test_an_experiment_of_no_cases_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "measure", lambda *_: made_up(dict.fromkeys(("numpy", "numpy-again", "numpy@2"), LUCK)))
    found = trials.prove(plan(2, 0, 0), lambda _: None)
    assert {t.experiment for t in found.comparisons} == {"equal"}
    assert len(tables(found, plan())) == 1
    assert found.load is None


def read(trial: Mapping[str, Any]) -> Comparison:
    cases = tuple(Case.model_validate(case) for case in trial["cases"])
    named = {name: trial[name] for name in ("experiment", "method", "reference", "other", "truth")}
    return Comparison(**named, cases=cases)


def run_quick(out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """Run the command in an empty folder; return what it has written and what it has printed."""
    shutil.rmtree(out, ignore_errors=True)
    assert main(["--quick", "--out", str(out)]) == 0
    return json.loads((out / "proof.json").read_text(encoding="utf-8")), capsys.readouterr().out


@pytest.mark.usefixtures("rows")
def test_the_command_measures_prints_and_writes_all_samples_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    content, printed = run_quick(tmp_path / "out", capsys)
    if any(read(one).lost for one in content["trials"]):  # a busy machine may have cost a backend its case
        content, printed = run_quick(tmp_path / "out", capsys)
    for words in ("Called equal to numpy", "A copy of c, slowed by 3 %", "beside a load", *METHODS, "numpy@2"):
        assert words in printed
    assert 0 <= content["load_taken"] <= 1.1
    assert Counter(t["experiment"] for t in content["trials"]) == {"equal": 1, "slowed": 1, "loaded": len(METHODS)}
    for one in content["trials"]:
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
def test_ctrl_c_loses_only_the_unfinished_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = iter([made_up({"numpy": LUCK, "numpy-again": shifted(0.01, 0.1), "numpy@2": shifted(0.0, 0.1)})])

    def measure(*_: object) -> Case:
        for case in cases:
            return case
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "measure", measure)
    assert main(["--out", str(tmp_path / "out")]) == 130
    content = json.loads((tmp_path / "out" / "proof.json").read_text(encoding="utf-8"))
    assert [t["experiment"] for t in content["trials"]] == ["equal"]


def test_a_folder_that_cannot_be_made_is_an_error_before_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(proof, "prove", pytest.fail)
    assert main(["--out", str(tmp_path / "file" / "out")]) == 1
    assert "Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option", ["--equal=-1", "--seconds=0", "--block=2", "--launches=1", "--dwell=0", "--rounds=0"]
)
def test_invalid_arguments_are_refused_by_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 2
    assert option.replace("=", " ") in capsys.readouterr().err


def test_the_figures_show_every_interval_and_mark_the_misses() -> None:
    tried = tuple(
        made
        for by in (0.0, 0.3, 0.0)
        for made in (
            trial("equal", by, 0.01, "numpy-again"),
            sequential("one process", by),
            trial("loaded", 0.0, 0.01, SAME),
        )
    )
    everything = trials.Proof(tried)
    drawn = draw_loaded(everything, "note")
    counted = [axes.get_title() for axes in drawn.axes]
    assert counted == [
        "interleaved: 3 of 3 contain it",
        "fresh processes: 0 of 0 contain it",
        "one process: 2 of 3 contain it",
    ]
    assert [coloured(axes) for axes in drawn.axes] == [(3, 0), (0, 0), (2, 1)]
    assert coloured(draw_verdicts(everything, "note").axes[0]) == (2, 1)


def coloured(axes: Axes) -> tuple[int, int]:
    """Return the number of intervals drawn as containing the truth, and of those drawn as missing it."""
    lines = Counter(line.get_color() for line in axes.lines if np.size(line.get_xdata()) == 2)
    return lines[BLUE], lines[VERMILION]
