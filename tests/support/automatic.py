"""Losses and gradients by automatic differentiation (autograd), and random networks to compare them on. No claims."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from pyfnn.activations import TABLE
from pyfnn.losses import TABLE as LOSSES
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, clear_of_kinks, scale
from pyfnn.validation import Array
from support.requirements import require
from support.strategies import targets

try:
    import autograd
    import autograd.numpy as anp
except ImportError:
    autograd = None

BLOCK, DRAWS = 4, 10  # networks in turn, and draws of θ and data for each: a framework compiles a network once


def functions(anp: Any) -> dict[str, Any]:
    """Return each activation as a function of (Z, p): p is its parameter, or a layer's slopes."""
    return {
        "identity": lambda Z, _: Z,
        "sigmoid": lambda Z, _: 1 / (1 + anp.exp(-Z)),
        "tanh": lambda Z, _: anp.tanh(Z),
        "relu": lambda Z, _: anp.maximum(Z, 0),
        "leaky_relu": lambda Z, p: anp.where(Z > 0, Z, p * Z),
        "elu": lambda Z, p: anp.where(Z > 0, Z, p * (anp.exp(anp.minimum(Z, 0)) - 1)),
        "softplus": lambda Z, _: anp.log(1 + anp.exp(Z)),
        "hard_sigmoid": lambda Z, _: anp.maximum(anp.minimum(0.25 * Z + 0.5, 1), 0),
        "hard_tanh": lambda Z, _: anp.maximum(anp.minimum(Z, 1), -1),
        "prelu": lambda Z, p: anp.where(Z > 0, Z, p * Z),
        "maxout": lambda Z, k: anp.max(anp.reshape(Z, (Z.shape[0], Z.shape[1] // k, k)), axis=2),
    }


def risk(network: Network, anp: Any, theta: Any, x: Array, y: Array) -> Any:
    """Compute R of a batch. anp: `numpy`, or a framework's module in its place."""
    f = functions(anp)
    names = [a.name for a in network.hidden_activations] + [str(network.output_activation)]
    if network.fused:
        names[-1] = "identity"  # the loss takes Z_L
    A, at, penalty = x, 0, 0.0
    for name, m_in, m_out in zip(names, network.sizes, network.sizes[1:], strict=False):
        key, _, written = name.rstrip(")").partition("(")
        p: Any = float(written or 0)
        columns = m_out * int(p) if key == "maxout" else m_out
        W = anp.reshape(theta[at : at + m_in * columns], (m_in, columns))
        at += m_in * columns
        b = theta[at : at + columns]
        at += columns
        if key == "prelu":
            p = theta[at : at + m_out]
            at += m_out
        A = f[key](anp.dot(A, W) + b, int(p) if key == "maxout" else p)
        penalty = penalty + anp.sum(W**2)
    if network.loss == "softmax_cross_entropy":
        loss = -anp.sum(y * (A - anp.log(anp.sum(anp.exp(A), axis=1, keepdims=True))))
    elif network.loss == "sigmoid_cross_entropy":
        loss = anp.sum(anp.logaddexp(0, A) - y * A)
    else:
        loss = anp.sum((A - y) ** 2) * (1.0 if network.loss == "squared_error" else 0.5)
    return loss / len(x) + network.l2 / 2 * penalty


def loss_and_gradient(network: Network, theta: Array, x: Array, y: Array) -> tuple[float, Array]:
    """Compute R and its gradient in float64, from arguments of either dtype. Skip the test without autograd."""
    require("autograd", autograd is not None, "pip install autograd")
    theta, x, y = (array.astype(np.float64) for array in (theta, x, y))
    if network.loss == "softmax_cross_entropy":
        y = y / y.sum(axis=1, keepdims=True)  # dL/dZ = Y - T holds for targets that sum to 1
    loss, gradient = autograd.value_and_grad(lambda theta: risk(network, anp, theta, x, y))(theta)
    return float(loss), np.asarray(gradient)


@dataclass(frozen=True)
class Example:
    """A random network, its parameters and data, all rows clear of kinks, and its loss and gradient by autograd.

    Attributes
    ----------
    loss_size, sizes : float; ndarray, laid out as θ
        M of docs/rounding.md: the size of the terms that are added up in the loss, and in each entry of the gradient.
    """

    network: Network
    theta: Array
    x: Array
    y: Array
    loss: float
    gradient: Array
    loss_size: float
    sizes: Array


def examples(activation: str, loss: str, dtype: str) -> Iterator[Example]:
    """Yield random networks whose hidden layers have this activation, and every other one's outputs too, without end.

    Parameters
    ----------
    activation : str
        Key of the oracle's table. A parameter is drawn for each network, below 0 for about every third.
    loss, dtype : str
    """
    for first in count(0, BLOCK):
        networks = {seed: _network(activation, loss, dtype, seed) for seed in range(first, first + BLOCK)}
        for draw in range(DRAWS):
            for seed, network in networks.items():
                yield _example(network, 1 + seed % 5, np.random.default_rng([draw, seed]))


def _network(activation: str, loss: str, dtype: str, seed: int) -> Network:
    rng = np.random.default_rng(seed)
    row = TABLE[activation]
    parameter = rng.integers(2, 5) if activation == "maxout" else round(rng.uniform(-1, 2), 3)
    written = f"{activation}({parameter})" if row.default is not None else activation
    sizes = tuple(int(size) for size in rng.integers(1, 9, size=3 + seed % 3))
    output = written if seed % 2 and not LOSSES[loss].fuses and not row.hidden_only else None
    return Network(sizes, written, loss, float(rng.choice([0, 0.01])), output, dtype)


def _example(network: Network, rows: int, rng: np.random.Generator) -> Example:
    """Draw θ, with biases other than 0, and so many rows; draw again where too few rows are clear of kinks."""
    while True:
        theta = initialize(network, int(rng.integers(2**32)))
        theta += rng.normal(0, 0.2, theta.shape).astype(network.dtype)
        x = rng.normal(size=(20, network.sizes[0])).astype(network.dtype)
        x = x[clear_of_kinks(network, theta, x, C * UNIT_ROUNDOFF[network.dtype])][:rows]
        if len(x) == rows:
            break
    y = targets(network, rows, rng)
    if network.loss == "softmax_cross_entropy" and rng.random() < 0.5:
        y = (y == y.max(axis=1, keepdims=True)).astype(network.dtype)  # classes, as scikit-learn needs them
    bounds, (k, k_gradient) = scale(network, theta, x, y), _reductions(network, rows)
    sizes = bounds.loss / k, bounds.gradient / k_gradient
    return Example(network, theta, x, y, *loss_and_gradient(network, theta, x, y), *sizes)


def error(create: Callable[[Network, Array], Model], example: Example) -> float:
    """Return the largest error of the loss and of the gradient's tensors T, relative to ‖M‖ of `Example.sizes`.

    ‖T‖ itself may be smaller by any factor, as where y is near t.
    """
    rows, network = len(example.x), example.network
    with create(network, example.theta) as model:
        model.load(example.x, example.y, np.arange(rows))
        loss, gradient = model.loss_and_gradient(0, rows)
    found = [abs(loss - example.loss) / example.loss_size]
    M = network.tensors(example.sizes)
    for name, difference in network.tensors(gradient - example.gradient).items():
        norm = float(np.linalg.norm(difference))
        found.append(norm and norm / float(np.linalg.norm(M[name])))
    return max(found)


def _reductions(network: Network, rows: int) -> tuple[float, Array]:
    """Return k of docs/rounding.md, by which `scale` multiplies M: of the loss, and of the gradient, laid out as θ."""
    k = sum(math.sqrt(m) + 1 for m in network.sizes[:-1])
    if network.loss == "softmax_cross_entropy":
        k += math.sqrt(network.sizes[-1])
    of_loss = k + math.sqrt(rows * network.sizes[-1])
    of_gradient = np.zeros(network.n_parameters)
    tensors = network.tensors(of_gradient)
    for layer in reversed(range(1, network.n_layers + 1)):
        for letter in "WbS":
            if (name := f"{letter}_{layer}") in tensors:
                tensors[name][:] = k + math.sqrt(rows)
        k += math.sqrt(len(tensors[f"b_{layer}"]))
    return of_loss, of_gradient
