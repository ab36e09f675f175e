"""Calls of fnn.h without pyfnn's host: a model made through the header alone, and valid arguments by name.

The names come from the header, so a function with a further argument needs no change here but that argument's value.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyfnn.backends.c import Library, argument_names
from pyfnn.validation import Array

SIZES, ROWS, ENTRIES, BATCH, RATE = (3, 4, 2), 6, 11, 2, 0.01
_ONE = ("fnn_forward", "fnn_loss_and_gradient", "fnn_train", "fnn_time")
WORK = (*_ONE, "fnn_loss", "fnn_train_many", "fnn_train_with")  # functions that need data
WRITTEN = ("outputs", "loss", "gradient", "seconds", "checksum", "theta", "steps_made", "state", "finite")
READ = ("x", "y", "order", "orders", "probes", "learning_rates", "optimizer", "settings")
_ROOM = 64  # times the size of an array that a library writes: a range that it does not refuse stays within it
_Raw = TypeVar("_Raw", bound="Raw")
_SENTINEL = 0x5A  # every byte of an array before a call


class Wrong(Exception):
    """A library does not keep its contract; the message says what it did."""


class Absent(Exception):
    """A library lacks optional functions; the message names them."""


@dataclass(frozen=True)
class Subject:
    """A library under examination, called directly.

    Attributes
    ----------
    ffi, lib : cffi's interface and the opened library
    activation, output, loss : str
        Functions that it has, for the networks of the exercises.
    deterministic : bool
    announce : callable
        Called with the text of each call before the call is made.
    """

    ffi: Any
    lib: Any
    activation: str
    output: str
    loss: str
    deterministic: bool
    announce: Callable[[str], None] = field(default=lambda _: None)

    def status_name(self, status: int) -> str:
        """Return a status as fnn.h names it."""
        return str(self.ffi.typeof("enum fnn_status").elements.get(status, f"status {status}"))

    def text(self, words: Any) -> str:
        """Return a C string; "" for NULL."""
        return "" if words == self.ffi.NULL else str(self.ffi.string(words).decode("utf-8"))


class Raw:
    """A model made through fnn.h alone, with its arrays. A context manager, which destroys it.

    Attributes
    ----------
    functions : tuple of str
        Functions of the model that return a status; of `optional`, those that the library has.
    creates, loads : str
        Those that make the model and load its data.

    Parameters
    ----------
    subject : Subject
    seed : int
        Seed of theta, data and order.
    shape : tuple of int
        m_0 .. m_L.
    precision : str
        The dtype of theta and the data.
    fields : object
        Fields of fnn_network that differ from the valid ones; None is NULL.
    """

    required: ClassVar[tuple[str, ...]] = ("fnn_load", *_ONE, "fnn_theta", "fnn_reset")
    optional: ClassVar[tuple[str, ...]] = (
        "fnn_set_theta", "fnn_loss", "fnn_is_finite", "fnn_set_optimizer", "fnn_optimizer_state", "fnn_train_with",
    )  # fmt: skip
    creates: ClassVar[str] = "fnn_create"
    loads: ClassVar[str] = "fnn_load"

    def __init__(
        self,
        subject: Subject,
        seed: int = 0,
        shape: tuple[int, ...] = SIZES,
        precision: str = "float32",
        **fields: Any,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.functions = (*self.required, *(name for name in self.optional if hasattr(subject.lib, name)))
        self.subject, self.shape, self.precision = subject, shape, precision
        n_parameters = sum((a + 1) * b for a, b in pairwise(shape))
        y = rng.uniform(0.1, 0.9, (ROWS, shape[-1]))
        if subject.loss == "softmax_cross_entropy":
            y /= y.sum(axis=1, keepdims=True)
        self.start: Array = rng.normal(0, 0.5, n_parameters).astype(precision)
        self.arrays: dict[str, NDArray[Any]] = {
            "x": rng.normal(size=(ROWS, shape[0])).astype(precision),
            "y": y.astype(precision),
            "order": rng.integers(0, ROWS, ENTRIES),
            "probes": np.zeros(2, np.int64),
            "outputs": np.zeros((_ROOM * ROWS, shape[-1]), precision),
            "gradient": np.zeros(n_parameters, precision),
            "theta": np.zeros(n_parameters, precision),
            "loss": np.zeros(1),
            "seconds": np.zeros(1),
            "checksum": np.zeros(1),
            "settings": np.array([0.9, 0.99, 1e-8]),
            "steps_made": np.zeros(1, np.int64),
            "state": np.zeros(2 * n_parameters, precision),
            "finite": np.zeros(1, np.int32),
        }
        self._fields = fields
        self._handle = subject.ffi.new("fnn_model **")

    @property
    def model(self) -> Any:
        """The handle: `fnn_model *`."""
        return self._handle[0]

    def create(self, **arguments: Any) -> int:
        """Call fnn_create and return its status; `arguments` replaces valid ones; None is NULL."""
        described, kept = self._described()
        valid = {"network": described, **self._made_from(), "model": self._handle}
        text = ", ".join(f"{key}={_shown(value)}" for key, value in {**self._fields, **arguments}.items())
        self.subject.announce(f"{self.creates}({text})")
        pointers = (self._pointer(value) for value in {**valid, **arguments}.values())
        status = int(getattr(self.subject.lib, self.creates)(*pointers))
        del kept
        return status

    def _made_from(self) -> dict[str, Any]:
        """Return the arguments of fnn_create between network and model, by name."""
        return {"theta": self.start}

    def _described(self) -> tuple[Any, list[Any]]:
        """Return the `fnn_network *`, and the objects that must live as long."""
        ffi, layers = self.subject.ffi, len(self.shape) - 1
        names = [self.subject.activation] * (layers - 1) + [self.subject.output]
        fields: dict[str, Any] = {
            "n_layers": layers, "sizes": self.shape, "activations": names, "loss": self.subject.loss, "l2": 0.01,
            "dtype": getattr(self.subject.lib, f"FNN_{self.precision.upper()}"), "threads": 1, **self._fields,
        }  # fmt: skip
        kept: list[Any] = []

        def keep(kind: str, value: Any) -> Any:
            value = value.encode() if isinstance(value, str) else value
            kept.append(ffi.NULL if value is None else ffi.new(kind, value))
            return kept[-1]

        if fields["activations"] is not None:
            fields["activations"] = [keep("char[]", name) for name in fields["activations"]]
        fields["activations"] = keep("char *[]", fields["activations"])
        fields["sizes"] = keep("int64_t[]", fields["sizes"])
        fields["loss"] = keep("char[]", fields["loss"])
        return keep("fnn_network *", fields), kept

    def made(self: _Raw) -> _Raw:
        """Create the model, load its data and select an optimizer; raise `Wrong` if a call fails. Return the model."""
        self.succeed(self.creates, self.create())
        self.ok(self.loads)
        if "fnn_set_optimizer" in self.functions:
            self.ok("fnn_set_optimizer")
        return self

    def valid(self, function: str) -> dict[str, Any]:
        """Return the arguments of a valid call, by name; arrays are NumPy's."""
        entries = function.startswith("fnn_train")
        values = {
            **self.arrays, "model": self.model, "rows": ROWS, "n_order": ENTRIES, "first": 1, "batch_size": BATCH,
            "count": ENTRIES - 2 if entries else ROWS - 2, "learning_rate": RATE, "repeats": 3,
            "operation": self.subject.lib.FNN_GRADIENT, "n_probes": len(self.arrays["probes"]), "optimizer": b"adam",
            "steps": 0,
        }  # fmt: skip
        return {name: values[name] for name in argument_names(function)}

    def call(self, function: str, **changed: Any) -> int:
        """Call a function with valid arguments but for the changed ones; return its status. None is NULL."""
        values = {**self.valid(function), **changed}
        shown = ", ".join(f"{key}={_shown(value)}" for key, value in changed.items())
        self.subject.announce(f"{function}({shown or 'valid arguments'})")
        return int(getattr(self.subject.lib, function)(*(self._pointer(value) for value in values.values())))

    def _pointer(self, value: Any) -> Any:
        if value is None:
            return self.subject.ffi.NULL
        if isinstance(value, np.ndarray):
            return self.subject.ffi.cast(_pointer_type(value), value.ctypes.data)
        return value

    def succeed(self, what: str, status: int) -> None:
        """Raise `Wrong` unless a valid call's status is FNN_OK."""
        if status != self.subject.lib.FNN_OK:
            raise Wrong(f"valid arguments: {what} returned {self.subject.status_name(status)}: {self.error}")

    def ok(self, function: str, **changed: Any) -> None:
        """Make a valid call; raise `Wrong` if it fails."""
        self.succeed(function, self.call(function, **changed))

    @property
    def error(self) -> str:
        """The text of fnn_last_error."""
        return self.subject.text(self.subject.lib.fnn_last_error(self.model))

    def theta(self) -> Array:
        """Return a copy of theta."""
        self.ok("fnn_theta")
        theta: Array = self.arrays["theta"].copy()
        return theta

    def results(self) -> dict[str, Array]:
        """Return all that the present state determines: theta, outputs, loss, gradient, checksum, theta of training."""
        found = {"theta": self.theta()}
        self.ok("fnn_forward", first=0, count=ROWS)
        self.ok("fnn_loss_and_gradient", first=0, count=ROWS)
        self.ok("fnn_time")
        found["outputs"] = self.arrays["outputs"][:ROWS].copy()
        found |= {name: self.arrays[name].copy() for name in ("loss", "gradient", "checksum")}
        self.ok("fnn_train")
        return {**found, "theta after training": self.theta()}

    def mark(self) -> None:
        """Fill the arrays that a call writes with one byte, so that `written` finds a change."""
        for name in WRITTEN:
            self.arrays[name].view(np.uint8)[...] = _SENTINEL

    def written(self) -> list[str]:
        """Return the arrays that have changed since `mark`."""
        return [name for name in WRITTEN if (self.arrays[name].view(np.uint8) != _SENTINEL).any()]

    def destroy(self) -> None:
        """Call fnn_destroy, once."""
        if self.model != self.subject.ffi.NULL:
            self.subject.announce("fnn_destroy(valid arguments)")
            self.subject.lib.fnn_destroy(self.model)
            self._handle[0] = self.subject.ffi.NULL

    def __enter__(self: _Raw) -> _Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()


def _pointer_type(array: NDArray[Any]) -> str:
    return {"int64": "int64_t *", "int32": "int32_t *"}.get(
        array.dtype.name, "double *" if array.shape == (1,) else "void *"
    )


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, np.ndarray):
        return f"[{', '.join(str(entry) for entry in value[:3])}, …]"
    return str(value)


def require_same(subject: Subject, wanted: dict[str, Array], found: dict[str, Array], when: str) -> None:
    """Raise `Wrong` if results differ: bit for bit, or beyond 1e-3 in norm if the library is not deterministic."""
    different = [name for name in wanted if not _same(subject, wanted[name], found[name])]
    if different:
        raise Wrong(f"{when}: {', '.join(different)} differ")


def _same(subject: Subject, wanted: NDArray[Any], found: NDArray[Any]) -> bool:
    if subject.deterministic:
        return wanted.tobytes() == found.tobytes()
    return bool(np.linalg.norm(found - wanted) <= 1e-3 * np.linalg.norm(wanted))


def open_library(backend: Library, activation: str, output: str, loss: str, report: int) -> Subject:
    """Return the subject for an opened library; each call is announced as a line on the file descriptor `report`."""
    ffi, lib = backend.interface

    def announce(text: str) -> None:
        os.write(report, f"call {text}\n".encode())

    return Subject(ffi, lib, activation, output, loss, backend.description.deterministic, announce)
