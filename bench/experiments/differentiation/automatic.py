"""The gradient of a network by automatic differentiation, with JAX. JAX is imported where it is used."""

import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from pyfnn.network import Network
from pyfnn.validation import Array

Mode = Literal["forward", "reverse"]


def gradient(network: Network, x: Array, y: Array, mode: Mode) -> Callable[[Array], Array]:
    """Return the compiled function θ -> ∂R/∂θ, in the dtype of θ; JAX compiles it at the first call.

    Forward mode takes a pass along each parameter, one after the other; reverse mode takes one pass back.
    """
    os.environ.setdefault("PJRT_NPROC", "1")  # threads of JAX's pool, which it makes once in a process
    import jax
    import jax.numpy as jnp

    from pyfnn.backends import jax_programs

    jax.config.update("jax_enable_x64", True)  # for the whole process: without it JAX has no float64
    _, risk = jax_programs.functions(network)
    X, T = jnp.asarray(x), jnp.asarray(y)

    def R(theta: Any) -> Any:
        return risk(network.layers(theta), X, T)

    def along(theta: Any, entry: Any) -> Any:
        direction = jnp.zeros_like(theta).at[entry].set(1)
        return jax.jvp(R, (theta,), (direction,))[1]

    def by_tangents(theta: Any) -> Any:
        return jax.lax.map(lambda entry: along(theta, entry), jnp.arange(network.n_parameters))

    compiled = jax.jit(jax.grad(R) if mode == "reverse" else by_tangents)
    return lambda theta: np.asarray(compiled(theta))
