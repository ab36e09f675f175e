"""The progress bar of a training, drawn by rich, which is imported when a bar is asked for."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from pyfnn.errors import PyfnnError
from pyfnn.training.history import Callback, Epoch


@contextmanager
def progress_bar(epochs: int, done: int = 0) -> Iterator[tuple[Callback, ...]]:
    """Show a bar; give the callback that advances it, with the losses of the last epoch beside it.

    Raises
    ------
    PyfnnError
        rich is not installed.
    """
    try:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        raise PyfnnError("progress = True: rich is not installed (pip install rich)") from None
    text = TextColumn("{task.description}")
    with Progress(MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(), text) as bar:
        task = bar.add_task("", total=epochs, completed=done)

        def advance(epoch: Epoch) -> None:
            validation = "" if math.isnan(epoch.validation_loss) else f", validation {epoch.validation_loss:.4g}"
            bar.update(task, completed=epoch.number, description=f"loss {epoch.loss:.4g}{validation}")

        yield (advance,)
