"""Claims about the files of a run: the journal, the results built from it, and the errors of bad files."""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sample_results import events, results_of, sample_results, swept_results

from bench.results.build import CUT_OFF, build_results
from bench.results.derive import STATISTIC_FIELDS, a_a_missed, timing_summary
from bench.results.events import Event, FinishEvent, RunEvent, parse_event
from bench.results.journal import Journal, now, read_journal
from bench.results.schema import SCHEMA, STATISTICS, ResultsError
from bench.results.store import load_results, save_results
from bench.statistics import intervals
from bench.terms import SweepPoint

Line = dict[str, Any]
SCHEMA_1 = Path(__file__).with_name("schema1")  # a run of numpy and c on wine-shallow, written before events were typed


def journal(folder: Path, *, backends: tuple[str, ...] = ("numpy", "cpp", "go"), **failures: str) -> list[Event]:
    """Write the journal of a made-up run as a run writes it, and return its events."""
    written = [parse_event(line) for line in events(backends, ("wine-deep",), failures)]
    with Journal(folder) as opened:
        for event in written:
            opened.write(event)
    return written


def test_events_are_read_as_written_and_give_the_same_results_from_the_journal_and_from_the_file(
    tmp_path: Path,
) -> None:
    written = journal(tmp_path)
    assert read_journal(tmp_path / "journal.jsonl") == written
    built = build_results(written)
    path = save_results(built, tmp_path)
    assert load_results(tmp_path) == built
    assert json.loads(path.read_text())["schema"] == SCHEMA
    samples = [event for event in written if event.event == "sample"]
    assert sum(len(b.samples) for case in built.cases for b in case.backends) == len(samples) > 0


def test_a_line_of_the_journal_holds_the_fields_that_were_set_and_no_others(tmp_path: Path) -> None:
    journal(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert lines == list(events(("numpy", "cpp", "go"), ("wine-deep",), {}))


def test_results_of_statistics_1_load_with_the_statistics_of_now_as_their_journal_does(tmp_path: Path) -> None:
    stored, read = load_results(SCHEMA_1), read_journal(SCHEMA_1 / "journal.jsonl")
    assert stored == build_results(read)
    assert stored.statistics == STATISTICS
    assert {b.status for b in stored.cases[0].backends} == {"ok"}
    assert {pair.verdict for pair in stored.cases[0].pairs or ()} == {"faster"}
    text = json.loads((SCHEMA_1 / "results.json").read_text())
    assert text["cases"][0]["noise_floor"]
    for case in text["cases"]:
        for name in ("noise_floor", "pairs", "a_a_pairs"):
            case.pop(name, None)
        for backend in case["backends"]:
            for name in STATISTIC_FIELDS:
                backend.pop(name, None)
    assert holds(json.loads(save_results(stored, tmp_path).read_text()), text)
    lines = (SCHEMA_1 / "journal.jsonl").read_text().splitlines()
    assert [event.line() for event in read] == [json.loads(line) for line in lines]


def test_statistics_of_a_later_version_are_refused(tmp_path: Path) -> None:
    path = save_results(sample_results(("numpy", "cpp")), tmp_path)
    path.write_text(path.read_text().replace(f'"statistics": {STATISTICS}', f'"statistics": {STATISTICS + 1}'))
    with pytest.raises(ResultsError, match="statistics"):
        load_results(tmp_path)


def holds(new: Any, old: Any) -> bool:
    """Return True if `new` has every value of `old`; fields may have been added since."""
    if isinstance(old, dict):
        return all(key in new and holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


def test_every_event_is_on_disk_before_the_next_is_written(tmp_path: Path) -> None:
    with Journal(tmp_path) as opened:
        for count in range(1, 4):
            opened.write(FinishEvent(finished=str(count)))
            assert len(read_journal(tmp_path / "journal.jsonl")) == count


@settings(max_examples=60)
@given(cut=st.integers(0, 10**9))
def test_a_journal_cut_short_anywhere_loses_one_line_at_most(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "journal.jsonl"
    lines = list(events(("numpy",), ("wine-deep",), {}))
    written = [parse_event(line) for line in lines]
    whole = "".join(json.dumps(line) + "\n" for line in lines).encode()
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    full_lines = kept.count(b"\n")
    assert read_journal(path) in (written[:full_lines], written[: full_lines + 1])


def test_results_are_built_from_the_journal_where_a_run_was_cut_off(tmp_path: Path) -> None:
    journal(tmp_path)
    path = tmp_path / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-3]) + lines[-3][:20])
    partial = load_results(tmp_path)
    assert partial.finished is None
    assert partial.cases[0].stopped == CUT_OFF
    assert all(b.samples for b in partial.cases[0].backends)


def test_a_bad_line_in_the_middle_is_named_by_its_number(tmp_path: Path) -> None:
    journal(tmp_path)
    path = tmp_path / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for bad in ('{"event": "sam\n', "[1, 2]\n", '{"case": 0}\n', '{"event": "run", "x": NaN}\n'):
        path.write_text("".join([*lines[:4], bad, *lines[5:]]))
        with pytest.raises(ResultsError, match="line 5"):
            load_results(tmp_path)


SAMPLE: Line = {
    "event": "sample", "case": 0, "instance": "numpy", "launch": 0, "round": 0, "seconds": 1.0, "steps": 1,
    "cpu_seconds": 0.0, "wall_seconds": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        {"event": "sample", "case": 7, "instance": "numpy"},
        {"event": "sample", "case": 0},
        {**SAMPLE, "case": [0]},
        {**SAMPLE, "instance": {}},
        {**SAMPLE, "seconds": -1.0},
        {**SAMPLE, "speed": 3},
        {"event": "backend", "case": 0, "instance": "numpy", "status": "fine"},
        {"event": "case", "case": 1},
        {"event": "run", "schema": "pyfnn-results/2", "created": "2025-01-01T00:00:00+00:00"},
        {"event": "surprise", "case": 0},
        {"event": ["sample"], "case": 0},
    ],
)
def test_an_event_that_does_not_fit_the_schema_is_one_clear_error_with_its_line(line: Line, tmp_path: Path) -> None:
    journal(tmp_path)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(ResultsError, match=r"journal\.jsonl, line \d+: does not fit pyfnn-results/1"):
        load_results(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"), [({**SAMPLE, "case": 7}, "case 7"), ({**SAMPLE, "instance": "new"}, "backends.4.name")]
)
def test_an_event_out_of_place_is_one_clear_error(line: Line, words: str, tmp_path: Path) -> None:
    with Journal(tmp_path) as opened:
        for event in (*journal(tmp_path / "other"), parse_event(line)):
            opened.write(event)
    with pytest.raises(ResultsError, match=rf"journal\.jsonl: does not fit pyfnn-results/1: .*{words}"):
        load_results(tmp_path)


def test_an_empty_journal_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").touch()
    with pytest.raises(ResultsError, match=r"journal\.jsonl: the journal holds no run"):
        load_results(tmp_path)


Change = Callable[[dict[str, Any]], object]
CHANGES: Mapping[str, tuple[Change, str]] = {
    "another schema": (lambda d: d.update(schema="pyfnn-results/2"), "pyfnn-results/2"),
    "no schema": (lambda d: d.pop("schema"), "schema is None"),
    "a missing field": (lambda d: d["cases"][0].pop("workload"), "cases.0.workload"),
    "an unknown field": (lambda d: d["cases"][0].update(speed=3), "cases.0.speed"),
    "a wrong type": (lambda d: d["cases"][0].update(threads="many"), "cases.0.threads"),
    "an unknown status": (lambda d: d["cases"][0]["backends"][1].update(status="great"), "cases.0.backends.1.status"),
    "a sample of no time": (
        lambda d: d["cases"][0]["backends"][0]["samples"][3].update(seconds=0), "cases.0.backends.0.samples.3.seconds"
    ),
    "a better sample": (
        lambda d: d["cases"][0]["backends"][0]["samples"][3].update(seconds=1e-6), "cases.0.backends.0.step_seconds"
    ),
    "a better time": (
        lambda d: d["cases"][0]["backends"][2]["step_seconds"].update(median=1e-9), "cases.0.backends.2.step_seconds"
    ),
    "a better ratio": (lambda d: d["cases"][0]["backends"][2]["ratio"].update(high=99), "cases.0.backends.2.ratio"),
    "a time of a failed backend": (
        lambda d: d["cases"][0]["backends"][2].update(status="crashed"), "cases.0.backends.0.fastest"
    ),
    "more gflops": (lambda d: d["cases"][0]["backends"][2].update(gflops=1e4), "cases.0.backends.2.gflops"),
    "a wider margin": (lambda d: d["cases"][0].update(margin=0.5), "cases.0.margin"),
    "a place among the fastest": (
        lambda d: d["cases"][0]["backends"][0].update(fastest=True), "cases.0.backends.0.fastest"
    ),
    "fewer launches to decide": (lambda d: d["cases"][0]["pairs"][0].update(more_launches=1), "cases.0.pairs"),
    "another reference": (lambda d: d["cases"][0].update(reference="cpp"), "cases.0.reference"),
    "an edited pair": (lambda d: d["cases"][0]["pairs"][0]["ratio"].update(low=2.0), "cases.0.pairs"),
    "an edited verdict": (
        lambda d: d["cases"][0]["backends"][2].update(verdict="slower"), "cases.0.backends.2.verdict"
    ),
    "an edited verdict on a pair": (lambda d: d["cases"][0]["pairs"][0].update(verdict="slower"), "cases.0.pairs"),
    "fewer outliers": (
        lambda d: d["cases"][0]["backends"][0]["timing_summary"].update(outliers=50),
        "cases.0.backends.0.timing_summary",
    ),
    "a smaller gain": (
        lambda d: d["cases"][0]["backends"][0]["gain_within_launches"].update(low=0.5),
        "cases.0.backends.0.gain_within_launches",
    ),
    "an edited A/A pair": (lambda d: d["cases"][0]["a_a_pairs"][0]["ratio"].update(low=0.5), "cases.0.a_a_pairs"),
    "a pair left out": (lambda d: d["cases"][0]["pairs"].clear(), "cases.0.pairs"),
    "an interval marked as wider": (lambda d: d["cases"][0].update(launches_chosen=True), "cases.0."),
    "cases of a wrong type": (lambda d: d.update(cases={}), "cases"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_edited_file_is_refused_with_the_place(name: str, tmp_path: Path) -> None:
    change, place = CHANGES[name]
    path = save_results(sample_results(("numpy", "cpp")), tmp_path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(ResultsError) as caught:
        load_results(tmp_path)
    assert place in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "\x00", "[" * 100_000, '{"schema": NaN}', "9" * 5000])
def test_a_file_that_holds_no_results_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ResultsError, match=r"results\.json"):
        load_results(tmp_path)


@settings(max_examples=60)
@given(cut=st.integers(0, 10**9))
def test_a_results_file_cut_short_anywhere_is_refused(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = save_results(sample_results(("numpy",)), folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) - 1)])
    with pytest.raises(ResultsError, match=r"results\.json"):
        load_results(folder)


def test_a_folder_without_results_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"results\.json: No such file"):
        load_results(tmp_path)


def test_results_are_saved_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sample_results(("numpy",))
    path = save_results(first, tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_results(sample_results(("numpy", "cpp")), tmp_path)
    assert load_results(tmp_path) == first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_neither_nan_nor_infinity_can_be_written(tmp_path: Path) -> None:
    with Journal(tmp_path) as opened:
        for value in (math.nan, math.inf):
            with pytest.raises(ValueError, match="JSON"):
                opened.write(RunEvent(schema=SCHEMA, created=now(), settings={"value": value}))
    text = save_results(sample_results(("numpy", "cpp")), tmp_path).read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in results.json"))


def test_the_first_ok_plain_backend_replaces_a_reference_that_failed() -> None:
    some = ("numpy", "torch", "cpp-tuned", "c", "go")
    assert sample_results(some).cases[0].reference == "numpy"
    case = sample_results(some, failures={"numpy": "crashed"}).cases[0]
    assert case.reference == "c"
    ratios = {b.instance: b.ratio for b in case.backends}
    assert ratios["c"] is None
    assert ratios["go"] is not None
    assert ratios["go"].median == pytest.approx(0.92 / 2.1, rel=0.05)
    only_others = {"numpy": "crashed", "c": "crashed", "go": "too_slow"}
    assert sample_results(some, failures=only_others).cases[0].reference is None


def test_a_backend_that_failed_after_some_samples_keeps_them_and_has_no_statistics() -> None:
    lines = list(events(("numpy", "go"), ("wine-deep",), {}))
    lines.append({"event": "backend", "case": 0, "instance": "go", "status": "crashed", "reason": "signal 11"})
    numpy, _, go = results_of(lines).cases[0].backends
    assert numpy.ratio is None
    assert numpy.step_seconds is not None
    assert len(go.samples) == len(numpy.samples) > 0
    assert (go.status, go.reason) == ("crashed", "signal 11")
    assert (go.step_seconds, go.ratio, go.gflops) == (None, None, None)


def test_gflops_are_the_operations_of_a_step_over_its_time() -> None:
    case = sample_results().cases[0]
    for b in case.backends:
        assert b.step_seconds is not None
        assert b.gflops == pytest.approx(case.flops_per_step / b.step_seconds.median / 1e9)


def test_every_second_instance_is_compared_with_the_first_over_the_launches_that_have_both() -> None:
    lines = [
        line
        for line in events(("numpy", "cpp", "c", "go", "java"), ("wine-deep",), {})
        if not (line["event"] == "sample" and line["instance"] == "numpy@2" and line["launch"] != 3)
    ]
    case = results_of(lines).cases[0]
    assert case.a_a_pairs
    (pair,) = case.a_a_pairs
    first, second = case.backends[:2]
    (log,) = intervals.log_ratios(first.samples, second.samples)
    assert (pair.than, pair.backend, pair.verdict) == ("numpy", "numpy@2", None)
    assert pair.ratio.median == pytest.approx(math.exp(log))
    assert a_a_missed(case) == (int(not pair.ratio.low <= 1 <= pair.ratio.high), 1)
    assert sample_results(("numpy", "cpp"), a_a=False).cases[0].a_a_pairs == []


def test_every_two_backends_have_one_ratio_paired_from_their_own_samples() -> None:
    case = sample_results(("numpy", "cpp", "torch", "go"), failures={"go": "crashed"}).cases[0]
    by_name = {b.name: b for b in case.backends if b.instance == b.name}
    assert case.pairs is not None
    assert [(pair.than, pair.backend) for pair in case.pairs] == [
        ("numpy", "cpp"),
        ("numpy", "torch"),
        ("cpp", "torch"),
    ]
    for pair in case.pairs:
        logs = intervals.log_ratios(by_name[pair.than].samples, by_name[pair.backend].samples)
        assert pair.ratio.median == pytest.approx(math.exp(fmean(logs)))
    assert by_name["cpp"].ratio == case.pairs[0].ratio


def test_every_ratio_is_wider_where_the_samples_chose_the_number_of_launches() -> None:
    lines = list(events(("numpy", "cpp"), ("wine-deep",), {}))
    before = results_of(lines).cases[0]
    after = results_of({**e, "launches_chosen": True} if e["event"] == "case_end" else e for e in lines).cases[0]
    assert before.pairs
    assert after.pairs
    assert before.a_a_pairs
    assert after.a_a_pairs
    for one, other in (
        (before.a_a_pairs[0].ratio, after.a_a_pairs[0].ratio),
        (before.backends[-1].ratio, after.backends[-1].ratio),
        (before.pairs[0].ratio, after.pairs[0].ratio),
    ):
        assert one
        assert other
        assert math.log(other.high / other.low) == pytest.approx(intervals.WIDENED * math.log(one.high / one.low))


def test_totals_and_rates_are_those_of_the_samples() -> None:
    case = sample_results(("numpy", "cpp"), launches=3).cases[0]
    for backend in case.backends:
        summary, samples = backend.timing_summary, backend.samples
        assert summary is not None
        assert (summary.launches, summary.blocks) == (3, len(samples))
        assert summary.cpu_per_wall_second == pytest.approx(1 / 1.01)
        assert summary.switches_per_second is None
        assert summary.outliers == sum(sample.outlier for sample in samples)
        assert summary.median_step_seconds == pytest.approx(median(s.seconds / s.steps for s in samples))
        assert summary.median_block_seconds == median(s.seconds for s in samples)
        assert backend.gain_within_launches == intervals.gain_within_launches(samples)


def test_switches_are_counted_over_the_blocks_in_which_they_are_known() -> None:
    samples = sample_results(("numpy",), launches=2).cases[0].backends[0].samples
    known = [
        sample.model_copy(update={"wall_seconds": 0.5, "involuntary_switches": None if at % 2 else 3})
        for at, sample in enumerate(samples)
    ]
    summary = timing_summary(known)
    assert summary is not None
    assert summary.switches_per_second == 6.0


def test_verdicts_are_those_of_the_pairs_and_second_instances_have_none() -> None:
    case = sample_results(("numpy", "cpp", "c", "go")).cases[0]
    verdicts = {backend.instance: backend.verdict for backend in case.backends}
    assert verdicts == {"numpy": None, "numpy@2": None, "cpp": "faster", "c": "faster", "go": "faster"}
    assert {backend.instance: backend.fastest for backend in case.backends}["numpy@2"] is None
    assert {(pair.backend, pair.than): pair.verdict for pair in case.pairs or []}["go", "cpp"] == "slower"
    assert [(pair.backend, pair.than, pair.verdict) for pair in case.a_a_pairs or []] == [("numpy@2", "numpy", None)]


def test_the_margin_of_the_settings_decides_what_is_the_same() -> None:
    lines = list(events(("numpy", "cpp", "c"), ("wine-deep",), {}, noise=0.002))
    wide = [{**e, "settings": {**e["settings"], "margin": 0.1}} if e["event"] == "run" else e for e in lines]
    tight = [{**e, "settings": {**e["settings"], "margin": 1e-4}} if e["event"] == "run" else e for e in lines]
    ratios = {results_of(some).cases[0].margin: results_of(some).cases[0].pairs for some in (lines, wide, tight)}
    assert set(ratios) == {0.03, 0.1, 1e-4}
    assert len({str([pair.ratio for pair in pairs or ()]) for pairs in ratios.values()}) == 1


def test_the_place_in_a_sweep_is_read_again_and_is_none_in_results_from_before_there_were_sweeps(
    tmp_path: Path,
) -> None:
    swept = swept_results({"numpy": lambda _: 5e-5, "c": lambda value: 1e-6 * value}, (1, 16))
    path = save_results(swept, tmp_path)
    again = load_results(tmp_path)
    assert again == swept
    assert [case.sweep for case in again.cases] == [
        SweepPoint(along="batch", value=value, workload="wine-deep") for value in (1, 16)
    ]
    text = json.loads(path.read_text(encoding="utf-8"))
    for case in text["cases"]:
        del case["sweep"]
    path.write_text(json.dumps(text), encoding="utf-8")
    assert [case.sweep for case in load_results(tmp_path).cases] == [None, None]
    text["cases"][0]["sweep"] = {"along": "colour", "value": 1, "workload": "wine-deep"}
    path.write_text(json.dumps(text), encoding="utf-8")
    with pytest.raises(ResultsError, match=r"cases\.0\.sweep\.along"):
        load_results(tmp_path)


def test_results_from_before_there_were_optimizers_are_of_gradient_descent(tmp_path: Path) -> None:
    path = save_results(swept_results({"numpy": lambda _: 5e-5}, (1, 16)), tmp_path)
    text = json.loads(path.read_text(encoding="utf-8"))
    for case in text["cases"]:
        del case["optimizer"]
    path.write_text(json.dumps(text), encoding="utf-8")
    assert [case.optimizer for case in load_results(tmp_path).cases] == ["sgd", "sgd"]


def test_a_later_event_of_a_backend_replaces_the_facts_of_an_earlier_one() -> None:
    lines = list(events(("numpy",), ("wine-deep",), {}, a_a=False))
    lines.append({"event": "backend", "case": 0, "instance": "numpy", "peak_rss_bytes": 5})
    backend = results_of(lines).cases[0].backends[0]
    assert backend.peak_rss_bytes == 5
    assert backend.language == "Python"
