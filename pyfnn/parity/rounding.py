"""Bounds on the rounding errors of one training step: k·M of every tensor that it computes, in units of u.

u is the unit roundoff of the network's dtype. k = Σ √n over the reductions on the way to a tensor T, plus 1 for each
activation. M is the size of what is added up in T: T computed with root-sum-squares in place of sums, with the value
itself among the squares, so that the bound allows for cancellation and for nothing else. `pyfnn.parity.trajectory` and
`pyfnn.parity.battery` turn these sizes into bounds on differences.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses, oracle
from pyfnn.activations import Activation, Array
from pyfnn.network import Network

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}


@dataclass(frozen=True)
class Scale:
    """k·M of what one batch computes. outputs: (batch, m_L); gradient: (n_parameters,)."""

    outputs: Array
    loss: float
    gradient: Array


@dataclass(frozen=True)
class _ForwardScale:
    """Values of a forward pass with their k and M. k[l-1] belongs to M_Z[l-1]: (batch, m_l); M_A[l]: (batch, m_l)."""

    values: oracle.Pass
    k: list[float]
    M_Z: list[Array]
    M_A: list[Array]


def _forward_scale(network: Network, theta: Array, x: Array) -> _ForwardScale:
    values = oracle.forward(network, theta, x)
    k: list[float] = []
    M_Z: list[Array] = []
    M_A = [np.abs(x)]
    for at, (W, b) in enumerate(network.layers(theta)):
        k.append((k[-1] if k else 0.0) + math.sqrt(W.shape[0]) + 1)
        M_Z.append(np.sqrt(M_A[at] ** 2 @ W**2 + b**2 + values.Z[at] ** 2))
        M_A.append(_activation_scale(network, at, values.Z[at], values.A[at + 1], M_Z[at]))
    return _ForwardScale(values, k, M_Z, M_A)


def scale(network: Network, theta: Array, x: Array, y: Array) -> Scale:
    """Compute k·M for one batch, in float64; the recursion follows the oracle's, term by term.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x : ndarray, shape (batch, m_0)
    y : ndarray, shape (batch, m_L)

    Returns
    -------
    Scale
    """
    theta, x, T = (array.astype(np.float64) for array in (theta, x, y))
    batch, u = len(x), UNIT_ROUNDOFF[network.dtype]
    layers = network.layers(theta)
    row = losses.TABLE[network.loss]
    forward = _forward_scale(network, theta, x)
    Z, A, M_Z, M_A, k = forward.values.Z, forward.values.A, forward.M_Z, forward.M_A, forward.k[-1]
    if row.output_function and row.output_function.sums_outputs:
        k += math.sqrt(network.sizes[-1])

    M_residual = np.hypot(M_A[-1], T)  # of Y - T
    k_loss = k + math.sqrt(T.size)
    loss = k_loss * row.rounding_scale(Z[-1], A[-1], T, M_Z[-1], M_residual, u * k).sum() / batch
    M_delta, delta = M_residual / batch, row.derivative(A[-1], T) / batch
    if not network.fused:
        f = network.elementwise_activations[-1]
        M_delta, delta = _multiply_by_derivative(f, Z[-1], M_Z[-1], delta, row.factor * M_delta)

    gradient = np.zeros_like(theta)
    slots = network.layers(gradient)
    for at in reversed(range(network.n_layers)):
        W = layers[at].W
        squares = (M_A[at] ** 2).T @ delta**2 + (A[at] ** 2).T @ M_delta**2 + (A[at].T @ delta) ** 2
        slots[at].W[:] = (k + math.sqrt(batch)) * np.sqrt(squares + (network.l2 * W) ** 2)
        slots[at].b[:] = (k + math.sqrt(batch)) * np.sqrt((M_delta**2).sum(axis=0) + delta.sum(axis=0) ** 2)
        loss += network.l2 / 2 * math.sqrt(W.size) * float((W * W).sum())
        if at > 0:
            k += math.sqrt(W.shape[1])
            f, G = network.hidden_activations[at - 1], delta @ W.T
            M_G = np.sqrt(M_delta**2 @ (W**2).T + G**2)
            M_delta, delta = _multiply_by_derivative(f, Z[at - 1], M_Z[at - 1], G, M_G)
    k_out = forward.k[-1] + (math.sqrt(network.sizes[-1]) if network.fused else 0.0)
    return Scale(k_out * M_A[-1], float(loss), gradient)


def _activation_scale(network: Network, at: int, Z: Array, A: Array, M_Z: Array) -> Array:
    """Return M of A = f(Z): its own rounding, and that of Z multiplied by f'."""
    output_function = losses.TABLE[network.loss].output_function
    if output_function and at == network.n_layers - 1:
        return output_function.rounding_scale(Z, A, M_Z)
    return np.asarray(np.hypot(A, network.elementwise_activations[at].derivative(Z) * M_Z))


def _multiply_by_derivative(f: Activation, Z: Array, M_Z: Array, G: Array, M_G: Array) -> tuple[Array, Array]:
    """Return M and value of δ = f'(Z) ⊙ G. The terms of a smooth f', such as 1 − A², are of size 1, and so is its M."""
    derivative, second_derivative = f.derivative(Z), f.second_derivative(Z)
    own = np.abs(derivative) if f.row.piecewise_linear else np.maximum(np.abs(derivative), 1.0)
    M_derivative = np.hypot(own, second_derivative * M_Z)
    return np.hypot(derivative * M_G, M_derivative * G), derivative * G


def clear_of_kinks(network: Network, theta: Array, x: Array, unit: float, drift: float = 0.0) -> NDArray[np.bool_]:
    """Find the rows whose pre-activations all lie farther from a kink than rounding can move them.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x : ndarray, shape (batch, m_0)
    unit : float
        Size of an error of k·M = 1: c·u.
    drift : float
        Relative error that θ itself may carry, in units of u.

    Returns
    -------
    ndarray of bool, shape (batch,)
    """
    forward = _forward_scale(network, theta.astype(np.float64), x.astype(np.float64))
    clear = np.ones(len(x), bool)
    for f, Z, M, k in zip(network.elementwise_activations, forward.values.Z, forward.M_Z, forward.k, strict=False):
        for kink in f.kinks:
            clear &= (np.abs(Z - kink) > unit * (k + drift) * M).all(axis=1)
    return clear


def has_kinks(network: Network) -> bool:
    """Report if any activation of the network has a kink."""
    return any(f.kinks for f in network.elementwise_activations)


def norm(array: Array) -> float:
    """Return ‖·‖_F, computed in float64."""
    return float(np.linalg.norm(array.astype(np.float64).ravel()))


def tensor_norms(network: Network, flat: Array) -> dict[str, float]:
    """Return ‖·‖ of each tensor, by its name, in a vector laid out as θ."""
    tensors = [tensor for layer in network.layers(flat) for tensor in layer]
    return {name: norm(tensor) for name, tensor in zip(network.tensor_names(), tensors, strict=True)}
