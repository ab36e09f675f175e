"""A host, through cffi, of any library that exports native/c_cuda/fnn.h: the compiled ones and third parties'.

The header is parsed at run time, so it stays the only source of truth. No mathematics here.
"""

import re
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import cffi
import numpy as np
from numpy.typing import NDArray

from pyfnn import compiled, isa
from pyfnn.backend import Backend, Description
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable, InvalidInput, PyfnnError, Unsupported
from pyfnn.manifest import Row, native_folder
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.optimizers import Named, State
from pyfnn.texts import cleaned
from pyfnn.validation import Array, Order

# FNN_DEVICE and values outside enum fnn_status become plain PyfnnErrors.
_ERRORS: dict[str, type[Exception]] = {
    "FNN_INVALID": InvalidInput,
    "FNN_UNSUPPORTED": Unsupported,
    "FNN_NO_MEMORY": MemoryError,
}
_MANY = ("fnn_create_many", "fnn_load_many", "fnn_train_many")
_OPTIMIZERS = ("fnn_set_optimizer", "fnn_optimizer_state", "fnn_train_with")
_KEYS = ("name", "language", "compiler", "flags", "clock", "activations", "losses", "arithmetic", "deterministic")


class Library(Backend):
    """A library that exports fnn.h.

    Parameters
    ----------
    row : Row
        `row.library` is a path relative to the manifest; without it, the library compiled with pyfnn is hosted.

    Attributes
    ----------
    path : Path
        The library's file.

    Raises
    ------
    BackendUnavailable
        The file does not exist or is no library; a function of fnn.h is missing; fnn.h has another version;
        `fnn_about` lacks a key; or the library itself reports that it cannot run. The reason says which.
    """

    target: ClassVar[str] = "fnn_c"  # name of the compiled library in CMake

    def __init__(self, row: Row) -> None:
        self.path = row.folder / row.library if row.library else _compiled(self.target)
        self._lib = _open(self.path)
        self._description = _describe(self._lib, self.path)
        if hasattr(self._lib, "fnn_unavailable") and (words := _text(self._lib.fnn_unavailable())):
            raise BackendUnavailable(*words.split("\n", 1))

    @property
    def description(self) -> Description:
        """Description that `fnn_about` returns."""
        return self._description

    @property
    def interface(self) -> tuple[Any, Any]:
        """Interface of cffi for fnn.h and the opened library, for calls that this host would refuse."""
        return _ffi(), self._lib

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return LibraryModel(self._lib, network, theta, threads)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        if not self._description.many:
            return super()._create_many(network, thetas, l2, threads)
        return LibraryEnsemble(self._lib, network, thetas, l2, threads)


class Textbook(Library):
    """The compiled library whose products are the triple loop of a textbook: the backend `c-textbook`."""

    target = "fnn_c_textbook"


class Libmvec(Library):
    """The compiled library that calls the vector functions of glibc's libmvec: the backend `c-libmvec`."""

    target = "fnn_c_libmvec"

    def __init__(self, row: Row) -> None:
        if isa.variant(self.target) not in compiled.build_info().SOURCES:
            raise BackendUnavailable("pyfnn was compiled where there is no vector tanh for GCC to call", row.remedy)
        super().__init__(row)


def _compiled(target: str) -> Path:
    name = isa.variant(target)
    return compiled.folder(name) / f"lib{name}.so"


class _Handle:
    """Owner of one `fnn_model`, of one network or of many: creation, errors, device clock, destruction."""

    def __init__(self, lib: Any, network: Network, threads: int, create: Callable[[Any, Any], int]) -> None:
        self.lib = lib
        functions = [f.name for f in network.hidden_activations] + [str(network.output_activation)]
        names = [_ffi().new("char[]", name.encode()) for name in functions]
        sizes = _ffi().new("int64_t[]", network.sizes)
        activations = _ffi().new("char *[]", names)
        loss = _ffi().new("char[]", network.loss.encode())
        described = _ffi().new(
            "fnn_network *",
            {
                "n_layers": network.n_layers,
                "sizes": sizes,
                "activations": activations,
                "loss": loss,
                "l2": network.l2,
                "dtype": getattr(lib, f"FNN_{network.dtype.upper()}"),
                "threads": threads,
            },
        )
        handle = _ffi().new("fnn_model **")
        status = create(described, handle)
        self.model = _ffi().gc(handle[0], lib.fnn_destroy)
        self.check(status)
        self.threads = int(lib.fnn_threads(self.model))
        self._device_clock = getattr(lib, "fnn_device_seconds", None)  # a failed look-up takes microseconds
        self._device_seconds = _ffi().new("double *")

    def check(self, status: int) -> None:
        if status == self.lib.FNN_OK:
            return
        name = _ffi().typeof("enum fnn_status").elements.get(status, f"status {status}")
        message = _text(self.lib.fnn_last_error(self.model))
        raise _ERRORS.get(name, PyfnnError)(message or f"the library returned {name} and no message")

    @property
    def has_device_clock(self) -> bool:
        """True where the library has a device clock."""
        return self._device_clock is not None

    def device_seconds(self) -> float | None:
        """Return the device seconds of the last timed call; None if the library has no device clock."""
        if self._device_clock is None or self._device_clock(self.model, self._device_seconds):
            return None
        return float(self._device_seconds[0])

    def close(self) -> None:
        _ffi().release(self.model)


class LibraryModel(Model):
    """A model in a library. Calls pass pointers to NumPy arrays, without copies; cffi releases the GIL meanwhile."""

    def __init__(self, lib: Any, network: Network, theta: Array, threads: int) -> None:
        super().__init__(network, theta, threads)
        self._lib = lib
        self._owner = _Handle(lib, network, threads, lambda described, to: lib.fnn_create(described, _data(theta), to))
        self._handle, self._check = self._owner.model, self._owner.check
        self._has_device_clock = self._owner.has_device_clock
        self._loss_function = getattr(lib, "fnn_loss", None)
        self._finite_function = getattr(lib, "fnn_is_finite", None)
        self._seconds, self._finite = _ffi().new("double *"), _ffi().new("int32_t *")  # made once: each takes 0.2 µs
        self.threads = self._owner.threads

    def _load(self, x: Array, y: Array, order: Order) -> None:
        numbers = _ffi().from_buffer("int64_t[]", order)
        self._check(self._lib.fnn_load(self._handle, _data(x), _data(y), len(x), numbers, len(order)))

    def _forward(self, first: int, count: int) -> Array:
        outputs = np.empty((count, self.network.sizes[-1]), self.network.dtype)
        self._check(self._lib.fnn_forward(self._handle, first, count, _data(outputs)))
        return outputs

    def _forward_loss(self, first: int, count: int) -> float:
        if self._loss_function is None:
            return super()._forward_loss(first, count)
        loss = _ffi().new("double *")
        self._check(self._loss_function(self._handle, first, count, loss))
        return float(loss[0])

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        loss = _ffi().new("double *")
        gradient = np.empty(self.network.n_parameters, self.network.dtype)
        self._check(self._lib.fnn_loss_and_gradient(self._handle, first, count, loss, _data(gradient)))
        return float(loss[0]), gradient

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        if status := self._lib.fnn_train(self._handle, first, count, batch_size, learning_rate, self._seconds):
            self._check(status)
        return self._read_seconds()

    def _train_with(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        self._check(self._lib.fnn_train_with(self._handle, first, count, batch_size, learning_rate, self._seconds))
        return self._read_seconds()

    def _read_seconds(self) -> float:
        if self._has_device_clock:
            self.device_seconds = self._owner.device_seconds()
        seconds: float = self._seconds[0]
        return seconds

    def _is_finite(self) -> bool:
        if self._finite_function is None:
            return super()._is_finite()
        if status := self._finite_function(self._handle, self._finite):
            self._check(status)
        return bool(self._finite[0])

    def _optimizer_state(self, optimizer: Named) -> State:
        steps = _ffi().new("int64_t *")
        vectors = np.empty((len(optimizer.vectors), self.network.n_parameters), self.network.dtype)
        self._check(self._lib.fnn_optimizer_state(self._handle, steps, _data(vectors)))
        return optimizer.unpack(int(steps[0]), vectors)

    def _set_optimizer_state(self, optimizer: Named, state: State) -> None:
        steps, vectors = optimizer.pack(state)
        name, settings = _ffi().new("char[]", optimizer.name.encode()), _ffi().new("double[]", optimizer.settings)
        self._check(self._lib.fnn_set_optimizer(self._handle, name, settings, steps, _data(np.array(vectors))))

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        seconds, checksum = _ffi().new("double *"), _ffi().new("double *")
        code = getattr(self._lib, f"FNN_{operation.upper()}")
        entries = _ffi().from_buffer("int64_t[]", probes)
        passes = first, count, repeats, entries, len(probes)
        self._check(self._lib.fnn_time(self._handle, code, *passes, seconds, checksum))
        self.device_seconds = self._owner.device_seconds()
        return float(seconds[0]), float(checksum[0])

    def _theta(self) -> Array:
        theta = np.empty(self.network.n_parameters, self.network.dtype)
        self._check(self._lib.fnn_theta(self._handle, _data(theta)))
        return theta

    def _set_theta(self, theta: Array) -> None:
        if not hasattr(self._lib, "fnn_set_theta"):
            raise Unsupported("the library does not export fnn_set_theta, which is optional in fnn.h: theta is fixed")
        self._check(self._lib.fnn_set_theta(self._handle, _data(theta)))

    def _reset(self) -> None:
        self._check(self._lib.fnn_reset(self._handle))

    def _close(self) -> None:
        self._owner.close()


class LibraryEnsemble(Ensemble):
    """Many networks in one `fnn_model`."""

    def __init__(self, lib: Any, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> None:
        super().__init__(network, thetas, l2, threads)

        def create(described: Any, to: Any) -> int:
            return int(lib.fnn_create_many(described, self.members, _data(thetas), _doubles(self.l2), to))

        self._lib = lib
        self._owner = _Handle(lib, network, threads, create)
        self._handle, self._check = self._owner.model, self._owner.check
        self.threads = self._owner.threads

    def _load(self, x: Array, y: Array, orders: Order) -> None:
        numbers = _ffi().from_buffer("int64_t[]", orders)
        self._check(self._lib.fnn_load_many(self._handle, _data(x), _data(y), len(x), numbers, orders.shape[1]))

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        seconds, rates = _ffi().new("double *"), _doubles(np.ascontiguousarray(learning_rates))
        self._check(self._lib.fnn_train_many(self._handle, first, count, batch_size, rates, seconds))
        self.device_seconds = self._owner.device_seconds()
        return float(seconds[0])

    def _thetas(self) -> Array:
        thetas = np.empty((self.members, self.network.n_parameters), self.network.dtype)
        self._check(self._lib.fnn_theta(self._handle, _data(thetas)))
        return thetas

    def _reset(self) -> None:
        self._check(self._lib.fnn_reset(self._handle))

    def _close(self) -> None:
        self._owner.close()


def _doubles(array: NDArray[np.float64]) -> Any:
    return _ffi().from_buffer("double[]", array)


def _data(array: Array) -> Any:
    """Return a `void *` to an array's numbers, without a copy; it keeps the array alive."""
    return _ffi().from_buffer(array)


def _text(words: Any) -> str:
    return "" if words == _ffi().NULL else cleaned(_ffi().string(words).decode("utf-8", "replace"))


def _header() -> Path:
    return native_folder() / "c_cuda" / "fnn.h"


def _names(text: str) -> set[str]:
    return set(re.findall(r"\b(fnn_\w+)\(", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))


def required_names() -> set[str]:
    """Return the names of the functions that every library must export: those above fnn.h's first optional heading."""
    return _names(_header().read_text(encoding="utf-8").split("/* --- Optional", 1)[0])


@cache
def argument_names(function: str) -> tuple[str, ...]:
    """Return the names that fnn.h gives to a function's arguments, in their order; empty if it declares no such one."""
    found = re.search(rf"\b{function}\(([^)]*)\)", _declarations())
    return tuple(re.findall(r"\W(\w+)(?:,|$)", found.group(1))) if found else ()


@cache
def _declarations() -> str:
    """Return fnn.h as cffi can parse it: without comments, C++ guards and directives other than numeric #defines."""
    text = re.sub(r"/\*.*?\*/", "", _header().read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.DOTALL)
    return re.sub(r"^#(?!define \w+ \d+$).*$", "", text, flags=re.MULTILINE)


@cache
def _ffi() -> Any:
    ffi = cffi.FFI()
    ffi.cdef(_declarations())
    return ffi


def _open(path: Path) -> Any:
    """Open the library at `path`; check that it exports this version of fnn.h."""
    if not path.exists():
        raise BackendUnavailable(f"{path} does not exist")
    try:
        lib = _ffi().dlopen(str(path))
    except OSError as error:
        raise BackendUnavailable(f"{path} is no library that can be loaded: {error}") from None
    groups = (group for group in (_MANY, _OPTIMIZERS) if any(hasattr(lib, name) for name in group))
    for name in (*sorted(required_names()), *chain.from_iterable(groups)):
        if not hasattr(lib, name):
            raise BackendUnavailable(f"{path} does not export {name}", f"build it against {_header()}")
    if lib.fnn_version() != lib.FNN_VERSION:
        found = f"{path} implements version {lib.fnn_version()} of fnn.h, not {lib.FNN_VERSION}"
        raise BackendUnavailable(found, f"build it against {_header()}")
    return lib


def _describe(lib: Any, path: Path) -> Description:
    about = dict(line.partition("=")[::2] for line in _text(lib.fnn_about()).splitlines())
    for key in _KEYS:
        if not about.get(key):
            raise BackendUnavailable(f"fnn_about of {path} does not say {key}", f"build it against {_header()}")
    if (about.get("many", "no") == "yes") != hasattr(lib, _MANY[0]):
        found = f"fnn_about of {path} says many={about.get('many', 'no')}, which is not what it exports"
        raise BackendUnavailable(found, f"build it against {_header()}")
    if ("optimizers" in about) != hasattr(lib, _OPTIMIZERS[0]):
        found = f"fnn_about of {path} says optimizers={about.get('optimizers', 'sgd')}, which is not what it exports"
        raise BackendUnavailable(found, f"build it against {_header()}")
    return Description.from_fields(about)
