"""The backends in Cython: native/cython/mlp.pyx, translated and compiled at first use into the user's cache.

No mathematics here. A row's build line names the compiler's flags and Cython's directives, and its probe the versions.
"""

import importlib.util
import re
import shlex
from itertools import pairwise
from typing import Any

import numpy as np

from pyfnn import programs
from pyfnn.backend import Backend, Description
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

_MODULE = "mlp"  # the file of the module, and part of the name of its initializer
_LINE = 64  # bytes of a cache line


def _extension(row: Row) -> Any:
    """Build the module of a row where that is necessary, and import it under a name of its own."""
    path = programs.build(row).folder / f"{_MODULE}.so"
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _aligned(n: int, dtype: str) -> Array:
    """Return n ones from the start of a cache line on: elsewhere vectors straddle lines, which takes longer."""
    room: Array = np.ones(n + _LINE // np.dtype(dtype).itemsize, dtype)
    skipped = -room.ctypes.data % _LINE // room.itemsize
    return room[skipped : skipped + n]


def _copied(array: Array) -> Array:
    flat = _aligned(array.size, str(array.dtype))
    flat[:] = array.reshape(-1)
    return flat


def _versions(row: Row) -> dict[str, str]:
    """Return the versions of Cython and of the C compiler, from the answer to the row's probe."""
    answer = programs.probe(row)
    found = re.search(r"Cython version (\S+)", answer)
    compiler = re.search(r"^(\S*(?:cc|clang)\b.*)$", answer, re.MULTILINE)
    return {"Cython": found[1] if found else "?", "C by": compiler[1] if compiler else "?"}


def _flags(row: Row) -> str:
    """Return the options of the build line that matter for speed: the C compiler's, and Cython's directives."""
    words = shlex.split(str(row.build))
    of_c = [word for word in words if re.match("-(O|march|ffp)", word)]
    directives = [word for before, word in pairwise(words) if before == "-X"]
    return " ".join([*of_c, *directives])


class CythonModel(Model):
    """A network in Cython, on one thread. All its arrays are flat."""

    def __init__(self, network: Network, theta: Array, threads: int, module: Any) -> None:
        super().__init__(network, theta, threads)
        self.threads = 1
        self._module, self._current, self._dtheta = module, _copied(theta), _copied(np.zeros_like(theta))
        self._reserve(1)

    def _reserve(self, rows: int) -> None:
        """Allocate X, T, Z, A and delta for minibatches of so many rows, and place the layers in them."""
        network, (m_0, *m) = self.network, self.network.sizes
        self._room = rows
        buffers = (rows * m_0, rows * m[-1], *[rows * sum(m)] * 3)
        self._X, self._T, self._Z, self._A, self._delta = (_aligned(n, network.dtype) for n in buffers)
        self._last = rows * sum(m[:-1])  # the place of A_L
        inputs = network.sizes[:-1]
        ends = np.cumsum([(i + 1) * o for i, o in zip(inputs, m, strict=True)])
        b = ends - m
        W = b - np.array([i * o for i, o in zip(inputs, m, strict=True)])
        start = rows * (np.cumsum(m) - m)
        activations, losses = self._module.Activation, self._module.Loss
        f = [activations[f.key.upper()].value for f in network.elementwise_activations]
        p = [f.parameter for f in network.elementwise_activations]
        if network.fused:
            f, p = [*f, activations[str(network.output_activation).upper()].value], [*p, 0.0]
        places = (np.array(part, np.intp) for part in (network.sizes, W, b, start))
        loss = losses[network.loss.upper()].value
        self._shape = self._module.Shape(*places, np.array(f, np.intc), np.array(p, float), loss, network.l2)

    def _ready(self, rows: int) -> None:
        if rows > self._room:
            self._reserve(rows)

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order, self._rows = _copied(x), _copied(y), order.astype(np.intp), len(x)

    def _forward(self, first: int, count: int) -> Array:
        self._ready(count)
        self._module.forward(self._shape, self._current, self._x, first, count, self._Z, self._A)
        outputs = self.network.sizes[-1]
        return np.copy(self._A[self._last : self._last + count * outputs].reshape(count, outputs))

    def _forward_loss(self, first: int, count: int) -> float:
        self._ready(count)
        data = self._x, self._y, first, count
        return float(self._module.loss(self._shape, self._current, *data, self._Z, self._A))

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        self._ready(count)
        data = self._x, self._y, first, count
        loss = self._module.loss_and_gradient(self._shape, self._current, self._dtheta, *data, *self._step_buffers())
        return float(loss), self._dtheta.copy()

    def _step_buffers(self) -> tuple[Array, Array, Array]:
        return self._Z, self._A, self._delta

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        batch_size = min(batch_size, count)
        self._ready(batch_size)
        data = self._x, self._y, self._order, first, count, batch_size, learning_rate, self._X, self._T
        start = self._read_clocks()
        self._module.train(self._shape, self._current, self._dtheta, *data, *self._step_buffers())
        return self._seconds_since(start)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        self._ready(count)
        passes = first, count, repeats, self._rows - count + 1, probes.astype(np.intp)
        shape, theta, module = self._shape, self._current, self._module
        start = self._read_clocks()
        if operation == "forward":
            checksum = module.time_forward(shape, theta, self._x, *passes, self._Z, self._A)
        else:
            data = self._dtheta, self._x, self._y
            checksum = module.time_gradient(shape, theta, *data, *passes, *self._step_buffers())
        return self._seconds_since(start), float(checksum)

    def _theta(self) -> Array:
        return np.copy(self._current)

    def _set_theta(self, theta: Array) -> None:
        self._current[:] = theta

    def _close(self) -> None:
        empty = np.empty(0, self.network.dtype)
        self._x = self._y = self._current = self._dtheta = self._X = self._T = self._Z = self._A = self._delta = empty
        self._order = np.empty(0, np.intp)


class Compiled(Backend):
    """Cython in this process.

    Parameters
    ----------
    row : Row
        Its build line makes ``{build}/mlp.so`` of ``{folder}/mlp.pyx``.

    Raises
    ------
    BackendUnavailable
        There is no Cython or no C compiler.
    BuildFailed
        The compiler failed; the reason contains its messages.
    """

    def __init__(self, row: Row) -> None:
        self._module = _extension(row)
        activations, losses = ([name.lower() for name in enum.__members__] for enum in self._enums())
        activations.remove("softmax")  # which a loss fuses
        super().__init__(Description.in_python(row, _versions(row), _flags(row), activations, losses))

    def _enums(self) -> tuple[Any, Any]:
        return self._module.Activation, self._module.Loss

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return CythonModel(network, theta, threads, self._module)
