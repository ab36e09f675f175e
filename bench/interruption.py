"""The signals that end a run early: SIGINT (Ctrl-C), SIGTERM and SIGHUP. The results that are there are written.

The first signal raises an exception where the run is. Signals after it wait until processes are ended and results.json
is written, because an exception in the middle of that would leave processes behind; the third one ends the run at once.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

INTERRUPTED = 128 + signal.SIGINT  # exit status after Ctrl-C
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_AT_ONCE = 3  # signals


class Interrupted(KeyboardInterrupt):
    """The arrival of a signal; `status` is the exit status of a run that it ends, 128 and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class Interruptions:
    """The signals of a run. A context manager, during which they raise `Interrupted`.

    Signals that the parent made this process ignore, as nohup does, stay ignored. Outside of the main thread, which
    alone receives signals, nothing changes.
    """

    def __init__(self) -> None:
        self._count = 0
        self._waits = False
        self._waiting: int | None = None  # the last signal that waits
        self._before: dict[int, Callable[..., Any] | int | None] = {}

    def wait(self) -> None:
        """Let signals wait until `resume`."""
        self._waits = True

    def resume(self) -> None:
        """Let the next signal raise again, and one that waits at once: nothing is being ended or written any more."""
        self._waits = False
        if self._waiting is not None:
            self._raise(self._waiting)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._count += 1
        if self._waits and self._count < _AT_ONCE:
            self._waiting = number
        else:
            self._raise(number)

    def _raise(self, number: int) -> None:
        self._waits, self._waiting = True, None
        raise Interrupted(number)

    def __enter__(self) -> "Interruptions":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def status_of(error: KeyboardInterrupt) -> int:
    """Return the exit status of a run that this exception ended."""
    return error.status if isinstance(error, Interrupted) else INTERRUPTED
