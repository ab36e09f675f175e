"""A worker that keeps the contract except for one fault: faulty.py FAULT NAME WORKDIR.

It hosts NumPy, or a backend with one of the bugs of planted.model; tests/ must be on PYTHONPATH.
`python -m bench.check` must find every fault.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from planted.kinds import KINDS
from planted.model import BUGS, PlantedBackend
from planted.timed import host

from pyfnn import load_backend
from pyfnn.backend import Backend
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row
from pyfnn.model import Operation
from pyfnn.process import protocol
from pyfnn.process.protocol import Setup
from pyfnn.validation import Array, Order
from pyfnn.worker import Fields, Held, Host


class Faulty(Host):
    """A host without a fault."""

    def __init__(self, backend: Backend, workdir: Path, name: str) -> None:
        super().__init__(backend, workdir)
        self.name = name

    def _hello(self) -> Fields:
        return {**super()._hello(), "name": self.name}


class WrongName(Faulty):
    def _hello(self) -> Fields:
        return {**super()._hello(), "name": "another"}


class NamesWithParameters(Faulty):
    def _hello(self) -> Fields:
        return {**super()._hello(), "activations": "identity, tanh"}


class DiesOnUnknown(Faulty):
    def answer(self, line: str) -> str:
        if line.split()[0] not in protocol.COMMANDS:
            os._exit(1)
        return super().answer(line)


class HangsOnUnknown(Faulty):
    def answer(self, line: str) -> str:
        if line.split()[0] not in protocol.COMMANDS:
            time.sleep(60)
        return super().answer(line)


class Rubbish(Faulty):
    def answer(self, line: str) -> str:
        return "loss 0.3\n" if line.startswith("gradient") else super().answer(line)


class Prints(Faulty):
    def answer(self, line: str) -> str:
        return super().answer(line) + "that went well\n"


class Mute(Faulty):
    """Replies with errors that have no message."""

    def answer(self, line: str) -> str:
        reply = super().answer(line)
        return "error\n" if reply.startswith("error") else reply


class Unencoded(Faulty):
    def answer(self, line: str) -> str:
        return super().answer(line).replace("%25", "%")


class TakesAnyWords(Faulty):
    """Accepts words that are not numbers, or too many words."""

    def answer(self, line: str) -> str:
        words = line.split()
        usual = {"forward": "forward 0 1", "gradient": "gradient 0 1", "train": "train 0 8 4 0.01"}
        usual["time"] = "time forward 0 1 1 1"
        reply = super().answer(line)
        return super().answer(usual[words[0]]) if reply.startswith("error") and words[0] in usual else reply


class ReadsShortFiles(Faulty):
    """Reads missing values as 0."""

    def _read(self, name: str, shape: tuple[int, ...], dtype: str) -> Array:
        try:
            return super()._read(name, shape, dtype)
        except PyfnnError:
            return np.zeros(shape, dtype)


class TakesAnyOrder(Faulty):
    def _read(self, name: str, shape: tuple[int, ...], dtype: str) -> Array:
        array = super()._read(name, shape, dtype)
        return array % 40 if name == protocol.ORDER else array


class NoKind(Faulty):
    """Lacks a function, and reports that as an ordinary error."""

    def answer(self, line: str) -> str:
        if line.strip() == "init" and "softplus" in (self._workdir / protocol.NETWORK).read_text():
            return "error\tmessage=no activation 'softplus'\n"
        return super().answer(line).replace(",softplus", "")


class ClaimsTooMuch(Faulty):
    """Lists a function in hello that it refuses."""

    def answer(self, line: str) -> str:
        if line.strip() == "init" and "relu" in (self._workdir / protocol.NETWORK).read_text():
            return "error\tkind=unsupported\tmessage=no activation 'relu'\n"
        return super().answer(line)


class RefusesToTime(Faulty):
    def answer(self, line: str) -> str:
        if line.startswith("time gradient"):
            return "error\tkind=unsupported\tmessage=no such thing\n"
        return super().answer(line)


class ReadsAgain(Faulty):
    """Reads x.bin at each forward."""

    def _forward(self, first: int, count: int) -> Fields:
        x = np.fromfile(self._workdir / protocol.X, self._live.network.dtype)
        outputs = self._live.forward(first, count)
        protocol.write_array(self._workdir / protocol.OUTPUTS, outputs if x.size else 0 * outputs)
        return {}


class RepliesEarly(Faulty):
    """Replies to train after half of the steps, and makes the others at the next command."""

    left: tuple[int, int, int, float] | None = None

    def answer(self, line: str) -> str:
        if self.left:
            left, self.left = self.left, None
            super()._train(*left)
        return super().answer(line)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> Fields:
        now = count // batch_size // 2 * batch_size or count
        if now < count:
            self.left = first + now, count - now, batch_size, learning_rate
        return super()._train(first, now, batch_size, learning_rate)


class RepliesFromAThread(Faulty):
    """Replies to train at once; a thread does the work, and the next command waits for it."""

    thread: threading.Thread | None = None

    def answer(self, line: str) -> str:
        if self.thread:
            self.thread.join()
        return super().answer(line)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> Fields:
        self.thread = threading.Thread(target=super()._train, args=(first, count, batch_size, learning_rate))
        begin = time.perf_counter()
        self.thread.start()
        return {"seconds": time.perf_counter() - begin}


class Prepares(Faulty):
    """Gathers all minibatches when it loads the data."""

    def _hold(self, held: Held, setup: Setup, order: Order) -> Fields:
        reply = super()._hold(held, setup, order)
        network = setup.network
        x = self._read(protocol.X, (setup.rows, network.sizes[0]), network.dtype)
        self.minibatches = x[order]
        return reply


class Leaks(Faulty):
    kept: list[Array]

    def _gradient(self, first: int, count: int) -> Fields:
        self.kept = [*getattr(self, "kept", []), np.ones(1 << 16)]
        return super()._gradient(first, count)


class StaleOrder(Faulty):
    """Uses the order of the previous init if it has the same length."""

    before: Order = np.zeros(0, np.int64)

    def _hold(self, held: Held, setup: Setup, order: Order) -> Fields:
        self.before, walked = order, self.before if self.before.shape == order.shape else order
        return super()._hold(held, setup, walked)


class KeepsTheta(Faulty):
    """Keeps the theta of the first init in every later one."""

    def _read(self, name: str, shape: tuple[int, ...], dtype: str) -> Array:
        if name == protocol.THETA and self._held is not None and self._live.network.n_parameters == shape[0]:
            return self._live.theta()
        return super()._read(name, shape, dtype)


class _Clock(Faulty):
    """Reports other seconds than it took."""

    def reported(self, seconds: float) -> float:
        return seconds

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> Fields:
        fields = super()._train(first, count, batch_size, learning_rate)
        return {**fields, "seconds": self.reported(float(str(fields["seconds"])))}

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: int) -> Fields:
        fields = super()._time(operation, first, count, repeats, probes)
        return {**fields, "seconds": self.reported(float(str(fields["seconds"])))}


class Understates(_Clock):
    def reported(self, seconds: float) -> float:
        return seconds / 10


class Overstates(_Clock):
    def reported(self, seconds: float) -> float:
        return 2 * seconds


class Instant(_Clock):
    def reported(self, seconds: float) -> float:
        return 1e-9 * seconds


class Milliseconds(_Clock):
    def reported(self, seconds: float) -> float:
        return round(seconds, 3)


class Hoists(Faulty):
    """Claims the same time for any number of repeats."""

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: int) -> Fields:
        entries = self._read(protocol.PROBES, (probes,), "int64")
        self._live.time(operation, first, count, min(repeats, 1), entries)
        return {"seconds": 0.1, "checksum": self._live.checksum}


class TakesAnyProbes(Faulty):
    """Wraps probes that lie out of range."""

    def _read(self, name: str, shape: tuple[int, ...], dtype: str) -> Array:
        array = super()._read(name, shape, dtype)
        return array % 3 if name == protocol.PROBES else array


class ReadsSomeProbes(Faulty):
    """Accepts a probes.bin of any length."""

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: int) -> Fields:
        del probes
        kept = np.fromfile(self._workdir / protocol.PROBES, np.int64)
        return super()._time(operation, first, count, repeats, len(kept))


class IgnoresProbes(Faulty):
    """Adds the first entry of each pass to the checksum."""

    def _read(self, name: str, shape: tuple[int, ...], dtype: str) -> Array:
        array = super()._read(name, shape, dtype)
        return 0 * array if name == protocol.PROBES else array


class FewDigits(Faulty):
    def _gradient(self, first: int, count: int) -> Fields:
        return {"loss": f"{float(str(super()._gradient(first, count)['loss'])):.6g}"}


class SeedsByThePid(Faulty):
    """Returns last bits that differ between processes."""

    def _theta(self) -> Fields:
        reply = super()._theta()
        path = self._workdir / protocol.THETA_OUT
        theta = np.fromfile(path, self._live.network.dtype)
        own = 1 + os.getpid() % 1009 * np.finfo(theta.dtype).eps
        protocol.write_array(path, theta * theta.dtype.type(own) if self.moved else theta)
        return reply

    moved = False

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> Fields:
        self.moved = True
        return super()._train(first, count, batch_size, learning_rate)

    def _reset(self) -> Fields:
        self.moved = False
        return super()._reset()


FAULTS: dict[str, type[Faulty]] = {cls.__name__: cls for cls in Faulty.__subclasses__() + _Clock.__subclasses__()}
PLAIN = {"none": Faulty, "Quits3": Faulty, "EndsWith3": Faulty, "DiesOfBlank": Faulty}


def _serve(fault: str, answer: Callable[[str], str]) -> int:
    for line in sys.stdin:
        if line.strip() == "quit":
            print("ok", flush=True)
            return 3 if fault == "Quits3" else 0
        if line.strip():
            sys.stdout.write(answer(line))
            sys.stdout.flush()
        elif fault == "DiesOfBlank":
            return 1
    return 3 if fault == "EndsWith3" else 0


def _backend(fault: str, name: str) -> Backend:
    if fault in KINDS:
        make: Callable[[Row], Backend] = host(KINDS[fault])
        return make(Row(name=name, language="Python", division="plain", run=name))
    return PlantedBackend(fault) if fault in BUGS else load_backend("numpy")


def main(fault: str, name: str, folder: str) -> int:
    """Reply to commands until `quit`."""
    backend = _backend(fault, name)
    worker = FAULTS.get(fault) or PLAIN.get(fault, Faulty)
    with contextlib.suppress(BrokenPipeError):
        return _serve(fault, worker(backend, Path(folder), name).answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
