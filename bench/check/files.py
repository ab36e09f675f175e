"""Claims about init and the files in WORKDIR: good ones, bad ones, and none."""

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


def _right(subject: Candidate, task: Exercise, when: str) -> None:
    """The worker, as it is now, computes this exercise."""
    model = subject.load(task)
    outputs = oracle.forward(task.network, task.theta.astype(np.float64), task.x).A[-1]
    if not close_to(model.forward(0, len(task.x)), outputs):
        raise Failed(f"{when} the outputs are wrong")


def _init(subject: Candidate, files: dict[str, bytes]) -> PyfnnError | None:
    """The error that init answers, if it does."""
    subject.lay(files)
    try:
        subject.worker.call("init")
    except WorkerError:
        raise
    except PyfnnError as error:
        return error
    return None


@FILES.claim("init says how many threads it will use, at most those asked for", "read the line threads of network.txt")
def _threads(subject: Candidate) -> str:
    model = subject.load(subject.exercise())
    if model.threads != 1:
        raise Failed(f"threads={model.threads}", "1 was asked for")
    if all_threads() < _ASKED:
        return "1 of 1: there is one CPU"
    task = subject.exercise()
    for name, data in task.files(_ASKED).items():
        (subject.worker.workdir / name).write_bytes(data)
    seen = subject.worker.call("init").get("threads", "nothing")
    if seen not in ("1", "2"):
        raise Failed(f"threads={seen}", f"at most {_ASKED}, which were asked for")
    return f"{seen} of {_ASKED}"


@FILES.claim("theta after init is theta.bin, bit for bit", "keep every bit: no detour through text or another width")
def _theta_is_kept(subject: Candidate) -> None:
    for dtype in ("float32", "float64"):
        task = subject.exercise(dtype=dtype)
        if not same_bits(subject.load(task).theta(), task.theta):
            raise Failed(f"{dtype}: theta_out.bin differs from theta.bin", "little-endian, of the network's dtype")


@FILES.claim(
    "init again, with other sizes and another dtype, replaces the model",
    "forget all of the earlier model: sizes, dtype, theta, data, order, buffers",
)
def _init_again(subject: Candidate) -> None:
    sizes = ((5, 7, 3), (9, 4, 6, 2), (2, 2), (5, 7, 3))
    for number, shape in enumerate(sizes):
        for dtype in ("float32", "float64"):
            _right(subject, subject.exercise(shape, dtype, seed=number), f"{'-'.join(map(str, shape))} in {dtype}:")


@FILES.claim("init starts over after training", "read theta.bin at each init; do not keep the trained theta")
def _init_starts_over(subject: Candidate) -> None:
    task = subject.exercise()
    subject.load(task).train(0, 40, 4, 0.01)
    if not same_bits(subject.load(task).theta(), task.theta):
        raise Failed("after training and another init, theta is not that of theta.bin")


@FILES.claim(
    "unknown keys in network.txt are ignored, wherever they stand",
    "read network.txt by its keys; skip what you do not know",
)
def _unknown_keys(subject: Candidate) -> None:
    files = subject.exercise().files()
    text = files[protocol.NETWORK].decode()
    files[protocol.NETWORK] = f"colour dark blue\n{text}flag\n".encode()
    error = _init(subject, files)
    if error:
        raise Failed(f"an error: {error}")


@FILES.claim(
    "a network without a hidden layer, whose line activations is empty, is read",
    "read `activations` alone on its line as no names: sizes has two entries then",
)
def _no_hidden(subject: Candidate) -> None:
    _right(subject, subject.exercise((4, 3)), "4-3:")


@FILES.claim(
    "after init, commands read no file but rates.bin",
    "keep copies of everything in init",
)
def _files_gone(subject: Candidate) -> None:
    task = subject.exercise()
    model = subject.load(task)
    outputs = model.forward(0, 40)
    model.train(0, 40, 4, 0.01)
    end = model.theta()
    model.reset()
    subject.lay({})
    same = same_bits(model.forward(0, 40), outputs)
    model.loss_and_gradient(0, 40)
    model.train(0, 40, 4, 0.01)
    moved = not close_to(model.theta(), end)
    model.reset()
    if not same or moved or not same_bits(model.theta(), task.theta):
        raise Failed("with the files gone, forward, train or reset give something else")


@FILES.claim("files that change after init change nothing", "copy what init reads: a mapped file is no copy")
def _files_changed(subject: Candidate) -> None:
    task, other = subject.exercise(), subject.exercise(seed=1)
    model = subject.load(task)
    outputs = model.forward(0, 40)
    for name, data in other.files().items():
        with (subject.worker.workdir / name).open("r+b") as file:  # in place: who mapped it would see it
            file.write(data)
    if not same_bits(model.forward(0, 40), outputs):
        raise Failed("with other numbers in the files, forward gives something else")
    model.reset()
    if not same_bits(model.theta(), task.theta):
        raise Failed("with another theta.bin, reset gives something else")


def _mutilated(files: dict[str, bytes], name: str, kind: str) -> dict[str, bytes]:
    data = files[name]
    cut = {"cut short": data[: len(data) // 2], "a byte short": data[:-1], "too long": data + data[:8], "empty": b""}
    return {**files, name: cut[kind]}


def _must_refuse(subject: Candidate, cases: Iterator[tuple[str, dict[str, bytes]]], wanted: str) -> None:
    """Each of these is refused, and a good init works after all of them."""
    accepted = []
    for what, files in cases:
        try:
            if _init(subject, files) is None:
                accepted.append(what)
        except WorkerError as error:
            raise Failed(f"{what}: {error}", "an error, and life after it") from None
    if accepted:
        raise Failed(f"ok, to {'; '.join(accepted)}", wanted)
    _right(subject, subject.exercise(), "after the failed inits,")


@FILES.claim("a file that is missing is answered with an error", "answer error, naming the file; live on", _REFUSE)
def _missing(subject: Candidate) -> None:
    files = subject.exercise().files()
    without = ((f"no {name}", {key: data for key, data in files.items() if key != name}) for name in files)
    _must_refuse(subject, without, "an error for each")


@FILES.claim(
    "a file that is cut short, empty or too long is answered with an error",
    "hold each file's size against what sizes, rows and order ask for, before reading it",
    _REFUSE,
)
def _wrong_size(subject: Candidate) -> None:
    for dtype in ("float32", "float64"):
        files = subject.exercise(dtype=dtype).files()
        kinds = ("cut short", "a byte short", "too long", "empty")
        cases = ((f"{name} {kind}", _mutilated(files, name, kind)) for name in _ARRAYS for kind in kinds)
        _must_refuse(subject, cases, "an error for each")


@FILES.claim("a network.txt that lacks a line is answered with an error", "answer error, naming the key", _REFUSE)
def _lacks_a_line(subject: Candidate) -> None:
    files = subject.exercise().files()
    lines = files[protocol.NETWORK].decode().splitlines(keepends=True)
    cases = (
        (
            f"no line {line.split()[0]}",
            {**files, protocol.NETWORK: "".join(other for other in lines if other != line).encode()},
        )
        for line in lines
    )
    _must_refuse(subject, cases, "an error for each")
    _must_refuse(subject, iter([("an empty network.txt", {**files, protocol.NETWORK: b""})]), "an error")


_NONSENSE = {
    "sizes": ("", "5", "5 0 3", "5 -7 3", "5 x 3"),
    "dtype": ("float16", ""),
    "rows": ("0", "-40", "many"),
    "order": ("0", "-1"),
    "l2": ("much",),
}


@FILES.claim(
    "nonsense in network.txt is answered with an error",
    "check what you read: sizes at least two, all at least 1",
    _REFUSE,
)
def _nonsense(subject: Candidate) -> None:
    files = subject.exercise().files()
    text = files[protocol.NETWORK].decode()

    def cases() -> Iterator[tuple[str, dict[str, bytes]]]:
        for key, values in _NONSENSE.items():
            for value in values:
                lines = (f"{key} {value}" if line.split()[0] == key else line for line in text.splitlines())
                yield f"'{key} {value}'", {**files, protocol.NETWORK: "\n".join([*lines, ""]).encode()}

    _must_refuse(subject, cases(), "an error for each")


@FILES.claim(
    "row numbers outside the rows are refused",
    "hold every entry of order.bin against 0 and rows in init: later it would be read beyond the data",
    _REFUSE,
)
def _row_numbers(subject: Candidate) -> None:
    task = subject.exercise()

    def cases() -> Iterator[tuple[str, dict[str, bytes]]]:
        for bad in (-1, len(task.x), 2**62):
            order = task.order.copy()
            order[7] = bad
            yield f"order[7] = {bad} of {len(task.x)} rows", replace(task, order=order).files()

    _must_refuse(subject, cases(), "an error for each")


@FILES.claim(
    "a function it lacks is answered with kind=unsupported, by name",
    "answer error with kind=unsupported and the function's name in message",
)
def _unsupported(subject: Candidate) -> str:
    said, files = subject.said, subject.exercise().files()
    text = files[protocol.NETWORK].decode()
    lacked = [("activations", name) for name in activations.TABLE if name not in said.activations][:1]
    lacked += [("loss", name) for name in losses.TABLE if name not in said.losses][:1]
    asked = [*lacked, ("activations", "gelu"), ("loss", "hinge")]  # these pyfnn itself does not know
    for key, name in asked:
        error = _init(subject, {**files, protocol.NETWORK: _with_function(text, key, name).encode()})
        if error is None:
            raise Failed(f"ok, to '{key} {name}'", "kind=unsupported")
        if name not in str(error):
            raise Failed(f"to '{key} {name}' the message is {str(error)!r}", f"{name!r} in it")
        if (key, name) in lacked and not isinstance(error, Unsupported):
            raise Failed(f"to '{key} {name}' an error of another kind: {error}", "kind=unsupported")
    _right(subject, subject.exercise(), "after that,")
    return f"asked for {', '.join(name for _, name in asked)}"


def _with_function(text: str, key: str, name: str) -> str:
    """A network.txt with this activation or loss, and with the output activation that goes with the loss."""
    fuses = losses.TABLE[name].fuses if name in losses.TABLE else None
    lines = [f"{key} {name}" if line.split()[0] == key else line for line in text.splitlines()]
    lines = [f"output_activation {fuses}" if fuses and line.startswith("output_") else line for line in lines]
    return "\n".join([*lines, ""])


@FILES.claim(
    "another output activation is either computed or refused",
    "read output_activation, and use it; refuse what you lack",
)
def _output_activation(subject: Candidate) -> str:
    hidden, loss = subject.activation(), subject.loss()
    if losses.TABLE[loss].fuses or hidden == "identity":
        raise Skipped("no squared error, or no activation to put there")
    task = subject.exercise()
    network = replace(task.network, output_activation=hidden)
    _right(subject, replace(task, network=network), f"with output_activation {hidden}")
    return hidden
