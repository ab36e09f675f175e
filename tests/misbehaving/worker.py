"""A worker in plain Python that misbehaves on request: worker.py BEHAVIOUR COMMAND NUMBER WORKDIR.

It shows BEHAVIOUR, a method of Behaviours, at its NUMBER-th COMMAND and at each later one; until then it is correct. It
uses the standard library only, so that it starts fast, and computes tanh networks with a squared error in float64.
"""

import ctypes
import math
import os
import resource
import shutil
import signal
import sys
import threading
import time
from array import array
from collections.abc import Callable
from itertools import pairwise
from operator import mul
from pathlib import Path

Row = list[float]


def _dot(a: Row, b: Row) -> float:
    return float(sum(map(mul, a, b)))


class Network:
    """A network with the data of `init`; Z, A, delta and gradient are those of one row at a time."""

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
        """Return A_0 .. A_L of row n."""
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
        """Return R over these rows, and dR/dtheta."""
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
        """Train, and return the seconds."""
        begin = time.perf_counter()
        for at in range(first, first + count, batch):
            rows = [int(n) for n in self.order[at : min(at + batch, first + count)]]
            gradient = self.gradient(rows)[1]
            self.theta = [w - rate * g for w, g in zip(self.theta, gradient, strict=True)]
        return time.perf_counter() - begin

    def time(self, operation: str, first: int, count: int, repeats: int, probes: list[int]) -> tuple[float, float]:
        """Repeat passes, and return the seconds and the checksum."""
        begin, checksum = time.perf_counter(), 0.0
        for repeat in range(repeats):
            start = (first + repeat * count) % (self.rows - count + 1)
            rows, probe = list(range(start, start + count)), probes[repeat % len(probes)]
            if operation == "forward":
                checksum += [y for n in rows for y in self.forward(n)[-1]][probe]
            else:
                loss, gradient = self.gradient(rows)
                checksum += loss + gradient[probe]
        return time.perf_counter() - begin, checksum


Fields = dict[str, object]


class Worker:
    """A worker with a method for each command of the protocol."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def answer(self) -> Fields:
        """Do the current command and return the fields of its reply."""
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

    def time(self, operation: str, first: str, count: str, repeats: str, n_probes: str) -> Fields:
        probes = array("q", (self.folder / "probes.bin").read_bytes())
        assert len(probes) == int(n_probes)
        seconds, checksum = self.network.time(operation, int(first), int(count), int(repeats), list(probes))
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
    """Write one line to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def reply(fields: Fields) -> None:
    """Write a correct reply."""
    say("\t".join(["ok", *(f"{key}={value}" for key, value in fields.items())]))


class Behaviours(Worker):
    """The behaviours: each replaces the correct reply to a command."""

    calls = 0

    def steady(self) -> None:
        """Reply correctly."""
        reply(self.answer())

    def witnessed(self) -> None:
        """Reply correctly, after a note of it in the file that WITNESS names: process id and reported seconds."""
        fields = self.answer()
        with open(os.environ["WITNESS"], "a") as file:  # noqa: PTH123
            file.write(f"{os.getpid()} {fields['seconds']}\n")
        reply(fields)

    def killed(self) -> None:
        """End by a signal."""
        os.kill(os.getpid(), signal.SIGKILL)

    def segfault(self) -> None:
        """Read from an invalid address."""
        ctypes.string_at(0)

    def stopped(self) -> None:
        """Stop, as by SIGSTOP from elsewhere."""
        os.kill(os.getpid(), signal.SIGSTOP)

    def starves(self) -> None:
        """Run out of memory."""
        resource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))
        reply({**self.answer(), "bytes": len(bytearray(1 << 40))})

    def floods(self) -> None:
        """Write 8 MiB to stderr, then reply correctly."""
        sys.stderr.write("no room for words\n" * (1 << 19))
        reply(self.answer())

    def pipes(self) -> None:
        """Put a pipe in the place of the file with theta."""
        path = self.folder / "theta_out.bin"
        path.unlink(missing_ok=True)
        os.mkfifo(path)
        reply({})

    def hung(self) -> None:
        """Never reply."""
        time.sleep(3600)

    def exits(self) -> None:
        """End, with a message on stderr."""
        sys.exit("no more steps today")

    def answers_and_exits(self) -> None:
        """Reply correctly, then end."""
        reply(self.answer())
        sys.exit(3)

    def rubbish(self) -> None:
        """Reply with a line that is not the protocol's."""
        say("step 1 of 20: loss 0.3")

    def binary(self) -> None:
        """Reply with bytes that are not UTF-8."""
        sys.stdout.buffer.write(b"\xff\xfe\x00\n")
        sys.stdout.flush()

    def endless(self) -> None:
        """Reply with a line that never ends."""
        while True:
            sys.stdout.write("ok" * 65536)

    def chatty(self) -> None:
        """Print a line before the reply."""
        fields = self.answer()
        say("almost there")
        reply(fields)

    def understates(self) -> None:
        """Report a tenth of the time."""
        fields = self.answer()
        reply({**fields, "seconds": float(str(fields["seconds"])) / 10})

    def overstates(self) -> None:
        """Report twice the time."""
        fields = self.answer()
        reply({**fields, "seconds": 2 * float(str(fields["seconds"]))})

    def instant(self) -> None:
        """Report 1 ns, independent of the work."""
        reply({**self.answer(), "seconds": 1e-9})

    def dawdles(self) -> None:
        """Reply half a second late."""
        time.sleep(0.5)
        reply(self.answer())

    def slow(self) -> None:
        """Take 2 s, and report them."""
        fields = self.answer()
        time.sleep(2.0)
        reply({**fields, "seconds": 2.0})

    def dallies(self) -> None:
        """Take ten times as long as needed, and report that time."""
        self._takes(lambda seconds: 10 * seconds)

    def warms(self) -> None:
        """Imitate a JIT compiler: three calls take nine times as long, the next three take three times as long."""
        self.calls += 1
        self._takes(lambda seconds: (9 if self.calls <= 3 else 3 if self.calls <= 6 else 1) * seconds)

    def hoists(self) -> None:
        """Take the same time for any number of repeats."""
        self._takes(lambda _: 0.2)

    def _takes(self, wanted: Callable[[float], float]) -> None:
        begin, used = time.perf_counter(), time.process_time()
        fields = self.answer()
        until = used + wanted(time.process_time() - used)
        while time.process_time() < until:
            continue
        reply({**fields, "seconds": time.perf_counter() - begin})

    def greedy(self) -> None:
        """Report more threads than the case allows."""
        reply({**self.answer(), "threads": 64})

    def widens(self) -> None:
        """Start a thread that may run on every CPU."""

        def elsewhere() -> None:
            os.sched_setaffinity(threading.get_native_id(), range(os.cpu_count() or 1))
            pinned.set()
            time.sleep(3600)

        pinned = threading.Event()
        threading.Thread(target=elsewhere, daemon=True).start()
        pinned.wait()
        reply(self.answer())

    def spins(self) -> None:
        """Start a thread that spins."""

        def forever() -> None:
            while True:
                continue

        threading.Thread(target=forever, daemon=True).start()
        reply(self.answer())

    def child_spins(self) -> None:
        """Start a child process that spins in a session of its own."""
        self._fork(lambda: None)
        reply(self.answer())

    def orphan_spins(self) -> None:
        """Start a process that spins and whose parent has ended."""
        self._fork(lambda: None, orphan=True)
        os.wait()
        reply(self.answer())

    def child_widens(self) -> None:
        """Start a child process that may run on every CPU."""
        self._fork(lambda: os.sched_setaffinity(0, range(os.cpu_count() or 1)))
        reply(self.answer())

    def child_helps(self) -> None:
        """Let child processes on every CPU use 0.6 s of CPU time beside the work, which end before the reply."""
        begin = time.perf_counter()
        fields = self.answer()
        helpers = []
        for _ in range(3):
            if (helper := os.fork()) == 0:
                os.sched_setaffinity(0, range(os.cpu_count() or 1))
                while time.process_time() < 0.2:
                    continue
                os._exit(0)
            helpers.append(helper)
        for helper in helpers:
            os.waitpid(helper, 0)
        reply({**fields, "seconds": time.perf_counter() - begin})

    def _fork(self, first: Callable[[], None], orphan: bool = False) -> None:
        """Start a process that spins, and wait until it does."""
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if orphan and os.fork():
                os._exit(0)
            first()
            os.close(writing)
            while True:
                continue
        os.close(writing)
        os.read(reading, 1)

    def drifts(self) -> None:
        """Change theta a little before each training."""
        self.network.theta[0] += 1e-3 * math.modf(time.perf_counter())[0]
        reply(self.answer())

    def tires(self) -> None:
        """Drift, but only in long calls."""
        if int(self.asked[2]) > 140:  # rows: more than any call of a proof of `tiny`, of which the longest has 136
            self.drifts()
        else:
            self.steady()

    def vandal(self) -> None:
        """Remove the WORKDIR."""
        fields = self.answer()
        shutil.rmtree(self.folder)
        reply(fields)

    def not_a_number(self) -> None:
        """Report a loss of nan."""
        reply({**self.answer(), "loss": "nan"})


def main(behaviour: str, command: str, number: int, folder: Path) -> None:
    """Reply to commands until `quit`."""
    worker, seen = Behaviours(folder), 0
    for line in sys.stdin:
        worker.asked = line.split()
        if worker.asked == ["quit"]:
            return
        seen += worker.asked[0] == command
        now = behaviour if worker.asked[0] == command and seen >= number else "steady"
        getattr(worker, now)()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
