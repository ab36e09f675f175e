"""The models, ensembles and backends of JAX, on the CPU or a CUDA device.

`jax_programs` has their mathematics, `jax_loops` the calls of its compiled functions.
"""

import importlib.metadata
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs
from numpy.typing import NDArray

from pyfnn.backend import Backend, Description
from pyfnn.backends import jax_loops
from pyfnn.backends.jax_programs import ACTIVATIONS, LOSSES, Carry, Theta, programs
from pyfnn.device import check_number, device_number
from pyfnn.ensemble import Ensemble
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.loadable import Loadable
from pyfnn.manifest import Device, Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

_POOL_VARIABLE = "PJRT_NPROC"  # number of threads of XLA's pool, read when JAX first uses the device
_POOL_THREAD = "tf_XLAEigen"  # name of each of its threads in Linux
_PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"  # "true": XLA reserves three quarters of the device's memory at once


class _OnDevice(Loadable):
    """Networks in JAX: their θ and data on one device, and their training. The last axis of an order is its entries."""

    _current: Theta
    _data: Any  # x, y, order; None once closed
    _loop: jax_loops.Loop

    def _use(self, threads: int, kind: Device) -> None:
        self._device, pool = _device(kind, threads)
        if pool > threads and kind == "cpu":
            raise PyfnnError(f"threads = {threads}: JAX has started {pool} in this process, and cannot change that")
        self.threads = pool if kind == "cpu" else 1  # the thread that submits the work to the device

    def _put(self, array: Array) -> jax.Array:
        return jax.device_put(array.copy(), self._device)  # a copy, since JAX may share the array's memory

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._data = self._put(x), self._put(y), self._put(order)
        self._loop.forget()

    def _run(self, first: int, count: int, batch_size: int, rate: Any) -> float:
        """Train, after the functions that this needs were compiled; return the seconds."""
        batch_size = min(batch_size, count)
        steps, short = divmod(count, batch_size)
        self._current = self._loop.compile_steps(self._current, self._data, steps, batch_size, rate)
        if short:
            self._current = self._loop.compile_steps(self._current, self._data, 1, short, rate)
        jax.block_until_ready((self._current, rate))
        start = self._read_clocks()
        self._current = self._loop.run_steps(self._current, self._data, first, steps, batch_size, rate)
        if short:
            last = first + steps * batch_size
            self._current = self._loop.run_steps(self._current, self._data, last, 1, short, rate)
        jax.block_until_ready(self._current)
        return self._seconds_since(start)


class JaxModel(_OnDevice, Model):
    """A network in JAX."""

    def __init__(self, network: Network, theta: Array, threads: int, kind: Device, loop: type[jax_loops.Loop]) -> None:
        super().__init__(network, theta, threads)
        self._use(threads, kind)
        self._programs = programs(network)
        self._loop = loop(self._programs)
        self._current = self._layers(theta)

    def _layers(self, theta: Array) -> Theta:
        layers: Theta = jax.tree.map(self._put, _layers(self.network, theta))
        return layers

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x, y, order)
        self._own_x, self._own_y = x.copy(), y.copy()  # rows are sliced here, where no slice has to be compiled

    def _forward(self, first: int, count: int) -> Array:
        return np.array(self._programs.outputs(self._current, self._put(self._own_x[first : first + count])))

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        X, T = (self._put(a[first : first + count]) for a in (self._own_x, self._own_y))
        loss, dtheta = self._programs.loss_and_gradient(self._current, X, T)
        return float(loss), _flat(dtheta)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        return self._run(first, count, batch_size, np.dtype(self.network.dtype).type(learning_rate))

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        places, data = self._places(operation, probes), (self._current, *self._data[:2])
        self._loop.compile_passes(operation, self._empty_carry(operation, count), data, places, count, repeats)
        carry = jax.block_until_ready(self._empty_carry(operation, count))
        start = self._read_clocks()
        carry = jax.block_until_ready(self._loop.run_passes(operation, carry, data, places, first, count, repeats))
        seconds = self._seconds_since(start)
        return seconds, float(carry[0])

    def _places(self, operation: Operation, probes: Order) -> jax_loops.Places:
        """Return the probes as numbers of a tensor of the results and entries in it."""
        outputs = operation == "forward"
        places = np.array([(0, probe) for probe in probes] if outputs else self.network.places(probes))
        return self._loop.places(places, self._put)

    def _empty_carry(self, operation: Operation, count: int) -> Carry:
        if operation == "forward":
            return self._put(np.zeros(())), self._put(np.zeros((count, self.network.sizes[-1]), self.network.dtype))
        return self._put(np.zeros(())), self._layers(np.zeros_like(self._initial))

    def _theta(self) -> Array:
        return _flat(self._current)

    def _set_theta(self, theta: Array) -> None:
        self._current = self._layers(theta)

    def _close(self) -> None:
        self._current = []
        self._data = self._own_x = self._own_y = None


class JaxEnsemble(_OnDevice, Ensemble):
    """Many networks in JAX, in one compiled function: W: (K, m_in, m_out), b and slopes: (K, m_out)."""

    def __init__(
        self,
        network: Network,
        thetas: Array,
        l2: NDArray[np.float64] | None,
        threads: int,
        kind: Device,
        loop: type[jax_loops.Loop],
    ) -> None:
        super().__init__(network, thetas, l2, threads)
        self._use(threads, kind)
        self._loop = loop(programs(replace(network, l2=0.0), many=True))
        self._start = thetas.copy()
        self._lambdas = self._put(self.l2.astype(network.dtype))
        self._reset()

    def _train(self, first: int, count: int, batch_size: int, learning_rates: NDArray[np.float64]) -> float:
        rates = self._put(learning_rates.astype(self.network.dtype))
        return self._run(first, count, batch_size, (rates, self._lambdas))

    def _thetas(self) -> Array:
        tensors = (np.asarray(tensor) for layer in self._current for tensor in layer)
        return np.concatenate([tensor.reshape(self.members, -1) for tensor in tensors], axis=1)

    def _reset(self) -> None:
        members = [_layers(self.network, theta) for theta in self._start]
        self._current = jax.tree.map(lambda *tensors: self._put(np.stack(tensors)), *members)

    def _close(self) -> None:
        self._current = []
        self._data = None


def _layers(network: Network, theta: Array) -> list[tuple[Array, ...]]:
    """Return the tensors of each layer: (W, b), or (W, b, slopes) where it learns slopes."""
    layers = zip(network.layers(theta), network.slopes(theta), strict=True)
    return [(W, b, slopes) if slopes.size else (W, b) for (W, b), slopes in layers]


def _flat(theta: Theta) -> Array:
    return np.concatenate([np.ravel(tensor) for layer in theta for tensor in layer])


def _device(kind: Device, threads: int) -> tuple[Any, int]:
    """Return JAX's device and the number of threads of XLA's pool, which the first call in a process sets."""
    before = os.environ.get(_POOL_VARIABLE)
    os.environ[_POOL_VARIABLE] = str(threads)
    try:
        found = jax.local_devices(backend=kind)
    finally:
        os.environ.pop(_POOL_VARIABLE)
        if before is not None:
            os.environ[_POOL_VARIABLE] = before
    device = found[0] if kind == "cpu" else _chosen(found)
    tasks = Path("/proc/self/task")
    if not tasks.exists():  # only Linux gives the names of threads; elsewhere, trust the variable
        return device, threads
    return device, sum(_thread_name(task) == _POOL_THREAD for task in tasks.iterdir())


def _thread_name(task: Path) -> str:
    try:
        return (task / "comm").read_text().strip()
    except OSError:  # the thread has ended since the folder was listed
        return ""


def _chosen(found: list[Any]) -> Any:
    number = device_number()
    check_number(number, len(found))
    return found[number]


def _cuda_device() -> Any:
    """Return the CUDA device; raise `BackendUnavailable` before JAX starts where it has no CUDA plugin."""
    if not any("cuda" in plugin.name for plugin in importlib.metadata.entry_points(group="jax_plugins")):
        raise BackendUnavailable(f"JAX {jax.__version__} has no CUDA plugin", "pip install 'jax[cuda13]'")
    try:
        return _device("cuda", 1)[0]
    except RuntimeError as error:
        if isinstance(error, BackendUnavailable):
            raise
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise BackendUnavailable(f"JAX {jax.__version__} finds no CUDA device: {why}") from None


def _enable_compilation_cache() -> None:
    """Turn on JAX's compilation cache on disk, in pyfnn's cache folder unless the user has set one."""
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(platformdirs.user_cache_path("pyfnn") / "jax"))
        # Most of the compilation time goes to many small functions, so cache these too.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


class _Jax(Backend):
    """JAX on the device of the backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        The row is for CUDA, and JAX has no CUDA plugin or finds no device.
    """

    _loop: type[jax_loops.Loop]

    def __init__(self, row: Row) -> None:
        self._kind = row.device
        os.environ.setdefault(_PREALLOCATE, "false")  # several processes share the device
        jax.config.update("jax_enable_x64", True)  # for the whole process: without it JAX has no float64
        device = ""
        if self._kind != "cpu":
            jax.config.update("jax_default_matmul_precision", "highest")  # no TF32; for the whole process too
            device = f"{_cuda_device().device_kind}; precision of products: highest; memory as needed; "
        _enable_compilation_cache()
        libraries = {"JAX": jax.__version__, "jaxlib": jax.lib.__version__}
        flags = f"{device}XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}"
        super().__init__(Description.in_python(row, libraries, flags, ACTIVATIONS, LOSSES, many=True))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return JaxModel(network, theta, threads, self._kind, self._loop)

    def _create_many(self, network: Network, thetas: Array, l2: NDArray[np.float64] | None, threads: int) -> Ensemble:
        return JaxEnsemble(network, thetas, l2, threads, self._kind, self._loop)


class Loop(_Jax):
    """JAX with a compiled loop over the minibatches; see `_Jax`."""

    _loop = jax_loops.Loop


class Scan(_Jax):
    """JAX with compiled scans over the minibatches, for a CUDA device; see `_Jax`."""

    _loop = jax_loops.Scan


class Step(_Jax):
    """JAX with a compiled step, called from Python; see `_Jax`."""

    _loop = jax_loops.Step
