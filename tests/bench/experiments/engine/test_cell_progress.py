"""Claims about the progress of an experiment: the time left, failures, and a cluster without workers."""

from io import StringIO

import pytest
from rich.console import Console

from bench.experiments.engine.progress import CellProgress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("terminal", [False, True])
def test_the_time_left_follows_from_the_cells_so_far(terminal: bool) -> None:
    out, clock = StringIO(), Clock()
    with CellProgress(Console(file=out, force_terminal=terminal, width=120), 100, clock) as display:
        clock.now = 30.0
        display.advance(25, [], 2)
    assert "25 of 100 cells; about 90 s left" in out.getvalue()


def test_reasons_are_printed_for_five_failures_and_all_are_counted() -> None:
    out, clock = StringIO(), Clock()
    with CellProgress(Console(file=out, width=120), 100, clock) as display:
        display.advance(0, [f"reason {number}" for number in range(4)], 2)
        clock.now = 10.0
        display.advance(1, [f"reason {number}" for number in range(4, 8)], 2)
    lines = out.getvalue().splitlines()
    assert [line.strip() for line in lines[:5]] == [f"reason {number}" for number in range(5)]
    assert lines[5].startswith("9 of 100 cells, 8 failed")
    assert len(lines) == 6


def test_a_cluster_without_workers_is_waited_for_and_that_is_shown() -> None:
    out, clock = StringIO(), Clock()
    with CellProgress(Console(file=out, width=120), 10, clock) as display:
        clock.now = 10.0
        display.advance(0, [], 0)
    assert "no worker is there, waiting for one" in out.getvalue()
