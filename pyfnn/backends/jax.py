"""The network in JAX, differentiated by `jax.grad` and compiled by XLA: all steps in one call, or one call per step.

On the CPU, `lax.fori_loop` iterates over the minibatches, with a number of steps that is known only at the call. XLA
compiles `lax.scan` to the same loop, equally fast; but the fori_loop is compiled once for any number of steps, and its
results do not depend on the division of the steps into calls. On a CUDA device such a loop asks the host after each
step if there is another, so there the backend uses a scan.
"""

import importlib.metadata
import os
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import platformdirs

from pyfnn.backend import Backend, Description
from pyfnn.backends.jax_programs import ACTIVATIONS, LOSSES, Carry, Theta, programs
from pyfnn.device import check_number, device_number
from pyfnn.errors import BackendUnavailable, PyfnnError
from pyfnn.manifest import Device, Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

Places = Any  # probes as (n, 2) on the device; in `JaxStepModel` as n times (2,), an argument of each call

_POOL_VARIABLE = "PJRT_NPROC"  # number of threads of XLA's pool, read when JAX first uses the device
_POOL_THREAD = "tf_XLAEigen"  # name of each of its threads in Linux
_PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"  # "true": XLA reserves three quarters of the device's memory at once
_SCAN_LENGTHS = (1024, 256, 64, 16, 4, 1)  # numbers of steps for which a scan is compiled


class JaxModel(Model):
    """A network in JAX that makes any number of steps in one call of a compiled loop.

    Before the clock starts, a call with 0 steps compiles the loop.
    """

    def __init__(self, network: Network, theta: Array, threads: int, kind: Device) -> None:
        super().__init__(network, theta, threads)
        self._device, pool = _device(kind, threads)
        if pool > threads and kind == "cpu":
            raise PyfnnError(f"threads = {threads}: JAX has started {pool} in this process, and cannot change that")
        self.threads = pool if kind == "cpu" else 1  # the thread that submits the work to the device
        self._programs = programs(network)
        self._current: Theta = self._layers(theta)

    def _layers(self, theta: Array) -> Theta:
        return [(self._put(W), self._put(b)) for W, b in self.network.layers(theta)]

    def _put(self, array: Array) -> jax.Array:
        return jax.device_put(array.copy(), self._device)  # a copy, since JAX may share the array's memory

    def _load(self, x: Array, y: Array, order: Order) -> None:
        self._x, self._y, self._order = self._put(x), self._put(y), self._put(order)
        self._own_x, self._own_y = x.copy(), y.copy()  # rows are sliced here, where no slice has to be compiled

    def _forward(self, first: int, count: int) -> Array:
        return np.array(self._programs.outputs(self._current, self._put(self._own_x[first : first + count])))

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        X, T = (self._put(a[first : first + count]) for a in (self._own_x, self._own_y))
        loss, dtheta = self._programs.loss_and_gradient(self._current, X, T)
        return float(loss), _flat(dtheta)

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        batch_size = min(batch_size, count)
        rate = np.dtype(self.network.dtype).type(learning_rate)
        steps, short = divmod(count, batch_size)
        self._compile_steps(steps, batch_size, rate)
        if short:
            self._compile_steps(1, short, rate)
        jax.block_until_ready(self._current)
        start = self._read_clocks()
        self._run_steps(first, steps, batch_size, rate)
        if short:
            self._run_steps(first + steps * batch_size, 1, short, rate)
        jax.block_until_ready(self._current)
        return self._seconds_since(start)

    def _compile_steps(self, steps: int, batch: int, rate: np.floating[Any]) -> None:
        del steps  # the compiled loop takes any number
        self._run_steps(0, 0, batch, rate)

    def _run_steps(self, first: int, steps: int, batch: int, rate: np.floating[Any]) -> None:
        data = self._x, self._y, self._order
        self._current = self._programs.train(self._current, *data, first, rate, steps, batch=batch)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        places = self._places(operation, probes)
        self._compile_passes(operation, count, repeats, places)
        carry = jax.block_until_ready(self._empty_carry(operation, count))
        start = self._read_clocks()
        carry = jax.block_until_ready(self._passes(operation, carry, places, first, count, repeats))
        seconds = self._seconds_since(start)
        return seconds, float(carry[0])

    def _places(self, operation: Operation, probes: Order) -> Places:
        """Return the probes as numbers of a tensor of the results and entries in it."""
        outputs = operation == "forward"
        return self._put(np.array([(0, probe) for probe in probes] if outputs else self.network.places(probes)))

    def _empty_carry(self, operation: Operation, count: int) -> Carry:
        if operation == "forward":
            return self._put(np.zeros(())), self._put(np.zeros((count, self.network.sizes[-1]), self.network.dtype))
        return self._put(np.zeros(())), self._layers(np.zeros_like(self._initial))

    def _compile_passes(self, operation: Operation, count: int, repeats: int, places: Places) -> None:
        del repeats
        self._passes(operation, self._empty_carry(operation, count), places, 0, count, 0)

    def _passes(
        self, operation: Operation, carry: Carry, places: Places, first: int, count: int, repeats: int
    ) -> Carry:
        data = self._current, self._x, self._y, places
        return self._programs.passes[operation](carry, *data, 0, first, repeats, count=count)

    def _theta(self) -> Array:
        return _flat(self._current)

    def _set_theta(self, theta: Array) -> None:
        self._current = self._layers(theta)

    def _close(self) -> None:
        self._current = []
        self._x = self._y = self._order = self._own_x = self._own_y = None


class JaxStepModel(JaxModel):
    """A network in JAX that makes each step by one call of a compiled function, in a Python loop."""

    def _compile_steps(self, steps: int, batch: int, rate: np.floating[Any]) -> None:
        del steps
        kept = self._theta()
        self._run_steps(0, 1, batch, rate)
        self._current = self._layers(kept)

    def _run_steps(self, first: int, steps: int, batch: int, rate: np.floating[Any]) -> None:
        theta, x, y, order, step = self._current, self._x, self._y, self._order, self._programs.step
        for at in range(first, first + steps * batch, batch):
            theta = step(theta, x, y, order, at, rate, batch=batch)
        self._current = theta

    def _compile_passes(self, operation: Operation, count: int, repeats: int, places: Places) -> None:
        del repeats
        self._passes(operation, self._empty_carry(operation, count), places, 0, count, 1)

    def _passes(
        self, operation: Operation, carry: Carry, places: Places, first: int, count: int, repeats: int
    ) -> Carry:
        theta, x, y, one_pass = self._current, self._x, self._y, self._programs.one_pass[operation]
        for repeat, probe in zip(range(repeats), cycle(places), strict=False):
            carry = one_pass(carry, theta, x, y, probe, (first + repeat * count) % (len(x) - count + 1), count=count)
        return carry

    def _places(self, operation: Operation, probes: Order) -> Places:
        return [self._put(place) for place in np.asarray(super()._places(operation, probes))]


class JaxScanModel(JaxModel):
    """A network in JAX on a device, which makes its steps in a few calls of scans of fixed lengths."""

    def __init__(self, network: Network, theta: Array, threads: int, kind: Device) -> None:
        super().__init__(network, theta, threads, kind)
        self._compiled: set[tuple[str | int, ...]] = set()  # name, length, batch size, and number of probes

    def _load(self, x: Array, y: Array, order: Order) -> None:
        super()._load(x, y, order)
        self._compiled.clear()  # these were for the shapes of the earlier data

    def _compile_steps(self, steps: int, batch: int, rate: np.floating[Any]) -> None:
        missing = {("train", length, batch) for length in _lengths(steps)} - self._compiled
        if missing:
            kept = self._theta()
            for _, length, _ in missing:
                self._run_steps(0, length, batch, rate)
            self._current = self._layers(kept)
            self._compiled |= missing

    def _run_steps(self, first: int, steps: int, batch: int, rate: np.floating[Any]) -> None:
        data, theta, at = (self._x, self._y, self._order), self._current, first
        for length in _lengths(steps):
            theta = self._programs.scan(theta, *data, at, rate, steps=length, batch=batch)
            at += length * batch
        self._current = theta

    def _compile_passes(self, operation: Operation, count: int, repeats: int, places: Places) -> None:
        missing = {(str(operation), length, count, len(places)) for length in _lengths(repeats)} - self._compiled
        for _, length, *_ in missing:
            self._passes(operation, self._empty_carry(operation, count), places, 0, count, length)
        self._compiled |= missing

    def _passes(
        self, operation: Operation, carry: Carry, places: Places, first: int, count: int, repeats: int
    ) -> Carry:
        theta, x, y, scan = self._current, self._x, self._y, self._programs.pass_scan[operation]
        starts = len(self._own_x) - count + 1
        done = 0
        for length in _lengths(repeats):
            carry = scan(carry, theta, x, y, places, done % len(places), first % starts, repeats=length, count=count)
            first += length * count
            done += length
        return carry


def _lengths(steps: int) -> list[int]:
    """Return the lengths of scans, the longest first, whose sum is the number of steps."""
    lengths = []
    for length in _SCAN_LENGTHS:
        lengths += [length] * (steps // length)
        steps %= length
    return lengths


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

    _model: type[JaxModel]

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
        super().__init__(Description.in_python(row, libraries, flags, ACTIVATIONS, LOSSES))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return self._model(network, theta, threads, self._kind)


class Loop(_Jax):
    """JAX with a compiled loop over the minibatches; see `_Jax`."""

    _model = JaxModel


class Scan(_Jax):
    """JAX with compiled scans over the minibatches, for a CUDA device; see `_Jax`."""

    _model = JaxScanModel


class Step(_Jax):
    """JAX with a compiled step, called from Python; see `_Jax`."""

    _model = JaxStepModel
