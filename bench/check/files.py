"""Claims about init and the files in WORKDIR: valid, invalid and missing ones."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bench.check.kit import Candidate, Exercise, Failed, Skipped, Topic, close_to, same_bits
from bench.machine.cpus import all_threads
from pyfnn import activations, losses, oracle
from pyfnn.errors import PyfnnError, Unsupported, WorkerError
from pyfnn.process import protocol

FILES = Topic("init and files", "A program")
_REFUSE = "What to refuse"

_ARRAYS = (protocol.THETA, protocol.X, protocol.Y, protocol.ORDER)
_ASKED = 2  # threads


def _require_right(candidate: Candidate, task: Exercise, when: str) -> None:
    """Raise `Failed` unless the process in its present state computes this exercise."""
    model = candidate.load(task)
    outputs = oracle.forward(task.network, task.theta.astype(np.float64), task.x).A[-1]
    if not close_to(model.forward(0, len(task.x)), outputs):
        raise Failed(f"{when} the outputs are wrong")


def _init(candidate: Candidate, files: dict[str, bytes]) -> PyfnnError | None:
    """Call init with these files; return the error that it answers, or None."""
    candidate.write_files(files)
    try:
        candidate.worker.call("init")
    except WorkerError:
        raise
    except PyfnnError as error:
        return error
    return None


@FILES.claim(
    "init answers the number of threads it uses, at most those asked for", "read the line threads of network.txt"
)
def _threads(candidate: Candidate) -> str:
    model = candidate.load(candidate.exercise())
    if model.threads != 1:
        raise Failed(f"threads={model.threads}", "1 was asked for")
    if all_threads() < _ASKED:
        return "1 of 1: only one CPU here"
    task = candidate.exercise()
    for name, data in task.files(_ASKED).items():
        (candidate.worker.workdir / name).write_bytes(data)
    seen = candidate.worker.call("init").get("threads", "nothing")
    if seen not in ("1", "2"):
        raise Failed(f"threads={seen}", f"at most {_ASKED}, which were asked for")
    return f"{seen} of {_ASKED}"


@FILES.claim("theta after init is theta.bin, bit for bit", "keep every bit: do not convert to text or to another dtype")
def _theta_is_kept(candidate: Candidate) -> None:
    for dtype in ("float32", "float64"):
        task = candidate.exercise(dtype=dtype)
        if not same_bits(candidate.load(task).theta(), task.theta):
            raise Failed(f"{dtype}: theta_out.bin differs from theta.bin", "little-endian, of the network's dtype")


@FILES.claim(
    "init again, with other sizes and another dtype, replaces the model",
    "discard the earlier model completely: sizes, dtype, theta, data, order, buffers",
)
def _init_again(candidate: Candidate) -> None:
    sizes = ((5, 7, 3), (9, 4, 6, 2), (2, 2), (5, 7, 3))
    for number, shape in enumerate(sizes):
        for dtype in ("float32", "float64"):
            _require_right(
                candidate, candidate.exercise(shape, dtype, seed=number), f"{'-'.join(map(str, shape))} in {dtype}:"
            )


@FILES.claim("init starts from theta.bin after training", "read theta.bin at each init; do not keep the trained theta")
def _init_starts_over(candidate: Candidate) -> None:
    task = candidate.exercise()
    candidate.load(task).train(0, 40, 4, 0.01)
    if not same_bits(candidate.load(task).theta(), task.theta):
        raise Failed("after training and another init, theta differs from theta.bin")


@FILES.claim(
    "unknown keys in network.txt are ignored, on any line",
    "read network.txt by its keys; skip unknown ones, and all characters after them",
    of_protocol=True,
)
def _unknown_keys(candidate: Candidate) -> None:
    files = candidate.exercise().files()
    text = files[protocol.NETWORK].decode()
    odd = "größe\u2028rows 1\x0crows 2\rrows 3"  # one line: no character but a newline ends it
    files[protocol.NETWORK] = f"colour dark blue\n{text}note {odd}\nflag\n".encode() + b"\xff\n"
    error = _init(candidate, files)
    if error:
        raise Failed(f"an error: {error}")


@FILES.claim(
    "a network without hidden layers, whose line activations is empty, is read",
    "read a line `activations` without names as no hidden layers: sizes has two entries then",
)
def _no_hidden(candidate: Candidate) -> None:
    _require_right(candidate, candidate.exercise((4, 3)), "4-3:")


@FILES.claim(
    "after init, commands read no file but rates.bin and probes.bin",
    "keep copies of everything in init",
    of_protocol=True,
)
def _files_gone(candidate: Candidate) -> None:
    task = candidate.exercise()
    model = candidate.load(task)
    outputs = model.forward(0, 40)
    model.train(0, 40, 4, 0.01)
    end = model.theta()
    model.reset()
    candidate.write_files({})
    same = same_bits(model.forward(0, 40), outputs)
    model.loss_and_gradient(0, 40)
    model.train(0, 40, 4, 0.01)
    moved = not close_to(model.theta(), end)
    model.reset()
    if not same or moved or not same_bits(model.theta(), task.theta):
        raise Failed("with the files gone, forward, train or reset give other results")


@FILES.claim(
    "files that change after init change nothing",
    "copy the files in init: a memory-mapped file is no copy",
    of_protocol=True,
)
def _files_changed(candidate: Candidate) -> None:
    task, other = candidate.exercise(), candidate.exercise(seed=1)
    model = candidate.load(task)
    outputs = model.forward(0, 40)
    for name, data in other.files().items():
        with (candidate.worker.workdir / name).open("r+b") as file:  # in place, so that a memory map sees the change
            file.write(data)
    if not same_bits(model.forward(0, 40), outputs):
        raise Failed("with other numbers in the files, forward gives other outputs")
    model.reset()
    if not same_bits(model.theta(), task.theta):
        raise Failed("with another theta.bin, reset gives another theta")


def _with_wrong_size(files: dict[str, bytes], name: str, kind: str) -> dict[str, bytes]:
    data = files[name]
    cut = {"cut short": data[: len(data) // 2], "a byte short": data[:-1], "too long": data + data[:8], "empty": b""}
    return {**files, name: cut[kind]}


def _must_refuse(candidate: Candidate, cases: Iterator[tuple[str, dict[str, bytes]]], expected: str) -> None:
    """Raise `Failed` unless init refuses each of these and a valid init works after all of them."""
    accepted = []
    for what, files in cases:
        try:
            if _init(candidate, files) is None:
                accepted.append(what)
        except WorkerError as error:
            raise Failed(f"{what}: {error}", "an error, from a process that keeps running") from None
    if accepted:
        raise Failed(f"ok, in reply to {'; '.join(accepted)}", expected)
    _require_right(candidate, candidate.exercise(), "after the failed inits,")


@FILES.claim(
    "a missing file is answered with an error",
    "answer error with the file's name; keep running",
    _REFUSE,
    of_protocol=True,
)
def _missing(candidate: Candidate) -> None:
    files = candidate.exercise().files()
    without = ((f"no {name}", {key: data for key, data in files.items() if key != name}) for name in files)
    _must_refuse(candidate, without, "an error for each")


@FILES.claim(
    "a file that is cut short, empty or too long is answered with an error",
    "before reading a file, compare its size with the one that sizes, rows and order give",
    _REFUSE,
    of_protocol=True,
)
def _wrong_size(candidate: Candidate) -> None:
    for dtype in ("float32", "float64"):
        files = candidate.exercise(dtype=dtype).files()
        kinds = ("cut short", "a byte short", "too long", "empty")
        cases = ((f"{name} {kind}", _with_wrong_size(files, name, kind)) for name in _ARRAYS for kind in kinds)
        _must_refuse(candidate, cases, "an error for each")


@FILES.claim(
    "a network.txt without a required line is answered with an error",
    "answer error with the key",
    _REFUSE,
    of_protocol=True,
)
def _lacks_a_line(candidate: Candidate) -> None:
    files = candidate.exercise().files()
    lines = files[protocol.NETWORK].decode().splitlines(keepends=True)
    cases = (
        (
            f"no line {line.split()[0]}",
            {**files, protocol.NETWORK: "".join(other for other in lines if other != line).encode()},
        )
        for line in lines
    )
    _must_refuse(candidate, cases, "an error for each")
    _must_refuse(candidate, iter([("an empty network.txt", {**files, protocol.NETWORK: b""})]), "an error")


_INVALID = {
    "sizes": ("", "5", "5 0 3", "5 -7 3", "5 x 3"),
    "dtype": ("float16", ""),
    "rows": ("0", "-40", "many"),
    "order": ("0", "-1"),
    "l2": ("much", "-0.01", "nan", "0x10"),
}


@FILES.claim(
    "an invalid value in network.txt is answered with an error",
    "check every value: at least two sizes, each at least 1",
    _REFUSE,
    of_protocol=True,
)
def _invalid_values(candidate: Candidate) -> None:
    files = candidate.exercise().files()
    text = files[protocol.NETWORK].decode()

    def cases() -> Iterator[tuple[str, dict[str, bytes]]]:
        for key, values in _INVALID.items():
            for value in values:
                lines = (f"{key} {value}" if line.split()[0] == key else line for line in text.splitlines())
                yield f"'{key} {value}'", {**files, protocol.NETWORK: "\n".join([*lines, ""]).encode()}

    _must_refuse(candidate, cases(), "an error for each")


@FILES.claim(
    "row numbers outside the data are refused",
    "require 0 ≤ entry < rows for every entry of order.bin in init: a later step would read beyond the data",
    _REFUSE,
    of_protocol=True,
)
def _row_numbers(candidate: Candidate) -> None:
    task = candidate.exercise()

    def cases() -> Iterator[tuple[str, dict[str, bytes]]]:
        for bad in (-1, len(task.x), 2**62):
            order = task.order.copy()
            order[7] = bad
            yield f"order[7] = {bad} of {len(task.x)} rows", replace(task, order=order).files()

    _must_refuse(candidate, cases(), "an error for each")


@FILES.claim(
    "a function that hello does not list is answered with kind=unsupported and its name",
    "answer error with kind=unsupported and the function's name in message",
    of_protocol=True,
)
def _unsupported(candidate: Candidate) -> str:
    hello, files = candidate.description, candidate.exercise().files()
    text = files[protocol.NETWORK].decode()
    lacked = [("activations", name) for name in activations.TABLE if name not in hello.activations][:1]
    lacked += [("loss", name) for name in losses.TABLE if name not in hello.losses][:1]
    asked = [*lacked, ("activations", "gelu"), ("loss", "hinge")]  # pyfnn does not know the last two
    for key, name in asked:
        error = _init(candidate, {**files, protocol.NETWORK: _with_function(text, key, name).encode()})
        if error is None:
            raise Failed(f"ok, in reply to '{key} {name}'", "kind=unsupported")
        if name not in str(error):
            raise Failed(f"to '{key} {name}' the message is {str(error)!r}", f"a message with {name!r}")
        if (key, name) in lacked and not isinstance(error, Unsupported):
            raise Failed(f"to '{key} {name}' an error of another kind: {error}", "kind=unsupported")
    _require_right(candidate, candidate.exercise(), "after that,")
    return f"asked for {', '.join(name for _, name in asked)}"


def _with_function(text: str, key: str, name: str) -> str:
    """Return the text of network.txt with this activation or loss, and the output activation that the loss needs."""
    fuses = losses.TABLE[name].fuses if name in losses.TABLE else None
    lines = [f"{key} {name}" if line.split()[0] == key else line for line in text.splitlines()]
    lines = [f"output_activation {fuses}" if fuses and line.startswith("output_") else line for line in lines]
    return "\n".join([*lines, ""])


@FILES.claim(
    "another output activation is either computed or refused",
    "read output_activation and use it; refuse one that the program lacks",
)
def _output_activation(candidate: Candidate) -> str:
    hidden, loss = candidate.activation(), candidate.loss()
    if losses.TABLE[loss].fuses or hidden == "identity":
        raise Skipped("no squared error, or no activation other than identity")
    task = candidate.exercise()
    network = replace(task.network, output_activation=hidden)
    _require_right(candidate, replace(task, network=network), f"with output_activation {hidden}")
    return hidden
