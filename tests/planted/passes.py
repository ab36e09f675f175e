"""Models whose timed passes are wrong in long calls alone, or cost less there. `KINDS` has them by name."""

import time

import numpy as np

from planted.timed import LONG, TimedModel, host
from pyfnn.model import Operation
from pyfnn.validation import Array, Order


class _OddPasses(TimedModel):
    """Passes one by one. `_entries` computes the outputs, or the gradient and its loss; subclasses change it."""

    least = LONG  # passes of a call from which on it is odd

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        if repeats < self.least:
            return super()._time(operation, first, count, repeats, probes)
        self._repeats, self._kept = repeats, dict[int, tuple[float, Array]]()
        begin, checksum = time.perf_counter(), 0.0
        for repeat in range(repeats):
            start = (first + repeat * count) % (len(self._x) - count + 1)
            loss, entries = self._entries(operation, start, count, repeat)
            checksum += loss + float(entries.flat[probes[repeat % len(probes)]])
        return time.perf_counter() - begin, checksum

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        del repeat
        x, y = self._rows(start, count)
        return (0.0, self._pass(x)[1][-1]) if operation == "forward" else self._gradient(x, y, count)


class FewerRowsInLongCalls(_OddPasses):
    """Compute every second row of a pass in calls of many passes."""

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        del repeat
        return self._of_rows(operation, start, count, slice(None, None, 2))

    def _of_rows(self, operation: Operation, start: int, count: int, rows: slice) -> tuple[float, Array]:
        """Compute some rows of a pass; outputs of the others are 0."""
        x, y = self._rows(start, count)
        if operation == "gradient":
            return self._gradient(x[rows], y[rows], count)
        Y = np.zeros((count, self.network.sizes[-1]), x.dtype)
        Y[rows] = self._pass(x[rows])[1][-1]
        return 0.0, Y


class LastRowMissingInLongCalls(FewerRowsInLongCalls):
    """Leave out the last row of each pass in calls of many passes."""

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        del repeat
        return self._of_rows(operation, start, count, slice(-1))


class ChunkedGraph(FewerRowsInLongCalls):
    """Compute passes in chunks of 64 that leave out the last row, and what is left of the passes correctly."""

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        chunked = repeat < self._repeats // 64 * 64
        return self._of_rows(operation, start, count, slice(-1) if chunked else slice(None))


class NoGradientInLongCalls(_OddPasses):
    """Compute the loss alone in calls of many passes."""

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        if operation == "forward":
            return super()._entries(operation, start, count, repeat)
        Z, A = self._pass(self._x[start : start + count])
        return self._loss(Z[-1], A[-1], self._y[start : start + count]), np.zeros_like(self._now)


class MissingDWInLongCalls(_OddPasses):
    """Leave out dW_1 in calls of many passes."""

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        loss, entries = super()._entries(operation, start, count, repeat)
        if operation == "gradient":
            self.network.layers(entries)[0].W[:] = 0
        return loss, entries


class CachedThird(_OddPasses):
    """Keep, within a call, the results of a third of the places where passes start. A computed pass claims 1 ms."""

    least = 1

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        self._computed = 0
        checksum = super()._time(operation, first, count, repeats, probes)[1]
        self.cpu_seconds = 1e-3 * self._computed
        return self.cpu_seconds, checksum

    def _entries(self, operation: Operation, start: int, count: int, repeat: int) -> tuple[float, Array]:
        if start not in self._kept:
            self._computed += 1
            result = super()._entries(operation, start, count, repeat)
            if start % 3:
                return result
            self._kept[start] = result
        return self._kept[start]


class SlowCalls(TimedModel):
    """Take 60 µs more in each call of passes, as a dispatch does; nothing is wrong."""

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        begin = time.perf_counter()
        while time.perf_counter() - begin < 60e-6:
            pass
        _, checksum = super()._time(operation, first, count, repeats, probes)
        return time.perf_counter() - begin, checksum


KINDS: dict[str, type[TimedModel]] = {
    cls.__name__: cls
    for cls in (
        FewerRowsInLongCalls, LastRowMissingInLongCalls, ChunkedGraph, NoGradientInLongCalls, MissingDWInLongCalls,
        CachedThird, SlowCalls,
    )
}  # fmt: skip
globals().update({f"{name}Backend": host(kind) for name, kind in KINDS.items()})
