"""How large the rounding errors of one training step may be: k·M of everything it computes, in units of u.

u is the unit roundoff of the network's dtype; k = Σ √n over the reductions passed on the way to a tensor T, and 1 for
each activation; M is the size of what was added up: T computed with root-sum-squares in place of sums, the value itself
among the squares, so that cancellation is allowed for and nothing else is. What is made of these bounds is
`pyfnn.parity`'s business.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses, oracle
from pyfnn.activations import Activation, Array, parse
from pyfnn.network import Network

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True)
class Scale:
    """k·M of what one batch computes. outputs: (batch, m_L); gradient: (n_parameters,)."""

    outputs: Array
    loss: float
    gradient: Array


@dataclass(frozen=True)
class _Forward:
    """k and M of a forward pass, and its values. Z[l-1]: (batch, m_l), k[l-1] is its k; A[l]: (batch, m_l)."""

    run: oracle.Pass
    k: list[float]
    Z: list[Array]
    A: list[Array]


def _forward(network: Network, theta: Array, x: Array) -> _Forward:
    run = oracle.forward(network, theta, x)
    k: list[float] = []
    M_Z: list[Array] = []
    M_A = [np.abs(x)]
    for at, (W, b) in enumerate(network.layers(theta)):
        k.append((k[-1] if k else 0.0) + math.sqrt(W.shape[0]) + 1)
        M_Z.append(np.sqrt(M_A[at] ** 2 @ W**2 + b**2 + run.Z[at] ** 2))
        M_A.append(_through_activation(network, at, run.Z[at], run.A[at + 1], M_Z[at]))
    return _Forward(run, k, M_Z, M_A)


def scale(network: Network, theta: Array, x: Array, y: Array) -> Scale:
    """k·M for one batch, in float64; the recursion is that of the oracle, term by term.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x : ndarray, shape (batch, m_0)
    y : ndarray, shape (batch, m_L)
    """
    theta, x, T = (array.astype(np.float64) for array in (theta, x, y))
    batch, u = len(x), UNIT_ROUNDOFF[network.dtype]
    layers = network.layers(theta)
    up = _forward(network, theta, x)
    run, M_Z, M_A, k = up.run, up.Z, up.A, up.k[-1]
    if network.loss == "softmax_cross_entropy":
        k += math.sqrt(network.sizes[-1])

    residual = np.hypot(M_A[-1], T)  # of Y - T
    slope = losses.TABLE[network.loss].slope(run.A[-1], T)
    k_loss = k + math.sqrt(T.size)
    loss = k_loss * _loss_size(network, run, T, M_Z[-1], residual, u * k).sum() / batch
    M_delta, delta = residual / batch, slope / batch
    if not network.fused:
        factor = 2.0 if network.loss == "squared_error" else 1.0
        M_delta, delta = _through_slope(str(network.output_activation), run.Z[-1], M_Z[-1], delta, factor * M_delta)

    gradient = np.zeros_like(theta)
    slots = network.layers(gradient)
    for at in reversed(range(network.n_layers)):
        W = layers[at].W
        squares = (M_A[at] ** 2).T @ delta**2 + (run.A[at] ** 2).T @ M_delta**2 + (run.A[at].T @ delta) ** 2
        slots[at].W[:] = (k + math.sqrt(batch)) * np.sqrt(squares + (network.l2 * W) ** 2)
        slots[at].b[:] = (k + math.sqrt(batch)) * np.sqrt((M_delta**2).sum(axis=0) + delta.sum(axis=0) ** 2)
        loss += network.l2 / 2 * math.sqrt(W.size) * float((W * W).sum())
        if at > 0:
            k += math.sqrt(W.shape[1])
            name, G = network.hidden_activations[at - 1].name, delta @ W.T
            M_G = np.sqrt(M_delta**2 @ (W**2).T + G**2)
            M_delta, delta = _through_slope(name, run.Z[at - 1], M_Z[at - 1], G, M_G)
    k_out = up.k[-1] + (math.sqrt(network.sizes[-1]) if network.fused else 0.0)
    return Scale(k_out * M_A[-1], float(loss), gradient)


def _through_activation(network: Network, at: int, Z: Array, A: Array, M_Z: Array) -> Array:
    """M of A = f(Z): its own rounding, and that of Z through f'."""
    if at < network.n_layers - 1:
        return np.asarray(np.hypot(A, network.hidden_activations[at].derivative(Z) * M_Z))
    if network.output_activation == "softmax":
        spread = np.sqrt((A**2 * M_Z**2).sum(axis=1, keepdims=True))
        return np.asarray(A * np.sqrt(1 + M_Z**2 + spread**2))
    return np.asarray(np.hypot(A, parse(str(network.output_activation)).derivative(Z) * M_Z))


def _through_slope(name: str, Z: Array, M_Z: Array, G: Array, M_G: Array) -> tuple[Array, Array]:
    """M and value of δ = f'(Z) ⊙ G. A smooth f' is rounded on the scale of its terms, which is 1 (as in 1 − A²)."""
    f = parse(name)
    slope, curvature = f.derivative(Z), f.curvature(Z)
    own = np.abs(slope) if f.row.piecewise_linear else np.maximum(np.abs(slope), 1.0)
    M_slope = np.hypot(own, curvature * M_Z)
    return np.hypot(slope * M_G, M_slope * G), slope * G


def _loss_size(network: Network, run: oracle.Pass, T: Array, M_Z: Array, residual: Array, relative: float) -> Array:
    """M of each row's loss: (batch,)."""
    Z, Y = run.Z[-1], run.A[-1]
    if network.loss == "softmax_cross_entropy":
        top = Z.max(axis=1, keepdims=True)
        log_sum = np.abs(top) + np.log(np.exp(Z - top).sum(axis=1, keepdims=True))
        return np.asarray((T * (M_Z + np.abs(Z) + log_sum) + Y * M_Z).sum(axis=1))
    if network.loss == "sigmoid_cross_entropy":
        return np.asarray((np.abs(Y - T) * M_Z + np.abs(Z) + 1).sum(axis=1))
    terms = 2 * np.abs(Y - T) * residual + relative * residual**2  # of d², to second order: d may be 0
    return np.asarray((terms if network.loss == "squared_error" else terms / 2).sum(axis=1))


def clear_of_kinks(network: Network, theta: Array, x: Array, unit: float, drift: float = 0.0) -> NDArray[np.bool_]:
    """Which rows keep every pre-activation farther from a kink than rounding can move it: (batch,).

    Parameters
    ----------
    unit : float
        The size of an error of k·M = 1: c·u.
    drift : float
        Relative error that θ itself may carry, in units of u.
    """
    up = _forward(network, theta.astype(np.float64), x.astype(np.float64))
    clear = np.ones(len(x), bool)
    for f, Z, M, k in zip(elementwise(network), up.run.Z, up.Z, up.k, strict=False):
        for kink in f.kinks:
            clear &= (np.abs(Z - kink) > unit * (k + drift) * M).all(axis=1)
    return clear


def has_kinks(network: Network) -> bool:
    """Whether any of its activations has a kink."""
    return any(f.kinks for f in elementwise(network))


def elementwise(network: Network) -> list[Activation]:
    """f_1 .. f_L; without the last where the loss fuses it."""
    return [*network.hidden_activations, *([] if network.fused else [parse(str(network.output_activation))])]


def norm(array: Array) -> float:
    """‖·‖_F, in float64."""
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def tensor_norms(network: Network, flat: Array) -> dict[str, float]:
    """‖·‖ of each tensor in a vector laid out as θ, by the tensor's name."""
    tensors = [tensor for layer in network.layers(flat) for tensor in layer]
    return {name: norm(tensor) for name, tensor in zip(network.tensor_names(), tensors, strict=True)}
