"""Claims about the order of a journal: what one run cannot have written is refused, and what a continuation drops."""

import copy
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.sample_results import events, sample_results

from bench.results.build import build_results
from bench.results.events import parse_event
from bench.results.journal import RESULTS, read_journal
from bench.results.schema import ResultsError
from bench.results.so_far import so_far
from bench.results.store import load_results

Line = Mapping[str, Any]
MADE_UP = events(("numpy",), ("wine-deep",), {})
WHOLE = [{**line, **({"schema": "pyfnn-results/1"} if line["event"] == "run" else {})} for line in MADE_UP]
SAMPLES = [line for line in WHOLE if line["event"] == "sample"]
LAUNCH = {
    "event": "launch", "case": 0, "instance": "numpy", "launch": 0, "startup_seconds": 0.1, "first_step_seconds": 0.2,
    "warmup_seconds": 0.1, "warmup_blocks": 4, "settled": True,
}  # fmt: skip


def end(launch: int) -> Line:
    costs = {"launch_seconds": 1.0, "round_seconds": 0.1, "spent_seconds": 2.0 * (launch + 1)}
    return {"event": "launch_end", "case": 0, "launch": launch, **costs}


def again(launches: int) -> Line:
    return {"event": "case_again", "case": 0, "launches": launches}


def write(path: Path, lines: Iterable[Line]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_results_with_a_case_an_instance_or_a_block_twice_are_refused(tmp_path: Path) -> None:
    whole = json.loads(sample_results().model_dump_json(by_alias=True))
    repeats: tuple[tuple[Callable[[Any], list[Any]], str], ...] = (
        (lambda found: found["cases"], "case wine-deep · train · float32 · 1 thread is there 2 times"),
        (lambda found: found["cases"][0]["backends"], "instance numpy is there 2 times"),
        (lambda found: found["cases"][0]["backends"][0]["samples"], "numpy: launch 0, round 0 is there 2 times"),
    )
    for repeat, words in repeats:
        altered = copy.deepcopy(whole)
        repeat(altered).append(repeat(altered)[0])
        (tmp_path / RESULTS).write_text(json.dumps(altered), encoding="utf-8")
        with pytest.raises(ResultsError, match=words):
            load_results(tmp_path)


@pytest.mark.parametrize(
    ("repeated", "words"),
    [
        ([WHOLE[0]], "a second run: two runs wrote into this journal"),
        ([next(line for line in WHOLE if line["event"] == "case")], "case 0 begins a second time"),
        ([SAMPLES[5]], "a second sample of numpy: case 0, launch 1, round 1"),
        ([LAUNCH, LAUNCH], "a second launch of numpy: case 0, launch 0"),
        ([end(0), end(0)], "a second end of launch: case 0, launch 0"),
        (WHOLE, "a second run"),
    ],
)
def test_a_journal_that_two_runs_wrote_is_refused_with_the_line(
    repeated: list[Line], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "journal.jsonl", [*WHOLE, *repeated])
    number = len(WHOLE) + (len(repeated) if len(repeated) < len(WHOLE) else 1)
    with pytest.raises(ResultsError, match=rf"journal\.jsonl, line {number}: {words}"):
        read_journal(path)


def cut(launches: int, after: int) -> list[Line]:
    """Return the lines of a run with so many finished launches and some samples of the next."""
    head = [line for line in WHOLE if line["event"] in ("run", "case", "backend")]
    lines: list[Line] = [*head]
    for launch in range(launches):
        lines += [s for s in SAMPLES if s["launch"] == launch] + [end(launch)]
    return lines + [s for s in SAMPLES if s["launch"] == launches][:after]


def test_a_case_that_goes_on_drops_the_samples_of_the_unfinished_launch_and_may_repeat_it(tmp_path: Path) -> None:
    before = cut(2, after=3)
    crashed = {"event": "backend", "case": 0, "instance": "numpy", "status": "crashed", "reason": "killed with it"}
    rest = [again(2), *(s for s in SAMPLES if s["launch"] == 2), end(2)]
    results = build_results(read_journal(write(tmp_path / "journal.jsonl", [*before, crashed, *rest])))
    numpy = results.cases[0].backends[0]
    assert numpy.status == "ok"
    assert [s.launch for s in numpy.samples if s.round == 0] == [0, 1, 2]
    assert len(numpy.samples) == len({(s.launch, s.round) for s in numpy.samples})


def test_a_case_cannot_go_on_after_launches_that_did_not_end(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="case 0 goes on after 2 launches: 1 had ended"):
        build_results(read_journal(write(tmp_path / "journal.jsonl", [*cut(1, after=3), again(2)])))


def test_a_journal_says_how_far_its_run_is() -> None:
    stopped = {"event": "case_end", "case": 0, "stopped": "interrupted", "measured_seconds": 9.0}
    found = so_far([parse_event(line) for line in [*cut(2, after=3), stopped]])
    assert (found.done, set(found.open), found.finished) == (frozenset(), {0}, False)
    part = found.open[0]
    assert (part.launches, part.spent_seconds, found.spent_seconds) == (2, 4.0, 4.0)
    assert {s.launch for s in part.case.backends[0].samples} == {0, 1}
    budget = {**stopped, "stopped": "budget: 2 of about 9 launches"}
    finish = {"event": "finish", "finished": "2025-01-01T00:05:00+00:00"}
    ended = [parse_event(line) for line in [*cut(2, after=0), budget, finish]]
    assert (so_far(ended).done, so_far(ended).spent_seconds, so_far(ended).finished) == (frozenset({0}), 9.0, True)
    assert set(so_far(ended, more=True).open) == {0}


def test_more_time_given_counts_and_the_end_before_it_does_not() -> None:
    finish = {"event": "finish", "finished": "2025-01-01T00:05:00+00:00"}
    resume = {"event": "resume", "begun": "2025-01-02T00:00:00+00:00", "more_seconds": 30.0}
    lines = [parse_event(line) for line in [*cut(2, after=0), finish, resume, again(2)]]
    found = so_far(lines)
    assert (found.given_seconds, found.finished) == (30.0, False)
    assert build_results(lines).finished is None
