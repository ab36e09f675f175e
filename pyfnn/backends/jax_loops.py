"""Calls of the compiled functions of `jax_programs`: a loop of any length, scans of fixed lengths, or one step a call.

On the CPU, `lax.fori_loop` iterates over the minibatches, with a number of steps that is known only at the call. XLA
compiles `lax.scan` to the same loop, equally fast; but the fori_loop is compiled once for any number of steps, and its
results do not depend on the division of the steps into calls. On a CUDA device such a loop asks the host after each
step if there is another, so there the backend uses a scan.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import jax
import jax.numpy as jnp

from pyfnn.backends.jax_programs import Carry, Programs, Theta
from pyfnn.model import Operation
from pyfnn.validation import Array

Data = tuple[jax.Array, jax.Array, jax.Array]  # x, y, order
Passed = tuple[Theta, jax.Array, jax.Array]  # theta, x, y
Places = Any  # probes as (n, 2) on the device; of `Step` n times (2,), an argument of each call

_SCAN_LENGTHS = (1024, 256, 64, 16, 4, 1)  # numbers of steps for which a scan is compiled


class Loop:
    """Any number of steps or passes in one call of a compiled loop. A call with 0 steps compiles it.

    A call consumes the θ or the carry that it is given.

    Parameters
    ----------
    programs : Programs
        Of one network, or of many; these make no passes.
    """

    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    def forget(self) -> None:
        """Forget what was compiled for the shapes of earlier data."""

    def compile_steps(self, theta: Theta, data: Data, steps: int, batch: int, rate: Any) -> Theta:
        """Compile what `run_steps` of that many steps needs, and return the same θ."""
        del steps  # the compiled loop takes any number
        return self._programs.train(theta, *data, 0, rate, 0, batch=batch)

    def run_steps(self, theta: Theta, data: Data, first: int, steps: int, batch: int, rate: Any) -> Theta:
        """Make steps over order[first : first + steps·batch], and return θ."""
        return self._programs.train(theta, *data, first, rate, steps, batch=batch)

    def places(self, places: Array, put: Callable[[Array], jax.Array]) -> Places:
        """Return places of probes, (n, 2), on the device."""
        return put(places)

    def compile_passes(
        self, operation: Operation, carry: Carry, data: Passed, places: Places, count: int, repeats: int
    ) -> None:
        """Compile what `run_passes` of that many passes needs."""
        del repeats
        self._programs.passes[operation](carry, *data, places, 0, 0, 0, count=count)

    def run_passes(
        self, operation: Operation, carry: Carry, data: Passed, places: Places, first: int, count: int, repeats: int
    ) -> Carry:
        """Make passes over `count` rows each, the first from row `first`."""
        return self._programs.passes[operation](carry, *data, places, 0, first, repeats, count=count)


class Step(Loop):
    """Each step or pass is one call of a compiled function, in a Python loop."""

    def compile_steps(self, theta: Theta, data: Data, steps: int, batch: int, rate: Any) -> Theta:
        """Make one step of a copy of θ."""
        del steps
        self.run_steps(_copy(theta), data, 0, 1, batch, rate)
        return theta

    def run_steps(self, theta: Theta, data: Data, first: int, steps: int, batch: int, rate: Any) -> Theta:
        """Make steps over order[first : first + steps·batch], and return θ."""
        step = self._programs.step
        for at in range(first, first + steps * batch, batch):
            theta = step(theta, *data, at, rate, batch=batch)
        return theta

    def places(self, places: Array, put: Callable[[Array], jax.Array]) -> Places:
        """Return each place on the device, as an array of its own."""
        return [put(place) for place in places]

    def compile_passes(
        self, operation: Operation, carry: Carry, data: Passed, places: Places, count: int, repeats: int
    ) -> None:
        """Make one pass."""
        del repeats
        self.run_passes(operation, carry, data, places, 0, count, 1)

    def run_passes(
        self, operation: Operation, carry: Carry, data: Passed, places: Places, first: int, count: int, repeats: int
    ) -> Carry:
        """Make passes over `count` rows each, the first from row `first`."""
        one_pass, starts = self._programs.one_pass[operation], len(data[1]) - count + 1
        for repeat, probe in zip(range(repeats), cycle(places), strict=False):
            carry = one_pass(carry, *data, probe, (first + repeat * count) % starts, count=count)
        return carry


class Scan(Loop):
    """A few calls of scans of fixed lengths, for a device."""

    def __init__(self, programs: Programs) -> None:
        super().__init__(programs)
        self._compiled: set[tuple[str | int, ...]] = set()  # name, length, batch size, and number of probes

    def forget(self) -> None:
        """Forget what was compiled for the shapes of earlier data."""
        self._compiled.clear()

    def compile_steps(self, theta: Theta, data: Data, steps: int, batch: int, rate: Any) -> Theta:
        """Make the steps of each length that is new with a copy of θ."""
        missing = {("train", length, batch) for length in lengths(steps)} - self._compiled
        for _, length, _ in missing:
            self.run_steps(_copy(theta), data, 0, length, batch, rate)
        self._compiled |= missing
        return theta

    def run_steps(self, theta: Theta, data: Data, first: int, steps: int, batch: int, rate: Any) -> Theta:
        """Make steps over order[first : first + steps·batch], and return θ."""
        for length in lengths(steps):
            theta = self._programs.scan(theta, *data, first, rate, steps=length, batch=batch)
            first += length * batch
        return theta

    def compile_passes(
        self, operation: Operation, carry: Carry, data: Passed, places: Places, count: int, repeats: int
    ) -> None:
        """Make the passes of each length that is new."""
        missing = {(str(operation), length, count, len(places)) for length in lengths(repeats)} - self._compiled
        for _, length, *_ in missing:
            carry = self.run_passes(operation, carry, data, places, 0, count, length)
        self._compiled |= missing

    def run_passes(
        self, operation: Operation, carry: Carry, data: Passed, places: Places, first: int, count: int, repeats: int
    ) -> Carry:
        """Make passes over `count` rows each, the first from row `first`."""
        scan, starts, done = self._programs.pass_scan[operation], len(data[1]) - count + 1, 0
        for length in lengths(repeats):
            carry = scan(carry, *data, places, done % len(places), first % starts, repeats=length, count=count)
            first += length * count
            done += length
        return carry


def lengths(steps: int) -> list[int]:
    """Return the lengths of scans, the longest first, whose sum is the number of steps."""
    found = []
    for length in _SCAN_LENGTHS:
        found += [length] * (steps // length)
        steps %= length
    return found


def _copy(theta: Theta) -> Theta:
    copied: Theta = jax.tree.map(jnp.copy, theta)
    return copied
