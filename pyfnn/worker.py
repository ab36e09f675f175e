"""The child: a process that hosts a Python backend, python -m pyfnn.worker [--backend PATH] NAME WORKDIR.

It answers the worker protocol on stdin and stdout; other output of the process to stdout goes to stderr. The parent,
which starts this process and sends it commands, is `pyfnn.process.worker`.
"""

import argparse
import gc
import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from pyfnn import optimizers
from pyfnn.backend import Backend, check_support
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable, BuildFailed, Diverged, PyfnnError, Unsupported
from pyfnn.model import Model, Operation
from pyfnn.process import protocol
from pyfnn.process.protocol import Setup
from pyfnn.registry import load_backend
from pyfnn.validation import Array, Order, check_count

Fields = dict[str, object]
Held = TypeVar("Held", Model, Ensemble)


class Host:
    """Executes the protocol's commands on one backend, with one model (after `init`) or ensemble (`init_many`).

    Parameters
    ----------
    backend : Backend
    workdir : Path
        Folder for the arrays of the protocol.
    """

    def __init__(self, backend: Backend, workdir: Path) -> None:
        self._backend, self._workdir = backend, workdir
        self._held: Model | Ensemble | None = None

    def answer(self, line: str) -> str:
        """Execute one command line and return the reply line."""
        try:
            name, arguments = protocol.parse_command(line)
            fields: Fields = getattr(self, f"_{name}")(*arguments)
            return protocol.format_reply("ok", fields)
        except Exception as error:  # noqa: BLE001 - every error becomes a reply, and the process continues
            return protocol.format_reply("error", error_fields(error))

    @property
    def _live(self) -> Model:
        if not isinstance(self._held, Model):
            raise PyfnnError("no model yet: init comes first")
        return self._held

    @property
    def _many(self) -> Ensemble:
        if not isinstance(self._held, Ensemble):
            raise PyfnnError("no ensemble yet: init_many comes first")
        return self._held

    def _hello(self) -> Fields:
        return {**protocol.describe(replace(self._backend.description, many=True))}  # every Backend has `create_many`

    def _init(self) -> Fields:
        setup = self._setup()
        network = setup.network
        theta = self._read(protocol.THETA, (network.n_parameters,), network.dtype)
        order = self._read(protocol.ORDER, (setup.order,), "int64")
        return self._hold(self._backend.create(network, theta, setup.threads), setup, order)

    def _init_many(self) -> Fields:
        setup = self._setup()
        network, members = setup.network, setup.members
        if members is None:
            raise PyfnnError(f"{protocol.NETWORK} has no line 'members'")
        thetas = self._read(protocol.THETA, (members, network.n_parameters), network.dtype)
        orders = self._read(protocol.ORDER, (members, setup.order), "int64")
        l2 = self._read(protocol.L2, (members,), "float64")
        return self._hold(self._backend.create_many(network, thetas, l2, setup.threads), setup, orders)

    def _setup(self) -> Setup:
        """Read the setup; refuse a function that the backend lacks, before θ is read, whose layout depends on it."""
        setup = protocol.parse_setup(protocol.read_text(self._workdir / protocol.NETWORK))
        check_support(self._backend.description, setup.network)
        return setup

    def _read(self, name: str, shape: tuple[int, ...], dtype: str) -> Array:
        return protocol.read_array(self._workdir / name, shape, dtype)

    def _hold(self, held: Held, setup: Setup, order: Order) -> Fields:
        """Load the data into a new model or ensemble, then close the previous one."""
        network = setup.network
        held.reads_cpu_clock = True
        try:
            x = self._read(protocol.X, (setup.rows, network.sizes[0]), network.dtype)
            y = self._read(protocol.Y, (setup.rows, network.sizes[-1]), network.dtype)
            held.load(x, y, order)
        except BaseException:
            held.close()
            raise
        if self._held is not None:
            self._held.close()
        self._held = held
        return {"threads": held.threads}

    def _forward(self, first: int, count: int) -> Fields:
        protocol.write_array(self._workdir / protocol.OUTPUTS, self._live.forward(first, count))
        return {}

    def _gradient(self, first: int, count: int) -> Fields:
        loss, gradient = self._live.loss_and_gradient(first, count)
        protocol.write_array(self._workdir / protocol.GRADIENT, gradient)
        return {"loss": f"{loss:.17g}"}

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> Fields:
        return _timed(self._live, self._live.train(first, count, batch_size, learning_rate))

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float, optimizer: str) -> Fields:
        live = self._live
        return _timed(live, live.train(first, count, batch_size, learning_rate, optimizers.parse(optimizer)))

    def _set_optimizer(self, optimizer: str, steps: int) -> Fields:
        chosen, network = optimizers.parse(optimizer), self._live.network
        vectors = self._read(protocol.STATE, (len(chosen.vectors), network.n_parameters), network.dtype)
        self._live.set_optimizer_state(chosen, chosen.unpack(steps, vectors))
        return {}

    def _optimizer_state(self) -> Fields:
        state = self._live.optimizer_state()
        steps = int(state.pop("steps", np.zeros(1, np.int64))[0]) if state else -1
        protocol.write_array(self._workdir / protocol.STATE_OUT, np.array([*state.values()]))
        return {"steps": steps}

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: int) -> Fields:
        live = self._live
        check_count("PROBES", probes)
        entries = self._read(protocol.PROBES, (probes,), "int64")
        seconds = live.time(operation, first, count, repeats, entries)
        return {**_timed(live, seconds), "checksum": f"{live.checksum:.17g}"}

    def _train_many(self, first: int, count: int, batch_size: int) -> Fields:
        rates = self._read(protocol.RATES, (self._many.members,), "float64")
        return _timed(self._many, self._many.train(first, count, batch_size, rates))

    def _theta(self) -> Fields:
        held = self._held
        theta = held.thetas() if isinstance(held, Ensemble) else self._live.theta()
        protocol.write_array(self._workdir / protocol.THETA_OUT, theta)
        return {}

    def _pools(self) -> Fields:
        """Return the BLAS libraries and thread pools of this process, with their kernels and threads, as JSON."""
        from threadpoolctl import threadpool_info

        found = [
            {
                "kind": pool["user_api"],
                "library": " ".join(filter(None, (pool["internal_api"], pool["version"]))),
                "kernels": pool.get("architecture"),
                "threads": pool["num_threads"],
                "file": Path(pool["filepath"]).name,
            }
            for pool in threadpool_info()
        ]
        return {"pools": json.dumps(found)}

    def _reset(self) -> Fields:
        (self._held or self._live).reset()
        return {}


def _timed(held: Model | Ensemble, seconds: float) -> Fields:
    clocks = {"seconds": seconds, "cpu_seconds": held.cpu_seconds, "device_seconds": held.device_seconds}
    return {name: f"{value:.9g}" for name, value in clocks.items() if value is not None}


_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (Diverged, "diverged"),
    (Unsupported, "unsupported"),
    (BuildFailed, "build_failed"),
    (BackendUnavailable, "unavailable"),
    (PyfnnError, "invalid"),
)


def error_fields(error: Exception) -> Fields:
    """Return the fields of an error reply: kind and message, and the remedy where there is one."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "internal")
    if isinstance(error, BackendUnavailable):
        return {"kind": kind, "message": error.reason, "remedy": error.remedy}
    message = str(error) if isinstance(error, PyfnnError) else f"{type(error).__name__}: {error}"
    return {"kind": kind, "message": message}


def serve(answer: Callable[[str], str], commands: IO[str], replies: IO[str]) -> None:
    """Answer commands until `quit` or the end of input.

    Parameters
    ----------
    answer : callable
        Command line -> reply line.
    commands, replies : text file
    """
    for line in commands:
        if not line.strip():
            continue
        if line.split() == ["quit"]:
            replies.write(protocol.format_reply("ok", {}))
            replies.flush()
            return
        replies.write(answer(line))
        replies.flush()


def scattered_heap() -> list[bytes]:
    """Allocate blocks of random sizes and free half of them, so that later allocations have random addresses.

    Memory layout alone can make a program faster or slower by more than the difference under comparison (Mytkowicz et
    al. 2009, "Producing wrong data without doing anything obviously wrong!"). Fresh processes with the same commands
    have the same heap layout, page offsets included, so no number of launches would show the effect. A random layout
    per launch, as in Curtsinger and Berger 2013 ("Stabilizer"), makes it part of the variation between launches, and
    so of every interval. Arrays above some hundred KiB are not affected: the system maps them outside the heap.

    Returns
    -------
    list of bytes
        About 1 MB in 128 blocks; keep them for the life of the process.
    """
    blocks = [bytes(random.randint(1, 16384)) for _ in range(256)]
    return random.sample(blocks, 128)


def _private_stdout() -> IO[str]:
    """Return the process's stdout for the protocol alone; file descriptor 1 becomes stderr, for native code too."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8", errors="backslashreplace")


def _commands() -> IO[str]:
    """Return stdin as lines that end at newlines alone; bytes that are not UTF-8 become escapes, and no error."""
    return os.fdopen(0, encoding="utf-8", errors="backslashreplace", newline="\n", closefd=False)


def main(argv: list[str] | None = None) -> int:
    """Host one backend until `quit` or the end of input; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pyfnn.worker", description=__doc__)
    parser.add_argument("--backend", action="append", default=[], type=Path, help="read a further backend.toml")
    parser.add_argument("name")
    parser.add_argument("workdir", type=Path)
    arguments = parser.parse_args(argv)
    replies = _private_stdout()
    held = scattered_heap()
    serve(_answerer(arguments.name, arguments.backend, arguments.workdir), _commands(), replies)
    del held
    gc.freeze()  # or else the interpreter collects all that was imported, several times: 70 ms of every process
    return 0


def _answerer(name: str, manifests: list[Path], workdir: Path) -> Callable[[str], str]:
    """Return the function that answers commands: a host's or, without a backend, one that replies with the error."""
    try:
        return Host(load_backend(name, manifests), workdir).answer
    except PyfnnError as error:
        reply = protocol.format_reply("error", error_fields(error))
        return lambda _: reply


if __name__ == "__main__":
    sys.exit(main())
