"""A correct worker in plain Python that misbehaves when asked to: worker.py DEED COMMAND NUMBER WORKDIR.

It does DEED, a function of DEEDS, at its NUMBER-th COMMAND and at each one after that. Standard library only, so that
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


class Network:
    """theta, x, y, order as `init` found them; Z, A, delta and gradient of one row at a time."""

    def __init__(self, folder: Path) -> None:
        lines = dict(line.split(maxsplit=1) for line in (folder / "network.txt").read_text().splitlines() if " " in line)
        self.sizes = [int(size) for size in lines["sizes"].split()]
        self.l2, self.rows = float(lines["l2"]), int(lines["rows"])
        self.code = {"float32": "f", "float64": "d"}[lines["dtype"]]
        self.start = self._read(folder / "theta.bin", self.code)
        self.theta = list(self.start)
        self.x, self.y = (self._read(folder / f"{name}.bin", self.code) for name in "xy")
        self.order = self._read(folder / "order.bin", "q")

    def _read(self, path: Path, code: str) -> Row:
        return array(code, path.read_bytes()).tolist()

    def forward(self, n: int) -> list[Row]:
        """A_0 .. A_L of row n."""
        m_0, at = self.sizes[0], 0
        A = [self.x[n * m_0 : (n + 1) * m_0]]
        for layer, (m_in, m) in enumerate(pairwise(self.sizes), 1):
            b = at + m_in * m
            Z = [
                sum((a * w for a, w in zip(A[-1], self.theta[at + j : b : m])), self.theta[b + j]) for j in range(m)
            ]
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
        error = [y - t for y, t in zip(A[-1], self.y[n * m_L : (n + 1) * m_L])]
        delta = [2 * e / batch for e in error]
        end = len(self.theta)
        for layer in range(len(self.sizes) - 1, 0, -1):
            m_in, m = self.sizes[layer - 1], self.sizes[layer]
            W = end - m - m_in * m
            for j, d in enumerate(delta):
                gradient[end - m + j] += d
                for i, a in enumerate(A[layer - 1]):
                    gradient[W + i * m + j] += a * d
            below = [sum(d * w for d, w in zip(delta, self.theta[W + i * m : W + (i + 1) * m])) for i in range(m_in)]
            delta = [(1 - a * a) * d for a, d in zip(A[layer - 1], below)]
            end = W
        return sum(e * e for e in error)

    def train(self, first: int, count: int, batch: int, rate: float) -> float:
        """Seconds."""
        begin = time.perf_counter()
        for at in range(first, first + count, batch):
            rows = [int(n) for n in self.order[at : min(at + batch, first + count)]]
            self.theta = [w - rate * g for w, g in zip(self.theta, self.gradient(rows)[1])]
        return time.perf_counter() - begin

    def time(self, operation: str, first: int, count: int, repeats: int) -> tuple[float, float]:
        """Seconds and the checksum."""
        begin, checksum = time.perf_counter(), 0.0
        for repeat in range(repeats):
            start = (first + repeat * count) % (self.rows - count + 1)
            rows = list(range(start, start + count))
            checksum += [self.forward(n)[-1][0] for n in rows][0] if operation == "forward" else self.gradient(rows)[0]
        return time.perf_counter() - begin, checksum


class Worker:
    """Answers commands; `fields` is the reply that a deed may spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def answer(self, command: str, words: list[str]) -> dict[str, object]:
        """The fields of the reply."""
        return {**getattr(self, command)(*words)}

    def hello(self) -> dict[str, object]:
        """Who this is."""
        return {
            "protocol": 1, "name": "misbehaving", "language": "Python", "compiler": sys.version.split()[0], "flags": "",
            "activations": "identity,tanh", "losses": "squared_error", "arithmetic": "float64", "deterministic": "yes",
            "clock": "perf_counter",
        }  # fmt: skip

    def init(self) -> dict[str, object]:
        """A new network."""
        self.network = Network(self.folder)
        return {"threads": 1}

    def forward(self, first: str, count: str) -> dict[str, object]:
        """Outputs of a range of rows."""
        rows = range(int(first), int(first) + int(count))
        self._write("outputs", [y for n in rows for y in self.network.forward(n)[-1]])
        return {}

    def gradient(self, first: str, count: str) -> dict[str, object]:
        """Loss and gradient of a range of rows."""
        loss, gradient = self.network.gradient(list(range(int(first), int(first) + int(count))))
        self._write("gradient", gradient)
        return {"loss": repr(loss)}

    def train(self, first: str, count: str, batch: str, rate: str) -> dict[str, object]:
        """Gradient descent."""
        return {"seconds": self.network.train(int(first), int(count), int(batch), float(rate))}

    def time(self, operation: str, first: str, count: str, repeats: str) -> dict[str, object]:
        """Timed passes."""
        seconds, checksum = self.network.time(operation, int(first), int(count), int(repeats))
        return {"seconds": seconds, "checksum": checksum}

    def theta(self) -> dict[str, object]:
        """The parameters."""
        self._write("theta_out", self.network.theta)
        return {}

    def reset(self) -> dict[str, object]:
        """Back to the start."""
        self.network.theta = list(self.network.start)
        return {}

    def _write(self, name: str, values: Row) -> None:
        (self.folder / f"{name}.bin").write_bytes(array(self.network.code, values).tobytes())


Answer = Callable[[], dict[str, object]]


def say(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def reply(fields: dict[str, object]) -> None:
    """A reply in good order."""
    say("\t".join(["ok", *(f"{key}={value}" for key, value in fields.items())]))


def killed(worker: Worker, answer: Answer) -> None:
    """Dies of a signal."""
    os.kill(os.getpid(), signal.SIGKILL)


def hung(worker: Worker, answer: Answer) -> None:
    """Never answers."""
    time.sleep(3600)


def exits(worker: Worker, answer: Answer) -> None:
    """Ends, with a word on stderr."""
    sys.exit("no more steps today")


def answers_and_exits(worker: Worker, answer: Answer) -> None:
    """Ends after a good reply."""
    reply(answer())
    sys.exit(3)


def rubbish(worker: Worker, answer: Answer) -> None:
    """Answers something else."""
    say("step 1 of 20: loss 0.3")


def binary(worker: Worker, answer: Answer) -> None:
    """Answers bytes that are no text."""
    sys.stdout.buffer.write(b"\xff\xfe\x00\n")
    sys.stdout.flush()


def endless(worker: Worker, answer: Answer) -> None:
    """Answers a line that never ends."""
    while True:
        sys.stdout.write("ok" * 65536)


def chatty(worker: Worker, answer: Answer) -> None:
    """Prints while it works."""
    fields = answer()
    say("almost there")
    reply(fields)


def understates(worker: Worker, answer: Answer) -> None:
    """Claims a tenth of the time."""
    fields = answer()
    reply({**fields, "seconds": float(str(fields["seconds"])) / 10})


def overstates(worker: Worker, answer: Answer) -> None:
    """Claims twice the time."""
    fields = answer()
    reply({**fields, "seconds": 2 * float(str(fields["seconds"]))})


def instant(worker: Worker, answer: Answer) -> None:
    """Claims next to no time, however much there was to do."""
    reply({**answer(), "seconds": 1e-9})


def slow(worker: Worker, answer: Answer) -> None:
    """Takes its time."""
    begin = time.perf_counter()
    time.sleep(2)
    fields = answer()
    reply({**fields, "seconds": time.perf_counter() - begin} if "seconds" in fields else fields)


def greedy(worker: Worker, answer: Answer) -> None:
    """Says that it uses more threads than it was given."""
    reply({**answer(), "threads": 64})


def widens(worker: Worker, answer: Answer) -> None:
    """Starts a thread that runs on every CPU there is."""

    def elsewhere() -> None:
        os.sched_setaffinity(threading.get_native_id(), range(os.cpu_count() or 1))
        time.sleep(3600)

    threading.Thread(target=elsewhere, daemon=True).start()
    time.sleep(0.05)
    reply(answer())


def drifts(worker: Worker, answer: Answer) -> None:
    """Trains a little differently each time."""
    worker.network.theta[0] += 1e-3 * time.perf_counter() % 1e-3
    reply(answer())


def vandal(worker: Worker, answer: Answer) -> None:
    """Removes its WORKDIR."""
    fields = answer()
    shutil.rmtree(worker.folder)
    reply(fields)


def not_a_number(worker: Worker, answer: Answer) -> None:
    """Has no loss."""
    reply({**answer(), "loss": "nan"})


def spins(worker: Worker, answer: Answer) -> None:
    """Leaves a thread running that does nothing but run."""

    def forever() -> None:
        while True:
            continue

    threading.Thread(target=forever, daemon=True).start()
    reply(answer())


def segfault(worker: Worker, answer: Answer) -> None:
    """Reads where nothing is."""
    ctypes.string_at(0)


def steady(worker: Worker, answer: Answer) -> None:
    """Nothing to see here."""
    reply(answer())


DEEDS: dict[str, Callable[[Worker, Answer], None]] = {
    deed.__name__: deed
    for deed in (
        killed, hung, exits, answers_and_exits, rubbish, binary, endless, chatty, understates, overstates, instant,
        slow, greedy, widens, drifts, vandal, not_a_number, spins, segfault, steady,
    )
}  # fmt: skip


def main(deed: str, command: str, number: int, folder: Path) -> None:
    """Answer until told to quit."""
    worker, seen = Worker(folder), 0
    for line in sys.stdin:
        name, *words = line.split()
        if name == "quit":
            return
        seen += name == command
        act = DEEDS[deed] if name == command and seen >= number else steady
        act(worker, lambda name=name, words=words: worker.answer(name, words))  # type: ignore[misc]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
