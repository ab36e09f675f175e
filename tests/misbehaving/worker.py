"""A correct worker in plain Python that misbehaves when asked to: worker.py DEED COMMAND NUMBER WORKDIR.

It does DEED, a method of Deeds, at its NUMBER-th COMMAND and at each one after that. Standard library only, so that
it starts at once; it computes tanh networks with a squared error, in double.
"""

import ctypes
import math
import os
import shutil
import signal
import sys
import threading
import time
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

Row = list[float]


def _dot(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


class Network:
    """theta, x, y, order as `init` found them; Z, A, delta and gradient of one row at a time."""

    def __init__(self, folder: Path) -> None:
        lines = dict(
            line.split(maxsplit=1) for line in (folder / "network.txt").read_text().splitlines() if " " in line
        )
        self.sizes = [int(size) for size in lines["sizes"].split()]
        self.l2, self.rows = float(lines["l2"]), int(lines["rows"])
        self.code = {"float32": "f", "float64": "d"}[lines["dtype"]]
        self.start = self._read(folder / "theta.bin", self.code)
        self.theta = list(self.start)
        self.x, self.y = (self._read(folder / f"{name}.bin", self.code) for name in "xy")
        self.order = self._read(folder / "order.bin", "q")

    def _read(self, path: Path, code: str) -> Row:
        return list(array(code, path.read_bytes()))

    def forward(self, n: int) -> list[Row]:
        """A_0 .. A_L of row n."""
        m_0, at = self.sizes[0], 0
        A = [self.x[n * m_0 : (n + 1) * m_0]]
        for layer, (m_in, m) in enumerate(pairwise(self.sizes), 1):
            b = at + m_in * m
            columns = (self.theta[at + j : b : m] for j in range(m))
            Z = [_dot(A[-1], column) + self.theta[b + j] for j, column in enumerate(columns)]
            A.append(Z if layer == len(self.sizes) - 1 else [math.tanh(z) for z in Z])
            at = b + m
        return A

    def gradient(self, rows: list[int]) -> tuple[float, Row]:
        """R over these rows, and dR/dtheta."""
        loss, gradient = 0.0, [0.0] * len(self.theta)
        for n in rows:
            loss += self._add_gradient(n, len(rows), gradient) / len(rows)
        at = 0
        for m_in, m in pairwise(self.sizes):
            for i in range(at, at + m_in * m):
                gradient[i] += self.l2 * self.theta[i]
                loss += self.l2 / 2 * self.theta[i] ** 2
            at += m_in * m + m
        return loss, gradient

    def _add_gradient(self, n: int, batch: int, gradient: Row) -> float:
        A, m_L = self.forward(n), self.sizes[-1]
        error = [y - t for y, t in zip(A[-1], self.y[n * m_L : (n + 1) * m_L], strict=True)]
        delta = [2 * e / batch for e in error]
        end = len(self.theta)
        for layer in range(len(self.sizes) - 1, 0, -1):
            m_in, m = self.sizes[layer - 1], self.sizes[layer]
            W = end - m - m_in * m
            for j, d in enumerate(delta):
                gradient[end - m + j] += d
                for i, a in enumerate(A[layer - 1]):
                    gradient[W + i * m + j] += a * d
            below = [_dot(delta, self.theta[W + i * m : W + (i + 1) * m]) for i in range(m_in)]
            delta = [(1 - a * a) * d for a, d in zip(A[layer - 1], below, strict=True)]
            end = W
        return sum(e * e for e in error)

    def train(self, first: int, count: int, batch: int, rate: float) -> float:
        """Seconds."""
        begin = time.perf_counter()
        for at in range(first, first + count, batch):
            rows = [int(n) for n in self.order[at : min(at + batch, first + count)]]
            gradient = self.gradient(rows)[1]
            self.theta = [w - rate * g for w, g in zip(self.theta, gradient, strict=True)]
        return time.perf_counter() - begin

    def time(self, operation: str, first: int, count: int, repeats: int) -> tuple[float, float]:
        """Seconds and the checksum."""
        begin, checksum = time.perf_counter(), 0.0
        for repeat in range(repeats):
            start = (first + repeat * count) % (self.rows - count + 1)
            rows = list(range(start, start + count))
            if operation == "forward":
                Y = [self.forward(n)[-1] for n in rows]
                checksum += Y[0][0] + Y[-1][-1]
            else:
                loss, gradient = self.gradient(rows)
                checksum += loss + gradient[0]
        return time.perf_counter() - begin, checksum


Fields = dict[str, object]


class Worker:
    """Answers commands, each with the method of its name; `answer` does what is asked for now."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def answer(self) -> Fields:
        """The fields of the reply."""
        command, *words = self.asked
        fields: Fields = getattr(self, command)(*words)
        return fields

    def hello(self) -> Fields:
        return {
            "protocol": 1, "name": "misbehaving", "language": "Python", "compiler": sys.version.split()[0], "flags": "",
            "activations": "identity,tanh", "losses": "squared_error", "arithmetic": "float64", "deterministic": "yes",
            "clock": "perf_counter",
        }  # fmt: skip

    def init(self) -> Fields:
        self.network = Network(self.folder)
        return {"threads": 1}

    def forward(self, first: str, count: str) -> Fields:
        rows = range(int(first), int(first) + int(count))
        self._write("outputs", [y for n in rows for y in self.network.forward(n)[-1]])
        return {}

    def gradient(self, first: str, count: str) -> Fields:
        loss, gradient = self.network.gradient(list(range(int(first), int(first) + int(count))))
        self._write("gradient", gradient)
        return {"loss": repr(loss)}

    def train(self, first: str, count: str, batch: str, rate: str) -> Fields:
        return {"seconds": self.network.train(int(first), int(count), int(batch), float(rate))}

    def time(self, operation: str, first: str, count: str, repeats: str) -> Fields:
        seconds, checksum = self.network.time(operation, int(first), int(count), int(repeats))
        return {"seconds": seconds, "checksum": checksum}

    def theta(self) -> Fields:
        self._write("theta_out", self.network.theta)
        return {}

    def reset(self) -> Fields:
        self.network.theta = list(self.network.start)
        return {}

    def _write(self, name: str, values: Row) -> None:
        (self.folder / f"{name}.bin").write_bytes(array(self.network.code, values).tobytes())


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def reply(fields: Fields) -> None:
    """A reply in good order."""
    say("\t".join(["ok", *(f"{key}={value}" for key, value in fields.items())]))


class Deeds(Worker):
    """What may be done in place of an answer."""

    calls = long_calls = 0

    def steady(self) -> None:
        """Nothing to see here."""
        reply(self.answer())

    def killed(self) -> None:
        """Dies of a signal."""
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self) -> None:
        """Reads where nothing is."""
        ctypes.string_at(0)

    def hung(self) -> None:
        """Never answers."""
        time.sleep(3600)

    def exits(self) -> None:
        """Ends, with a word on stderr."""
        sys.exit("no more steps today")

    def answers_and_exits(self) -> None:
        """Ends after a good reply."""
        reply(self.answer())
        sys.exit(3)

    def rubbish(self) -> None:
        """Answers something else."""
        say("step 1 of 20: loss 0.3")

    def binary(self) -> None:
        """Answers bytes that are no text."""
        sys.stdout.buffer.write(b"\xff\xfe\x00\n")
        sys.stdout.flush()

    def endless(self) -> None:
        """Answers a line that never ends."""
        while True:
            sys.stdout.write("ok" * 65536)

    def chatty(self) -> None:
        """Prints while it works."""
        fields = self.answer()
        say("almost there")
        reply(fields)

    def understates(self) -> None:
        """Claims a tenth of the time."""
        fields = self.answer()
        reply({**fields, "seconds": float(str(fields["seconds"])) / 10})

    def overstates(self) -> None:
        """Claims twice the time."""
        fields = self.answer()
        reply({**fields, "seconds": 2 * float(str(fields["seconds"]))})

    def instant(self) -> None:
        """Claims next to no time, however much there was to do."""
        reply({**self.answer(), "seconds": 1e-9})

    def dawdles(self) -> None:
        """Half a second late."""
        time.sleep(0.5)
        reply(self.answer())

    def slow(self) -> None:
        """Takes its time."""
        self._takes(lambda _: 2.0)

    def naps(self) -> None:
        """Takes ten times as long as it needs, and says so."""
        self._takes(lambda seconds: 10 * seconds)

    def warms(self) -> None:
        """Compiles itself: takes five times as long over its first three long calls, three times over three more."""
        self.long_calls += int(self.asked[2]) > 200  # rows: more than any proof asks for
        self._takes(lambda seconds: (5 if self.long_calls <= 3 else 3 if self.long_calls <= 6 else 1) * seconds)

    def speeds_up(self) -> None:
        """Takes a tenth less time a step at each call than at the one before, without end."""
        self.calls += 1
        self._takes(lambda seconds: seconds * (1 + 40 * 0.9**self.calls) if self.calls < 400 else seconds)

    def hoists(self) -> None:
        """Takes the same time for one repeat as for two."""
        self._takes(lambda _: 0.2)

    def _takes(self, wanted: Callable[[float], float]) -> None:
        begin = time.perf_counter()
        fields = self.answer()
        time.sleep(max(0.0, wanted(float(str(fields["seconds"]))) - (time.perf_counter() - begin)))
        reply({**fields, "seconds": time.perf_counter() - begin})

    def greedy(self) -> None:
        """Says that it uses more threads than it was given."""
        reply({**self.answer(), "threads": 64})

    def widens(self) -> None:
        """Starts a thread that may run on every CPU there is."""

        def elsewhere() -> None:
            os.sched_setaffinity(threading.get_native_id(), range(os.cpu_count() or 1))
            settled.set()
            time.sleep(3600)

        settled = threading.Event()
        threading.Thread(target=elsewhere, daemon=True).start()
        settled.wait()
        reply(self.answer())

    def spins(self) -> None:
        """Leaves a thread running that does nothing but run."""

        def forever() -> None:
            while True:
                continue

        threading.Thread(target=forever, daemon=True).start()
        reply(self.answer())

    def drifts(self) -> None:
        """Trains a little differently each time."""
        self.network.theta[0] += 1e-3 * math.modf(time.perf_counter())[0]
        reply(self.answer())

    def tires(self) -> None:
        """Trains a little differently each time, but only where there is much to train."""
        if int(self.asked[2]) > 200:  # rows: more than any proof asks for
            self.drifts()
        else:
            self.steady()

    def vandal(self) -> None:
        """Removes its WORKDIR."""
        fields = self.answer()
        shutil.rmtree(self.folder)
        reply(fields)

    def not_a_number(self) -> None:
        """Has no loss."""
        reply({**self.answer(), "loss": "nan"})


def main(deed: str, command: str, number: int, folder: Path) -> None:
    """Answer until told to quit."""
    worker, seen = Deeds(folder), 0
    for line in sys.stdin:
        worker.asked = line.split()
        if worker.asked == ["quit"]:
            return
        seen += worker.asked[0] == command
        now = deed if worker.asked[0] == command and seen >= number else "steady"
        getattr(worker, now)()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
