"""Models that do their work at another time, in another process, or once for many calls. `KINDS` has them by name."""

import os
import signal
import threading
import time

import numpy as np

from planted.timed import TimedModel, host
from pyfnn.model import Operation
from pyfnn.validation import Array, Order

_MANY = 30  # passes: more than a call of a proof


class HelperProcess(TimedModel):
    """Train in a child process that uses CPUs that were not granted, and lives until the next training."""

    _child = 0

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        self._end_helper()
        read, write = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
            super()._steps(first, count, batch_size, learning_rate)
            with os.fdopen(write, "wb") as pipe:
                pipe.write(self._now.tobytes())
            signal.pause()
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            self._now = np.frombuffer(pipe.read(), self._now.dtype).copy()

    def _end_helper(self) -> None:
        if self._child:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)

    def _close(self) -> None:
        self._end_helper()


class BusyAfterReply(TimedModel):
    """Compute on after the reply to a training."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        seconds = super()._train(first, count, batch_size, learning_rate)
        threading.Thread(target=_spin, args=(0.3,), daemon=True).start()
        return seconds


def _spin(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class LatePasses(TimedModel):
    """Make the second half of many passes at the next command."""

    _left: tuple[Operation, int, int, int, Order] | None = None

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        now = repeats // 2 if repeats > _MANY else repeats
        if now < repeats:
            self._left = operation, first, count, repeats - now, np.roll(probes, -now)
        return super()._time(operation, first, count, now, probes)

    def _theta(self) -> Array:
        if self._left:
            left, self._left = self._left, None
            super()._time(*left)
        return super()._theta()


class RowTable(TimedModel):
    """Compute the outputs of all rows once, and look up those of each pass."""

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        if operation != "forward" or repeats <= _MANY:
            return super()._time(operation, first, count, repeats, probes)
        begin = time.perf_counter()
        blocks = (self._x[at : at + count] for at in range(0, len(self._x), count))
        outputs = np.concatenate([self._pass(block)[1][-1] for block in blocks])
        number, m_L = np.arange(repeats), outputs.shape[1]
        probe = probes[number % len(probes)]
        start = (first + number * count) % (len(self._x) - count + 1)
        checksum = float(outputs[start + probe // m_L, probe % m_L].astype(np.float64).sum())
        return time.perf_counter() - begin, checksum


class CachedPasses(TimedModel):
    """Remember the checksum of each call, and answer the same call from memory."""

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        begin = time.perf_counter()
        call = self._now.tobytes(), operation, first, count, repeats, probes.tobytes()
        known = self.__dict__.setdefault("_known", {})
        if call not in known:
            known[call] = super()._time(operation, first, count, repeats, probes)[1]
        return time.perf_counter() - begin, known[call]


KINDS: dict[str, type[TimedModel]] = {
    cls.__name__: cls for cls in (HelperProcess, BusyAfterReply, LatePasses, RowTable, CachedPasses)
}
globals().update({f"{name}Backend": host(kind) for name, kind in KINDS.items()})
