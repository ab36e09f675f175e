"""Networks in JAX: their functions, the derivatives by `jax.grad`, and the loops over steps and passes, compiled.

Many networks of one shape are one program: `jax.vmap` of one network's step. `jax_loops` calls the programs.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pyfnn.model import Operation
from pyfnn.network import Network

Theta = list[tuple[jax.Array, ...]]  # (W_l, b_l) per layer, or (W_l, b_l, slopes); of many networks, K of each
Carry = tuple[jax.Array, Any]  # checksum so far, and all results of the last pass, so that XLA removes no computation


def _leaky_relu(Z: Any, slope: Any) -> Any:
    """Return Z where Z > 0, else slope ⊙ Z. `jax.nn.leaky_relu` has the derivative 1 at 0."""
    return jnp.where(Z > 0, Z, slope * Z)


def _maxout(Z: Any, pieces: int) -> Any:
    """Return each unit's largest piece. The derivative of `max` would be divided among equal ones."""
    by_unit = Z.reshape(*Z.shape[:-1], -1, pieces)
    first_largest = jax.nn.one_hot(by_unit.argmax(axis=-1), pieces, dtype=bool)
    return jnp.where(first_largest, by_unit, 0).sum(axis=-1)


ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {  # (Z, parameter or a layer's slopes) -> A
    "identity": lambda Z, _: Z,
    "sigmoid": lambda Z, _: jax.nn.sigmoid(Z),
    "tanh": lambda Z, _: jnp.tanh(Z),
    "relu": lambda Z, _: jax.nn.relu(Z),
    "leaky_relu": _leaky_relu,
    "elu": jax.nn.elu,
    "softplus": lambda Z, _: jax.nn.softplus(Z),
    # jax.nn.hard_sigmoid has other bounds, and jax.nn.hard_tanh the derivative 1 at -1 and 1.
    "hard_sigmoid": lambda Z, _: jnp.where(jnp.abs(Z) < 2, Z / 4, jnp.sign(Z) / 2) + 0.5,
    "hard_tanh": lambda Z, _: jnp.where(jnp.abs(Z) < 1, Z, jnp.sign(Z)),
    "prelu": _leaky_relu,
    "maxout": _maxout,
}

LOSSES: dict[str, Callable[[Any, Any], Any]] = {  # (Y, T), or (Z_L, T) where fused -> loss, summed over rows
    "squared_error": lambda Y, T: ((Y - T) ** 2).sum(),
    "half_squared_error": lambda Y, T: ((Y - T) ** 2).sum() / 2,
    "softmax_cross_entropy": lambda Z, T: -(T * jax.nn.log_softmax(Z)).sum(),
    "sigmoid_cross_entropy": lambda Z, T: (jax.nn.softplus(Z) - Z * T).sum(),
}
_FUSED: dict[str, Callable[[Any], Any]] = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}


class Programs(NamedTuple):
    """Compiled functions of a network; JAX compiles each once for every shape. x: (rows, m_0), y: (rows, m_L).

    A call of `step` or `one_pass` makes one step or pass. `train` and `passes` take the number of steps or passes as an
    argument; for `scan` and `pass_scan` it is a constant of the compiled function. For many networks only `step`,
    `train` and `scan` are used: order is (K, n), and rate holds two arrays, each member's rate and λ.
    """

    outputs: Callable[..., jax.Array]  # (theta, X)
    loss_and_gradient: Callable[..., tuple[jax.Array, Theta]]  # (theta, X, T)
    step: Callable[..., Theta]  # (theta, x, y, order, at, rate, batch=)
    train: Callable[..., Theta]  # (theta, x, y, order, first, rate, steps, batch=)
    scan: Callable[..., Theta]  # as train; steps= is static too
    one_pass: dict[Operation, Callable[..., Carry]]  # (carry, theta, x, y, probe, at, count=)
    passes: dict[Operation, Callable[..., Carry]]  # (carry, theta, x, y, probes, done, first, repeats, count=)
    pass_scan: dict[Operation, Callable[..., Carry]]  # as passes; repeats= is static too


@lru_cache(maxsize=16)  # a process loads the networks of the battery and of the workload repeatedly
def programs(network: Network, *, many: bool = False) -> Programs:
    """Return the functions of a network, or of many networks of its shape. λ of many is an argument, not a constant."""
    last, risk = functions(network)

    def outputs(theta: Theta, X: Any) -> Any:
        Y = last(theta, X)
        return _FUSED[str(network.output_activation)](Y) if network.fused else Y

    step = _many_steps(risk) if many else partial(_step, risk)
    train = partial(_train, step)
    bodies = _pass_bodies(outputs, risk)
    loops = {name: partial(_repeated, body) for name, body in bodies.items()}
    return Programs(
        outputs=jax.jit(outputs),
        loss_and_gradient=jax.jit(jax.value_and_grad(risk)),
        step=jax.jit(step, static_argnames="batch", donate_argnums=0),
        train=jax.jit(train, static_argnames="batch", donate_argnums=0),
        scan=jax.jit(train, static_argnames=("batch", "steps"), donate_argnums=0),
        one_pass={name: jax.jit(body, static_argnames="count", donate_argnums=0) for name, body in bodies.items()},
        passes={name: jax.jit(loop, static_argnames="count", donate_argnums=0) for name, loop in loops.items()},
        pass_scan={
            name: jax.jit(loop, static_argnames=("count", "repeats"), donate_argnums=0) for name, loop in loops.items()
        },
    )


def functions(network: Network) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return two functions of a network: its last layer (theta, X), and its mean loss (theta, X, T, λ), l2 included.

    The last layer is Y, or Z_L where the loss fuses its output activation. Without the argument, λ is the network's.
    """
    f = [(ACTIVATIONS[a.key], a.parameter) for a in network.elementwise_activations]
    f += [(ACTIVATIONS["identity"], 0.0)] * network.fused
    loss = LOSSES[network.loss]

    def last(theta: Theta, X: Any) -> Any:
        A = X
        for (W, b, *slopes), (f_l, parameter) in zip(theta, f, strict=True):
            A = f_l(A @ W + b, *(slopes or [parameter]))
        return A

    def risk(theta: Theta, X: Any, T: Any, l2: Any = network.l2) -> Any:
        R = loss(last(theta, X), T) / len(X)
        absent = isinstance(l2, float) and l2 == 0
        return R if absent else R + l2 / 2 * sum((W * W).sum() for W, *_ in theta)

    return last, risk


def _step(
    risk: Callable[..., Any], theta: Theta, x: Any, y: Any, order: Any, at: Any, rate: Any, *l2: Any, batch: int
) -> Theta:
    """Make one network's step. order: (n,)."""
    rows = lax.dynamic_slice_in_dim(order, at, batch)
    X, T = (a.at[rows].get(mode="promise_in_bounds") for a in (x, y))
    dtheta = jax.grad(risk)(theta, X, T, *l2)
    stepped: Theta = jax.tree.map(lambda parameter, gradient: parameter - rate * gradient, theta, dtheta)
    return stepped


def _many_steps(risk: Callable[..., Any]) -> Callable[..., Theta]:
    """Return the function `step` of `Programs` for many networks: each makes its own step over rows of its own order.

    On one CPU core, 256 small networks took half as long so as one after the other in `jax.lax.map` with a batch of 1,
    and 1.2 times as long with a batch of 32.
    """

    def step(theta: Theta, x: Any, y: Any, orders: Any, at: Any, rates: Any, *, batch: int) -> Theta:
        one = partial(_step, risk, batch=batch)
        stepped: Theta = jax.vmap(one, (0, None, None, 0, None, 0, 0))(theta, x, y, orders, at, *rates)
        return stepped

    return step


def _train(
    step: Callable[..., Theta],
    theta: Theta, x: Any, y: Any, order: Any, first: Any, rate: Any, steps: Any, *, batch: int,
) -> Theta:  # fmt: skip
    """Make `steps` steps of the function `step`."""

    def body(s: Any, theta: Theta) -> Theta:
        return step(theta, x, y, order, first + s * batch, rate, batch=batch)

    stepped: Theta = lax.fori_loop(0, steps, body, theta)
    return stepped


def _probed(probe: Any, tensors: list[Any]) -> Any:
    """Return one entry of the gradient. probe: (2,), number of a tensor and entry in it.

    With `lax.switch` a pass over a small network takes 1.4 times as long.
    """
    tensor, entry = probe
    value: Any = 0.0
    for number, each in enumerate(tensors):
        here = each.ravel()[jnp.clip(entry, 0, each.size - 1)].astype(float)
        value += jnp.where(tensor == number, here, 0.0)
    return value


def _pass_bodies(outputs: Callable[..., Any], risk: Callable[..., Any]) -> dict[Operation, Callable[..., Carry]]:
    """Return the functions `one_pass` of `Programs`, not compiled yet."""

    def forward(carry: Carry, theta: Theta, x: Any, y: Any, probe: Any, at: Any, *, count: int) -> Carry:
        del y
        Y = outputs(theta, lax.dynamic_slice_in_dim(x, at, count))
        return carry[0] + Y.ravel()[probe[1]].astype(float), Y

    def gradient(carry: Carry, theta: Theta, x: Any, y: Any, probe: Any, at: Any, *, count: int) -> Carry:
        R, dtheta = jax.value_and_grad(risk)(theta, *(lax.dynamic_slice_in_dim(a, at, count) for a in (x, y)))
        return carry[0] + R.astype(float) + _probed(probe, jax.tree.leaves(dtheta)), dtheta

    return {"forward": forward, "gradient": gradient}


def _repeated(
    one: Callable[..., Carry], carry: Carry, theta: Theta, x: Any, y: Any, probes: Any, done: Any, first: Any,
    repeats: Any, *, count: int,
) -> Carry:  # fmt: skip
    """Make `repeats` passes of the function `one`, each `count` rows after the one before."""

    def body(r: Any, carry: Carry) -> Carry:
        at = (first + r * count) % (len(x) - count + 1)
        return one(carry, theta, x, y, probes[(done + r) % len(probes)], at, count=count)

    last_carry: Carry = lax.fori_loop(0, repeats, body, carry)
    return last_carry
