"""The progress of a run on the console: a bar on a terminal, plain lines elsewhere. Redrawn between turns only."""

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench.terms import Status

_PLAIN_INTERVAL = 5.0  # seconds between plain lines


class ProgressDisplay:
    """Displays cases, turns and failures. A context manager.

    Parameters
    ----------
    console : rich.console.Console
    cases : int
        Number of cases in the run.
    """

    def __init__(self, console: Console, cases: int) -> None:
        self._console, self._cases, self._done = console, cases, 0
        self._title = ""
        self._last_line = -_PLAIN_INTERVAL
        self._task: TaskID | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[text]}"),
            console=console,
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
        self._done += 1
        self._title = f"[{self._done}/{self._cases}] {title}"
        if self._console.is_terminal:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(escape(self._title), total=1.0, text="computing the oracle")
            self._bar.refresh()
        else:
            self._print(self._title)

    def progress(self, text: str, share: float) -> None:
        """Display the share of the case's least work that is done."""
        if self._console.is_terminal and self._task is not None:
            self._bar.update(self._task, completed=min(1.0, share), text=escape(text))
            self._bar.refresh()
        elif time.monotonic() - self._last_line >= _PLAIN_INTERVAL:
            self._print(f"  {text}")

    def verdict(self, instance: str, status: Status, reason: str) -> None:
        """Display that a backend failed, with the reason."""
        self._print(f"  {instance}: {status}: {reason}", style="red" if status != "unavailable" else "yellow")

    def _print(self, text: str, style: str | None = None) -> None:
        self._last_line = time.monotonic()
        self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
