"""Hosts a Python backend behind the worker protocol: python -m pyfnn.worker [--backend PATH] NAME WORKDIR.

Speaks on the stdout it was given; whatever else in the process prints to stdout ends up on stderr.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pyfnn import protocol
from pyfnn.backend import Backend, Model, Operation
from pyfnn.errors import BackendUnavailable, BuildFailed, Diverged, PyfnnError, Unsupported
from pyfnn.registry import load_backend

Fields = dict[str, object]


class Host:
    """Answers the protocol's commands with one backend and, after `init`, one model.

    Parameters
    ----------
    backend : Backend
    workdir : Path
        Where arrays are exchanged.
    """

    def __init__(self, backend: Backend, workdir: Path) -> None:
        self._backend, self._workdir = backend, workdir
        self._model: Model | None = None

    def answer(self, line: str) -> str:
        """The reply line to one command line."""
        try:
            name, arguments = protocol.parse_command(line)
            fields: Fields = getattr(self, f"_{name}")(*arguments)
            return protocol.format_reply("ok", fields)
        except Exception as error:  # noqa: BLE001 - an error is answered, whatever it is; the process lives on
            return protocol.format_reply("error", error_fields(error))

    @property
    def _live(self) -> Model:
        if self._model is None:
            raise PyfnnError("no model yet: init comes first")
        return self._model

    def _hello(self) -> Fields:
        return {**protocol.describe(self._backend.description)}

    def _init(self) -> Fields:
        folder = self._workdir
        setup = protocol.parse_setup(protocol.read_text(folder / protocol.NETWORK))
        network = setup.network
        m_in, m_out = network.sizes[0], network.sizes[-1]
        theta = protocol.read_array(folder / protocol.THETA, (network.n_parameters,), network.dtype)
        x = protocol.read_array(folder / protocol.X, (setup.rows, m_in), network.dtype)
        y = protocol.read_array(folder / protocol.Y, (setup.rows, m_out), network.dtype)
        order = protocol.read_array(folder / protocol.ORDER, (setup.order,), "int64")
        model = self._backend.create(network, theta, setup.threads)
        try:
            model.load(x, y, order)
        except BaseException:
            model.close()
            raise
        if self._model is not None:
            self._model.close()
        self._model = model
        return {"threads": model.threads}

    def _forward(self, first: int, count: int) -> Fields:
        protocol.write_array(self._workdir / protocol.OUTPUTS, self._live.forward(first, count))
        return {}

    def _gradient(self, first: int, count: int) -> Fields:
        loss, gradient = self._live.loss_and_gradient(first, count)
        protocol.write_array(self._workdir / protocol.GRADIENT, gradient)
        return {"loss": f"{loss:.17g}"}

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> Fields:
        return {"seconds": f"{self._live.train(first, count, batch_size, learning_rate):.9g}"}

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> Fields:
        seconds = self._live.time(operation, first, count, repeats)
        return {"seconds": f"{seconds:.9g}", "checksum": f"{self._live.checksum:.17g}"}

    def _theta(self) -> Fields:
        protocol.write_array(self._workdir / protocol.THETA_OUT, self._live.theta())
        return {}

    def _reset(self) -> Fields:
        self._live.reset()
        return {}


_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (Diverged, "diverged"),
    (Unsupported, "unsupported"),
    (BuildFailed, "build_failed"),
    (BackendUnavailable, "unavailable"),
    (PyfnnError, "invalid"),
)


def error_fields(error: Exception) -> Fields:
    """What an error reply carries: its kind, where it has one, and its message."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), "internal")
    if isinstance(error, BackendUnavailable):
        return {"kind": kind, "message": error.reason, "remedy": error.remedy}
    message = str(error) if isinstance(error, PyfnnError) else f"{type(error).__name__}: {error}"
    return {"kind": kind, "message": message}


def serve(answer: Callable[[str], str], commands: IO[str], replies: IO[str]) -> None:
    """Answer commands until `quit` or the end of input."""
    for line in commands:
        if not line.strip():
            continue
        if line.split() == ["quit"]:
            replies.write(protocol.format_reply("ok", {}))
            replies.flush()
            return
        replies.write(answer(line))
        replies.flush()


def _private_stdout() -> IO[str]:
    """The stdout we were given, for us alone; file descriptor 1 becomes stderr, for native code too."""
    private = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(private, "w", encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    """Host one backend until told to quit."""
    parser = argparse.ArgumentParser(prog="python -m pyfnn.worker", description=__doc__)
    parser.add_argument("--backend", action="append", default=[], type=Path, help="a further backend.toml")
    parser.add_argument("name")
    parser.add_argument("workdir", type=Path)
    arguments = parser.parse_args(argv)
    replies = _private_stdout()
    serve(_answerer(arguments.name, arguments.backend, arguments.workdir), sys.stdin, replies)
    return 0


def _answerer(name: str, manifests: list[Path], workdir: Path) -> Callable[[str], str]:
    """What answers the commands: a host, or, where there is no backend, the reason why."""
    try:
        return Host(load_backend(name, manifests), workdir).answer
    except PyfnnError as error:
        reply = protocol.format_reply("error", error_fields(error))
        return lambda _: reply


if __name__ == "__main__":
    sys.exit(main())
