"""Claims about `--resume`: what is kept, what is measured again, what is refused."""

import json
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import misbehaving
import pytest
from support.runs import TINY, enter_folder, hurry

from bench import continuation, run, stages
from bench.continuation import continued
from bench.measure.arm import Arm
from bench.measure.case import CaseRun
from bench.measure.record import NOT_BEGUN
from bench.measure.restore import restored
from bench.results.events import BackendEvent, CaseAgainEvent, SampleEvent
from bench.results.journal import JOURNAL, RESULTS, read_journal
from bench.results.schema import Results
from bench.results.store import load_results
from bench.suites.load import cases_of
from pyfnn import registry

OPTIONS = [*TINY, "--backends", "steady,other", "--reference", "steady", "--seed", "5", "--out", "out"]


def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = enter_folder(tmp_path, monkeypatch)
    hurry(monkeypatch)
    misbehaving.manifest(tmp_path / "backend.toml", {"steady": misbehaving.STEADY, "other": "steady hello 1"})
    return here


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was ended in the last round of its second launch."""
    with pytest.MonkeyPatch.context() as patch:
        here = enter(tmp_path_factory.mktemp("once"), patch)
        stop_after(patch, launch=1, number=1)
        assert run.main(OPTIONS) == 130
    return here / "out"


@pytest.fixture
def stopped(folder: Path, once: Path) -> Path:
    """Return a copy of that folder, beside the suite of this test."""
    return Path(shutil.copytree(once, folder / "out"))


def stop_after(monkeypatch: pytest.MonkeyPatch, launch: int, number: int) -> None:
    """End runs, as a signal would, after the turns of this round."""
    sense = CaseRun._sense

    def stop(case: CaseRun, launch_now: int, number_now: int) -> None:
        if (launch_now, number_now) == (launch, number):
            raise KeyboardInterrupt
        sense(case, launch_now, number_now)

    monkeypatch.setattr(CaseRun, "_sense", stop)


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
    folder: Path, stopped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_results(stopped)
    assert before.cases[0].stopped == "interrupted"
    assert turns(before)["steady"] == {(0, 0): 1, (0, 1): 1, (1, 0): 1, (1, 1): 1}
    with (stopped / JOURNAL).open("a") as file:
        file.write('{"event": "sam')  # as a kill in the middle of a line leaves it
    assert run.main(["--resume", "out"]) == 0
    after = load_results(stopped)
    assert all(found == turns(before)["steady"] for found in turns(after).values())
    assert blocks(after, 0) == blocks(before, 0)
    assert not set(blocks(after, 1)) & set(blocks(before, 1))
    assert after.finished
    assert after.cases[0].stopped.startswith("precision reached")
    assert after.created == before.created
    assert [part.differences for part in after.resumptions] == [[]]
    assert "continuing: 1 case to measure" in capsys.readouterr().out
    assert "continued 20" in (stopped / "summary.md").read_text(encoding="utf-8")

    assert run.main([*OPTIONS[:-1], "unharmed"]) == 0  # the same seed: the same instances in the same order
    assert order_of_turns(stopped) == order_of_turns(folder / "unharmed")
    unharmed = load_results(folder / "unharmed")
    assert unharmed.cases[0].stopped == after.cases[0].stopped
    assert statuses(unharmed) == statuses(after)

    path, lines = stopped / JOURNAL, (stopped / JOURNAL).read_text(encoding="utf-8").splitlines(keepends=True)
    ended = max(at for at, line in enumerate(lines) if '"event": "case_end"' in line)
    path.write_text("".join(lines[: ended + 1]), encoding="utf-8")  # as a kill before the end of the run leaves it
    (stopped / "results.json").unlink()
    left = abandoned_folder(folder, monkeypatch)
    assert run.main(["--resume", "out"]) == 0  # nothing is measured, so it needs no folder of its own
    assert load_results(stopped).cases == after.cases
    assert not left.exists()


def abandoned_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let temporary files be in a folder, and return one there that a killed process would leave."""
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    place = folder / f"pyfnn-{os.getuid()}" if hasattr(os, "getuid") else folder / "pyfnn"
    left = place / "1-left"
    place.mkdir(mode=0o700)
    left.mkdir()
    (left / "lock").touch()
    return left


def blocks(results: Results, launch: int) -> list[tuple[float, int]]:
    return [(s.seconds, s.steps) for b in results.cases[0].backends for s in b.samples if s.launch == launch]


def statuses(results: Results) -> dict[str, str]:
    return {b.instance: b.status for b in results.cases[0].backends}


def finished_run(folder: Path) -> Path:
    """Measure a run that ends for lack of time after its two launches."""
    assert run.main([*OPTIONS, "--precision", "1e-9", "--budget", "0.01"]) == 0
    return folder / "out"


def test_more_time_is_given_to_a_run_that_ran_out_of_budget(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = finished_run(folder)
    launches = len({s.launch for s in load_results(out).cases[0].backends[0].samples})
    assert run.main(["--resume", "out"]) == 2
    assert "nothing is left to measure" in capsys.readouterr().err
    # One more launch fits; a second one does not, however fast the machine is.
    monkeypatch.setattr(CaseRun, "_coming_seconds", lambda case: 1.0 if case._made == launches else 1e9)
    assert run.main(["--resume", "out", "--more", "1000"]) == 0
    case = load_results(out).cases[0]
    assert len({s.launch for s in case.backends[0].samples}) > launches
    assert case.stopped.startswith("budget")
    assert [part.more_seconds for part in load_results(out).resumptions] == [1000.0]


def test_options_that_a_continued_run_cannot_change_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--resume", "out", "--seed", "1", "--suite", "quick", "--timeout", "60"]) == 2
    assert "--suite, --timeout, --seed: cannot be changed" in capsys.readouterr().err
    assert run.main(["--more", "3"]) == 2
    assert "--more: needs --resume DIR" in capsys.readouterr().err
    assert run.main(["--resume", "out"]) == 2
    assert "out: holds no journal.jsonl" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


Change = dict[str, Any]


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


def test_a_journal_without_ends_of_launches_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = stopped / JOURNAL
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"event": "launch_end"' not in line), encoding="utf-8")
    assert run.main(["--resume", "out"]) == 2
    assert "an older version of pyfnn wrote this journal" in capsys.readouterr().err


def test_the_journal_restores_plan_calibrations_and_finished_launches(stopped: Path) -> None:
    plan = continued(stopped)
    part = plan.so_far.open[0]
    assert part.launches == 1
    assert set(part.ends[0].arms) >= {"steady", "other"}
    assert {b.instance: len(b.samples) for b in part.case.backends}["steady"] == 2
    assert part.spent_seconds > 0


def test_a_continued_run_goes_on_with_its_slowed_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = enter_folder(tmp_path, monkeypatch) / "out"
    hurry(monkeypatch)
    options = [*TINY, "--backends", "numpy", "--sensitivity", "--out", "out"]
    with monkeypatch.context() as patch:
        stop_after(patch, launch=1, number=1)
        assert run.main(options) == 130
    copy = load_results(out).cases[0].planted
    assert copy is not None
    assert run.main(["--resume", "out"]) == 0
    events = [event for event in read_journal(out / JOURNAL) if isinstance(event, BackendEvent)]
    proofs = [event for event in events if event.instance == copy.instance and event.parity]
    assert len(proofs) == 1  # written for the first process of an arm alone
    (case,) = load_results(out).cases
    assert case.planted
    assert {(s.launch, s.round) for s in case.planted.samples} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize(("reason", "lost"), [(NOT_BEGUN, False), ("0 MiB are free", True)])
def test_a_backend_that_had_no_turn_yet_is_not_lost(reason: str, lost: bool, folder: Path, stopped: Path) -> None:
    part = continued(stopped).so_far.open[0]
    backends = [
        b.model_copy(update={"status": "not_run", "reason": reason, "samples": []}) if b.instance == "other" else b
        for b in part.case.backends
    ]
    (end,) = part.ends
    end = end.model_copy(update={"arms": {name: arm for name, arm in end.arms.items() if name != "other"}})
    before = replace(part, case=part.case.model_copy(update={"backends": backends}), ends=(end,))
    row = registry.find("other", [folder.parent / "backend.toml"])
    assert [arm.lost for arm in restored([Arm(row, "other")], before) if arm.first] == [lost]


def test_results_of_before_are_gone_as_soon_as_a_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of a run that is killed later has more than they had."""
    out, found = finished_run(folder), list[bool]()
    assert (out / RESULTS).exists()
    monkeypatch.setattr(stages, "measure", lambda *_: found.append((out / RESULTS).exists()))
    assert run.main(["--resume", "out", "--more", "1000"]) == 0
    assert found == [False]


def test_a_case_of_another_optimizer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = enter_folder(tmp_path, monkeypatch) / "out"
    hurry(monkeypatch)
    with monkeypatch.context() as patch:
        stop_after(patch, launch=1, number=1)
        assert run.main([*TINY, "--backends", "numpy", "--optimizer", "adam", "--out", "out"]) == 130
    assert run.main(["--resume", "out"]) == 0
    (case,) = load_results(out).cases
    assert case.operation.startswith("train with adam")
    assert {s.launch for s in case.backends[0].samples} == {0, 1}


def test_a_finished_case_that_is_another_one_here_is_refused_too(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suite has other cases, at other numbers, on a machine with other CPUs."""
    finished_run(folder)
    keys = cases_of
    monkeypatch.setattr(continuation, "cases_of", lambda *given: [replace(key, threads=2) for key in keys(*given)])
    assert run.main(["--resume", "out", "--more", "5", "--force"]) == 2
    assert "is not case 0 of its suite here, where CPUs may differ" in capsys.readouterr().err
