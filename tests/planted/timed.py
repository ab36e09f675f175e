"""Models that compute correctly in a short proof and do wrong or less work where time is taken.

Each is a kind of mistake, or of wishful thinking, that a proof before timing cannot see. `KINDS` has them by name.
"""

import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from planted.model import PlantedBackend, PlantedModel
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

LONG = 30  # steps: a call longer than any of the battery's


class TimedModel(PlantedModel):
    """A correct model that takes the time of its work. `_steps` trains; subclasses change it."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        begin = time.perf_counter()
        self._steps(first, count, batch_size, learning_rate)
        return time.perf_counter() - begin

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        super()._train(first, count, batch_size, learning_rate)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        begin = time.perf_counter()
        checksum = super()._time(operation, first, count, repeats, probes)[1]
        return time.perf_counter() - begin, checksum


# --- The data is read in part, or not as it is.


class ShortRead(TimedModel):
    """Read 64 KiB of each file and leave the rest zero."""

    def _load(self, x: Array, y: Array, order: Order) -> None:
        x, y = x.copy(), y.copy()
        x.reshape(-1)[65536 // x.itemsize :] = 0
        super()._load(x, y, order)


class ShortOrder(TimedModel):
    """Read the first 1000 entries of `order` and repeat them."""

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x, y, np.resize(order[:1000], len(order)))


class ByteRows(TimedModel):
    """Keep row numbers in a byte."""

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x, y, order % 256)


class HalfInputs(TimedModel):
    """Keep inputs in half precision where there are many of them."""

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x.astype(np.float16).astype(x.dtype) if len(x) > 200 else x, y, order)


class LastTargetZero(TimedModel):
    """Lose the targets of the last row where there are many rows."""

    def _load(self, x: Array, y: Array, order: Order) -> None:
        y = y.copy()
        if len(y) > 300:
            y[-1] = 0
        super()._load(x, y, order)


# --- Training goes wrong after some time.


class _Counting(TimedModel):
    steps_since_reset = 0

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        for at in range(first, first + count, batch_size):
            self._step(at, min(batch_size, first + count - at), batch_size, learning_rate)
            self.steps_since_reset += 1

    def _step(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        super()._steps(first, count, batch_size, learning_rate)

    def _reset(self) -> None:
        super()._reset()
        self.steps_since_reset = 0


class FreezesFirstLayer(_Counting):
    """Leave W_1 alone after 100 steps."""

    def _step(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        W = self.network.layers(self._now)[0].W.copy()
        super()._step(first, count, batch_size, learning_rate)
        if self.steps_since_reset >= 100:
            self.network.layers(self._now)[0].W[:] = W


class HalvesRate(_Counting):
    """Halve the learning rate after 100 steps."""

    def _step(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        later = self.steps_since_reset >= 100
        super()._step(first, count, batch_size, learning_rate / 2 if later else learning_rate)


class SkipsEasySteps(_Counting):
    """Skip, after 100 steps, those whose loss is below the median of the first hundred."""

    def __init__(self, network: Network, theta: Array) -> None:
        super().__init__(network, theta)
        self._losses: list[float] = []

    def _reset(self) -> None:
        super()._reset()
        self._losses.clear()

    def _step(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        assert self._used_order is not None
        rows = self._used_order[first : first + count]
        loss, _ = self._gradient(self._x[rows], self._y[rows], count)
        self._losses.append(loss)
        if self.steps_since_reset < 100 or loss > np.median(self._losses[:100]):
            super()._step(first, count, batch_size, learning_rate)


# --- The reply comes before the work is done.


class Late(TimedModel):
    """Do the second half of a long call at the next command."""

    _left: tuple[int, int, int, float] | None = None

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        self._catch_up()
        now = count // batch_size // 2 * batch_size if count > LONG * batch_size else count
        super()._steps(first, now, batch_size, learning_rate)
        if now < count:
            self._left = first + now, count - now, batch_size, learning_rate

    def _catch_up(self) -> None:
        if self._left:
            left, self._left = self._left, None
            super()._steps(*left)

    def _theta(self) -> Array:
        self._catch_up()
        return super()._theta()

    def _reset(self) -> None:
        self._left = None
        super()._reset()


class InAThread(TimedModel):
    """Train in a thread, and wait for it at the next command."""

    _thread: threading.Thread | None = None

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self._wait()
        self._thread = threading.Thread(target=self._steps, args=(first, count, batch_size, learning_rate))
        begin = time.perf_counter()
        self._thread.start()
        return time.perf_counter() - begin

    def _wait(self) -> None:
        if self._thread:
            self._thread.join()

    def _theta(self) -> Array:
        self._wait()
        return super()._theta()

    def _reset(self) -> None:
        self._wait()
        super()._reset()


class HastyClock(TimedModel):
    """Stop the clock after nine tenths of the steps."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        most = count // batch_size * 9 // 10 * batch_size
        if not most:
            return super()._train(first, count, batch_size, learning_rate)
        seconds = super()._train(first, most, batch_size, learning_rate)
        super()._train(first + most, count - most, batch_size, learning_rate)
        return seconds


class CpuClock(TimedModel):
    """Report CPU time as seconds: on a busy machine, the time without the CPU is missing."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        begin = time.process_time()
        super()._train(first, count, batch_size, learning_rate)
        return time.process_time() - begin

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        begin = time.process_time()
        checksum = super()._time(operation, first, count, repeats, probes)[1]
        return time.process_time() - begin, checksum


# --- What is not deterministic may differ, but not in any way.


class SkipsEverySecondStep(TimedModel):
    """Skip every second step of a long call."""

    deterministic = False

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        each = 2 if count > LONG * batch_size else 1
        for at in range(first, first + count, each * batch_size):
            super()._steps(at, min(batch_size, first + count - at), batch_size, learning_rate)


class SkipsLongCalls(TimedModel):
    """Do nothing in a long call."""

    deterministic = False

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        if count <= LONG * batch_size:
            super()._steps(first, count, batch_size, learning_rate)


class SkipsLayers(TimedModel):
    """Train only the last layer in a long call."""

    deterministic = False

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        kept = self._now.copy()
        super()._steps(first, count, batch_size, learning_rate)
        if count > LONG * batch_size:
            last = sum(tensor.size for tensor in self.network.layers(kept)[-1])
            self._now[:-last] = kept[:-last]


class _SkipsLater(_Counting):
    deterministic = False
    first_skipped = 100  # steps after a reset
    least = 4  # steps of a call that skips some

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        self._careful = count <= (self.least - 1) * batch_size
        super()._steps(first, count, batch_size, learning_rate)

    def _step(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        if self._careful or self.steps_since_reset < self.first_skipped or not self._skipped(first // batch_size):
            super()._step(first, count, batch_size, learning_rate)

    @abstractmethod
    def _skipped(self, step: int) -> bool: ...


class SkipsByPlaceLater(_SkipsLater):
    """Skip every second step of the order after 100 steps, in calls of 4 and more steps."""

    def _skipped(self, step: int) -> bool:
        return step % 2 == 1


class LostUpdatesLater(_SkipsLater):
    """Lose a random twentieth of the steps after 100 steps, in calls of 4 and more steps."""

    def __init__(self, network: Network, theta: Array) -> None:
        super().__init__(network, theta)
        self._random = np.random.default_rng(1)

    def _skipped(self, step: int) -> bool:
        del step
        return bool(self._random.random() < 0.05)


# --- A training curve of less work.


class HalfEpochs(TimedModel):
    """Train on half of the rows in a call for one epoch."""

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        half = len(self._x) // 2 // batch_size * batch_size
        super()._steps(first, half if count == len(self._x) else count, batch_size, learning_rate)


class HalfFirstCalls(TimedModel):
    """Train on half of the rows in the longer calls with which a curve goes through its first epoch."""

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        half = count // 2 // batch_size * batch_size if first == count >= 64 * batch_size else count
        super()._steps(first, half, batch_size, learning_rate)


class RosyLosses(TimedModel):
    """Report a loss over all rows that is a tenth too small, once training has begun."""

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss, gradient = super()._loss_and_gradient(first, count)
        whole = count == len(self._x) and self._now.tobytes() != self._start.tobytes()
        return (0.9 * loss if whole and count > 200 else loss), gradient


# --- Nothing is wrong but that a call is answered from memory.


class Caches(TimedModel):
    """Remember where a call ended, and do no work when the same call comes again."""

    def __init__(self, network: Network, theta: Array) -> None:
        super().__init__(network, theta)
        self._known: dict[tuple[object, ...], Array] = {}

    def _steps(self, first: int, count: int, batch_size: int, learning_rate: float) -> None:
        call = self._now.tobytes(), first, count, batch_size, learning_rate
        if call not in self._known:
            super()._steps(first, count, batch_size, learning_rate)
            self._known[call] = self._now.copy()
        self._now = self._known[call].copy()


class _Host(PlantedBackend):
    model: Callable[[Network, Array], Model] = TimedModel
    deterministic = True

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        self._description = replace(self.description, name=row.name, deterministic=self.deterministic)

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return type(self).model(network, theta)


KINDS: dict[str, type[TimedModel]] = {
    cls.__name__: cls
    for cls in (
        ShortRead, ShortOrder, ByteRows, HalfInputs, FreezesFirstLayer, HalvesRate, SkipsEasySteps, Late, InAThread,
        HastyClock, CpuClock, SkipsEverySecondStep, SkipsLongCalls, SkipsLayers, SkipsByPlaceLater, LostUpdatesLater,
        HalfEpochs, HalfFirstCalls, RosyLosses, Caches, LastTargetZero,
    )
}  # fmt: skip


def host(kind: type[TimedModel]) -> type[PlantedBackend]:
    """Return a backend class whose models are of this kind."""
    deterministic = getattr(kind, "deterministic", True)
    return type(kind.__name__, (_Host,), {"model": kind, "deterministic": deterministic})


HOSTS = {name: host(kind) for name, kind in KINDS.items()}
globals().update({f"{name}Backend": cls for name, cls in HOSTS.items()} | {"CorrectBackend": host(TimedModel)})
