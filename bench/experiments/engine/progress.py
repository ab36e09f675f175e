"""The progress of an experiment on the console: a bar on a terminal, lines elsewhere, with the time left."""

import math
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from bench.format import duration_text

_PLAIN_INTERVAL = 5.0  # seconds between plain lines
_SHOWN = 5  # reasons of failures that are printed; all are in the results


class CellProgress:
    """Displays the number of cells, of those that failed, and the time left. A context manager.

    Parameters
    ----------
    console : rich.console.Console
    total : int
        Number of cells to compute.
    clock : callable, optional
        Returns seconds.
    """

    def __init__(self, console: Console, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._total, self._clock = console, total, clock
        self._begun = self._last_line = clock()
        self.done = self.failed = 0
        self._bar = Progress(
            BarColumn(bar_width=30),
            TextColumn("{task.description}"),
            console=console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._bar.add_task(self._text(1), total=total)

    def __enter__(self) -> "CellProgress":
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def advance(self, finished: int, reasons: list[str], workers: int) -> None:
        """Display that cells have ended.

        Parameters
        ----------
        finished : int
            Number of cells with values.
        reasons : list of str
            One for each cell that failed.
        workers : int
            Number of workers that are there.
        """
        for reason in reasons[: max(0, _SHOWN - self.failed)]:
            self._print(f"  {reason}", style="red")
        self.done += finished
        self.failed += len(reasons)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self.done + self.failed, description=self._text(workers))
            self._bar.refresh()
        elif self._clock() - self._last_line >= _PLAIN_INTERVAL:
            self._print(self._text(workers))
            self._last_line = self._clock()

    def _text(self, workers: int) -> str:
        ended = self.done + self.failed
        text = f"{ended} of {self._total} cells"
        if self.failed:
            text += f", {self.failed} failed"
        if not workers:
            return f"{text}; no worker is there, waiting for one"
        left = self._left()
        return text if math.isinf(left) else f"{text}; about {duration_text(left)} left"

    def _left(self) -> float:
        """Return the seconds to the end where the cells to come take as long as those so far on average."""
        ended = self.done + self.failed
        return (self._clock() - self._begun) * (self._total - ended) / ended if ended else math.inf

    def _print(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
