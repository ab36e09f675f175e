"""The progress of a run on the console: a bar on a terminal, plain lines elsewhere. Redrawn between turns only."""

import math
import time
from collections.abc import Callable
from statistics import fmean
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from bench.format import duration_text
from bench.terms import Status

_PLAIN_INTERVAL = 5.0  # seconds between plain lines


class ProgressDisplay:
    """Displays cases, turns, the time left and failures. A context manager.

    Parameters
    ----------
    console : rich.console.Console
    cases : int
        Number of cases in the run.
    clock : callable, optional
        Returns seconds.
    """

    def __init__(self, console: Console, cases: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._cases, self._done, self._clock = console, cases, 0, clock
        self._began, self._durations = 0.0, list[float]()  # of this case; of those before it, in seconds
        self._title = ""
        self._last_line = -math.inf
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=10, table_column=Column(min_width=10)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            TextColumn("[dim]{task.fields[text]}", table_column=Column(no_wrap=True, ratio=1)),
            console=console,
            expand=True,
            auto_refresh=False,  # so that no thread of the display runs while a sample is taken
            transient=True,
        )

    def __enter__(self) -> "ProgressDisplay":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, title: str) -> None:
        """Display the start of a case."""
        now = self._clock()
        if self._done:
            self._durations.append(now - self._began)
        self._began = now
        self._done += 1
        self._title = f"[{self._done}/{self._cases}] {title}"
        if self._console.is_terminal:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(escape(self._title), total=1.0, left="", text="computing the oracle")
            self._bar.refresh()
        else:
            self._print(self._title)

    def progress(self, text: str, share: float, left: float | None = None) -> None:
        """Display the share of the case's expected work that is done, and the time left of the run.

        Parameters
        ----------
        text : str
        share : float
        left : float, optional
            Seconds to the end of the case, where they are known.
        """
        of_run = self._left_of_run(left)
        rest = "" if of_run is None else f"about {duration_text(of_run)} left"
        if self._console.is_terminal and self._task is not None:
            self._bar.update(self._task, completed=min(1.0, share), left=rest, text=escape(text))
            self._bar.refresh()
        elif self._clock() - self._last_line >= _PLAIN_INTERVAL:
            self._print(f"  {rest}{'; ' if rest else ''}{text}")

    def _left_of_run(self, left: float | None) -> float | None:
        """Return the seconds to the end of the run: cases to come take as long as those so far on average."""
        spent = self._clock() - self._began
        known = [*self._durations, *([] if left is None else [spent + left])]
        if not known:
            return None
        this = max(0.0, fmean(known) - spent) if left is None else left
        return this + (self._cases - self._done) * fmean(known)

    def failed(self, instance: str, status: Status, reason: str) -> None:
        """Display that a backend failed, with the reason."""
        self._print(f"  {instance}: {status}: {reason}", style="red" if status != "unavailable" else "yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        self._last_line = self._clock()
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
