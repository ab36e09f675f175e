"""Claims about `--resume`: what is kept, what is measured again, what is refused."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import misbehaving
import pytest
from support.runs import TINY, enter_folder

from bench import report, run
from bench.continuation import continued
from bench.measure.case import CaseRun
from bench.results.events import CaseAgainEvent, LaunchEndEvent, ResumeEvent, SampleEvent
from bench.results.journal import JOURNAL, read_journal
from bench.results.schema import Results
from bench.results.store import load_results

OPTIONS = [*TINY, "--backends", "steady,other", "--reference", "steady", "--seed", "5", "--out", "out"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = enter_folder(tmp_path, monkeypatch)
    monkeypatch.setattr(report, "draw", lambda *_: [])  # figures take longer than the runs
    misbehaving.manifest(tmp_path / "backend.toml", {"steady": misbehaving.STEADY, "other": "steady hello 1"})
    return here


class Stops:
    """Ends a run, as a signal would, when it is about to take this turn; afterwards it goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, launch: int, number: int) -> None:
        self.armed = True
        turn = CaseRun._sense

        def sense(case: CaseRun, launch_now: int, number_now: int) -> None:
            if (launch_now, number_now) == (launch, number) and self.armed:
                self.armed = False
                raise KeyboardInterrupt
            turn(case, launch_now, number_now)

        monkeypatch.setattr(CaseRun, "_sense", sense)


def turns(results: Results) -> dict[str, Counter[tuple[int, int]]]:
    case = results.cases[0]
    return {b.instance: Counter((s.launch, s.round) for s in b.samples) for b in case.backends}


def order_of_turns(folder: Path) -> list[tuple[str, int, int]]:
    """Return the turns that count, in the order in which they were taken."""
    found: list[tuple[str, int, int]] = []
    for event in read_journal(folder / JOURNAL):
        if isinstance(event, CaseAgainEvent):
            found = [turn for turn in found if turn[1] < event.launches]
        if isinstance(event, SampleEvent):
            found.append((event.instance, event.launch, event.round))
    return found


def test_a_continued_run_keeps_finished_launches_repeats_the_unfinished_one_and_ends_as_an_unharmed_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stops = Stops(monkeypatch, launch=1, number=1)
    assert run.main(OPTIONS) == 130
    out = folder / "out"
    before = load_results(out)
    assert before.cases[0].stopped == "interrupted"
    kept = [s for s in before.cases[0].backends[0].samples if s.launch == 0]
    assert not stops.armed
    assert "--resume out continues this run" in capsys.readouterr().out
    assert run.main(["--resume", "out"]) == 0
    after = load_results(out)
    every = {(launch, number): 1 for launch in range(2) for number in range(2)}
    assert all(found == every for found in turns(after).values())
    first = [(s.seconds, s.steps) for s in after.cases[0].backends[0].samples if s.launch == 0]
    assert first == [(s.seconds, s.steps) for s in kept]
    assert after.finished
    assert after.cases[0].stopped.startswith("precision reached")
    assert after.created == before.created
    assert [part.differences for part in after.resumptions] == [[]]
    assert "continuing: 1 case to measure" in capsys.readouterr().out
    assert "continued 20" in (out / "summary.md").read_text(encoding="utf-8")

    assert run.main([*OPTIONS[:-1], "unharmed"]) == 0  # the same seed: the same instances in the same order
    assert order_of_turns(out) == order_of_turns(folder / "unharmed")
    unharmed = load_results(folder / "unharmed")
    assert unharmed.cases[0].stopped == after.cases[0].stopped
    assert {b.instance: b.status for b in unharmed.cases[0].backends} == {
        b.instance: b.status for b in after.cases[0].backends
    }


def finished_run(folder: Path) -> Path:
    """Measure a run that ends for lack of time after its two launches."""
    assert run.main([*OPTIONS, "--precision", "1e-9", "--budget", "0.01"]) == 0
    return folder / "out"


def test_more_time_is_given_to_a_run_that_ran_out_of_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = finished_run(folder)
    launches = len({s.launch for s in load_results(out).cases[0].backends[0].samples})
    assert run.main(["--resume", "out"]) == 2
    assert "nothing is left to measure" in capsys.readouterr().err
    assert run.main(["--resume", "out", "--more", "3"]) == 0
    case = load_results(out).cases[0]
    assert len({s.launch for s in case.backends[0].samples}) > launches
    assert case.stopped.startswith("budget")
    assert [part.more_seconds for part in load_results(out).resumptions] == [3.0]


def test_options_that_a_continued_run_cannot_change_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--resume", "out", "--seed", "1", "--suite", "quick", "--timeout", "60"]) == 2
    assert "--suite, --timeout, --seed: cannot be changed" in capsys.readouterr().err
    assert run.main(["--more", "3"]) == 2
    assert "--more: needs --resume DIR" in capsys.readouterr().err
    assert run.main(["--resume", "out"]) == 2
    assert "out: holds no journal.jsonl" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


Change = dict[str, Any]


@pytest.fixture
def stopped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Stops(monkeypatch, launch=1, number=0)
    assert run.main(OPTIONS) == 130
    return folder / "out"


def edit_run(out: Path, change: Change) -> None:
    """Change fields in the first line of a journal, as if the run had begun elsewhere."""
    path = out / JOURNAL
    first, *rest = path.read_text(encoding="utf-8").splitlines(keepends=True)
    head = json.loads(first)
    for name, values in change.items():
        head[name] |= values
    path.write_text("".join([json.dumps(head) + "\n", *rest]), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": {"cpu_model": "Z80"}}, "host cpu_model: Z80, now "),
        ({"packages": {"numpy": "1.0"}}, "package numpy: 1.0, now "),
        ({"origins": {"steady": "0"}}, "steady: its sources, manifest or compiler"),
        ({"origins": {"code of pyfnn": "0"}}, "code of pyfnn: its sources"),
    ],
)
def test_a_run_is_not_continued_under_other_conditions_and_the_difference_is_named(
    change: Change, words: str, stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_run(stopped, change)
    lines = (stopped / JOURNAL).read_bytes()
    assert run.main(["--resume", "out"]) == 2
    assert words in capsys.readouterr().err
    assert (stopped / JOURNAL).read_bytes() == lines


def test_a_workload_that_has_changed_is_named_and_force_marks_every_number(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = stopped.parent.parent / "tiny.toml"
    suite.write_text(suite.read_text(encoding="utf-8").replace("rows = 24", "rows = 48"), encoding="utf-8")
    assert run.main(["--resume", "out"]) == 2
    assert "workload tiny: rows: 24, now 48" in capsys.readouterr().err
    assert run.main(["--resume", "out", "--force"]) == 0
    results = load_results(stopped)
    assert results.differences == ["workload tiny: rows: 24, now 48"]
    definition = results.cases[0].definition
    assert definition
    assert definition.rows == 24
    mark = "Measured in parts under different conditions (--force): workload tiny: rows: 24, now 48."
    assert mark in " ".join(capsys.readouterr().out.split())
    assert (stopped / "summary.md").read_text(encoding="utf-8").count(mark) == 2  # on top, and under the table


def test_a_journal_that_ends_in_the_middle_of_a_line_is_continued(stopped: Path) -> None:
    with (stopped / JOURNAL).open("a") as file:
        file.write('{"event": "sam')
    assert run.main(["--resume", "out"]) == 0
    events = read_journal(stopped / JOURNAL)
    assert [event.launch for event in events if isinstance(event, LaunchEndEvent)] == [0, 1]
    assert sum(isinstance(event, ResumeEvent) for event in events) == 1


def test_a_run_that_was_killed_after_its_last_case_writes_its_results(stopped: Path) -> None:
    assert run.main(["--resume", "out"]) == 0
    path, results = stopped / JOURNAL, load_results(stopped)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    ended = next(at for at, line in reversed(list(enumerate(lines))) if '"event": "case_end"' in line)
    path.write_text("".join(lines[: ended + 1]), encoding="utf-8")
    (stopped / "results.json").unlink()
    assert run.main(["--resume", "out"]) == 0
    assert load_results(stopped).cases == results.cases


def test_a_journal_without_ends_of_launches_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stopped / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"event": "launch_end"' not in line), encoding="utf-8")
    assert run.main(["--resume", "out"]) == 2
    assert "an older version of pyfnn wrote this journal" in capsys.readouterr().err


@pytest.mark.usefixtures("stopped")
def test_a_program_that_was_in_use_is_restored_with_its_calibration(folder: Path) -> None:
    plan = continued(folder / "out")
    part = plan.so_far.open[0]
    assert part.launches == 1
    assert set(part.ends[0].arms) >= {"steady", "other"}
    assert {b.instance: len(b.samples) for b in part.case.backends}["steady"] == 2
    assert part.spent_seconds > 0
