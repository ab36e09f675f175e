"""Claims about the progress display: the time left, from the case that runs and from those before it."""

import io
import re

import pytest
from rich.console import Console

from bench.progress import ProgressDisplay


class Shown:
    """A display of three cases whose clock shows `now`, and what it printed last."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.now = 0.0
        self._display = ProgressDisplay(Console(width=200), 3, lambda: self.now)

    def begin(self, now: float) -> None:
        self.now = now
        self._display.begin("a case")
        self._capsys.readouterr()

    def line(self, now: float, left: float | None) -> str:
        self.now = now
        self._display.progress("launch 2", 0.5, left)
        return self._capsys.readouterr().out.strip()


def test_nothing_is_shown_of_the_time_left_before_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capsys)
    shown.begin(0.0)
    assert shown.line(10.0, None) == "launch 2"


def test_cases_to_come_are_expected_to_take_as_long_as_those_so_far(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown(capsys)
    shown.begin(0.0)
    assert shown.line(10.0, 30.0) == "about 110 s left; launch 2"  # 30 + 2 × 40
    shown.begin(50.0)
    assert shown.line(60.0, None) == "about 90 s left; launch 2"  # 40 + 50
    assert shown.line(70.0, 20.0) == "about 65 s left; launch 2"  # 20 + (50 + 40) / 2


def test_a_case_that_takes_longer_than_those_before_it_has_no_time_below_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Shown(capsys)
    for start in (0.0, 10.0, 20.0):
        shown.begin(start)
    assert shown.line(90.0, None) == "about 0 s left; launch 2"


def test_a_terminal_of_eighty_columns_shows_the_whole_title_and_the_whole_time_left() -> None:
    now, file = [0.0], io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None)
    with ProgressDisplay(console, 12, lambda: now[0]) as display:
        display.begin("wine-batch · gradient · float32 · 1 thread")
        now[0] = 10.0
        display.progress("launch 2, round 15: c, cpp, cpp-tuned, numpy, numpy@2", 0.5, 1000.0)
    last = [line for line in re.split(r"\r|\n|\x1b\[[0-9;?]*[A-Za-z]", file.getvalue()) if "left" in line][-1]
    assert "[1/12] wine-batch · gradient · float32 · 1 thread" in last
    assert "about 3.4 h left" in last
    assert len(last.rstrip()) <= 80
