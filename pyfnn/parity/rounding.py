"""Bounds on the rounding errors of one training step: k·M of every tensor that it computes, in units of u.

u is the unit roundoff of the network's dtype. k = Σ √n over the reductions on the way to a tensor T, plus 1 for each
activation. M is the size of what is added up in T: T computed with root-sum-squares in place of sums, with the value
itself among the squares, so that the bound allows for cancellation and for nothing else. `pyfnn.parity.trajectory` and
`pyfnn.parity.battery` turn these sizes into bounds on differences.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses, oracle
from pyfnn.activations import Activation, Array
from pyfnn.network import Network

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}

C = 2.0
"""Constant of the bound: twice the largest error of a correct implementation in the calibration, rounded up.

    python -m bench.experiments.calibrate_parity --networks 1000 --seed 1
    python -m bench.experiments.calibrate_parity --networks 1000 --seed 2001

measure that error. They compute 2000 random networks per dtype with c, cpp, numpy, the oracle in the network's dtype
and the oracle with strictly sequential sums. The largest error was 0.83 u·k·‖M‖, of a loss; the
median of every kind of tensor was below 0.1. With 100 times this constant, the tests still reject every planted bug but
those of single entries.
"""


ENTRIES = 2.0
"""Factor on the bound of a single entry: the largest of many errors is larger than their root mean square."""

SHARES = {"outputs": 4.0, "pre-activations": 2.0, "gradient": 0.5}
"""Share of a tensor's root mean square in the bound of each of its entries; see `entry_scale`."""


@dataclass(frozen=True)
class Scale:
    """k·M of what one batch computes. outputs: (batch, m_L); gradient: (n_parameters,).

    kinks is `kink_allowance` in the same units, those of C·u: (n_parameters,).
    """

    outputs: Array
    loss: float
    gradient: Array
    kinks: Array


@dataclass(frozen=True)
class _ForwardScale:
    """Values of a forward pass, and their k and M. k[l-1] belongs to M_Z[l-1], of Z_l's shape; M_A[l]: (batch, m_l).

    f[l-1] is the layer's activation with its slopes, for all layers but one whose activation the loss fuses. near[l-1]
    is true where Z_l is within rounding of a kink of f_l; jumps[l-1] is the jump of f_l' there, 0 elsewhere. Both have
    the shape of Z_l.
    """

    values: oracle.Pass
    f: list[Activation]
    k: list[float]
    M_Z: list[Array]
    M_A: list[Array]
    near: list[NDArray[np.bool_]]
    jumps: list[Array]

    def k_outputs(self, network: Network) -> float:
        """Return k of the outputs."""
        function = losses.TABLE[network.loss].output_function
        return self.k[-1] + (math.sqrt(network.sizes[-1]) if function and function.sums_outputs else 0.0)


def _forward_scale(network: Network, theta: Array, x: Array, unit: float, drift: float = 0.0) -> _ForwardScale:
    """Compute the values and sizes of a forward pass in float64; for `unit` and `drift`, see `clear_of_kinks`."""
    theta, x = theta.astype(np.float64), x.astype(np.float64)
    values = oracle.forward(network, theta, x)
    scales = _ForwardScale(values, network.activations_at(theta), [], [], [np.abs(x)], [], [])
    for at, (W, b) in enumerate(network.layers(theta)):
        Z, A = values.Z[at], values.A[at + 1]
        k = (scales.k[-1] if at else 0.0) + math.sqrt(W.shape[0]) + 1
        M_Z = np.sqrt(scales.M_A[at] ** 2 @ W**2 + b**2 + Z**2)
        near, jumps = np.zeros(Z.shape, bool), np.zeros_like(Z)
        if at < len(scales.f):
            error = unit * (k + drift) * entry_scale(M_Z, SHARES["pre-activations"])
            if not (drift or W.any()):
                error[:] = 0  # Z = b in every implementation
            near = _near_a_kink(scales.f[at], Z, error)
            jumps = np.where(near, scales.f[at].jump, 0.0)
        scales.k.append(k)
        scales.M_Z.append(M_Z)
        scales.near.append(near)
        scales.jumps.append(jumps)
        scales.M_A.append(_activation_scale(network, scales.f, at, Z, A, M_Z, jumps))
    return scales


def _near_a_kink(f: Activation, Z: Array, error: Array) -> NDArray[np.bool_]:
    """Return where Z is within `error` of a kink.

    Where the error is 0, as in a layer whose inputs and biases are all 0, every implementation has the same Z: it is
    clear of the kink even if it lies on it.
    """
    if f.pieces > 1:
        return _near_a_tie(f.pieces, Z, error)
    near = np.zeros(Z.shape, bool)
    for kink in f.kinks:
        near |= ~(np.abs(Z - kink) > error) & (error != 0)  # written so that NaN is near
    return near


def _near_a_tie(pieces: int, Z: Array, error: Array) -> NDArray[np.bool_]:
    """Return the pieces that rounding may make the largest of their unit, or no longer the largest."""
    by_unit, errors = (array.reshape(len(Z), -1, pieces) for array in (Z, error))
    first = by_unit.argmax(axis=2)[:, :, None]
    largest = np.arange(pieces) == first
    allowed = errors + np.take_along_axis(errors, first, axis=2)
    near = ~(by_unit.max(axis=2, keepdims=True) - by_unit > allowed) & (allowed != 0) & ~largest
    return np.asarray((near | largest & near.any(axis=2, keepdims=True)).reshape(Z.shape))


def scale(network: Network, theta: Array, x: Array, y: Array, drift: float = 0.0) -> Scale:
    """Compute k·M for one batch, in float64; the recursion follows the oracle's, term by term.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x : ndarray, shape (batch, m_0)
    y : ndarray, shape (batch, m_L)
    drift : float
        Relative error that θ itself may carry, in units of u; it widens the neighbourhood of a kink.

    Returns
    -------
    Scale
    """
    theta, T = theta.astype(np.float64), y.astype(np.float64)
    batch, u = len(x), UNIT_ROUNDOFF[network.dtype]
    forward = _forward_scale(network, theta, x, C * u, drift)
    A, M_A = forward.values.A, forward.M_A
    gradient = np.zeros_like(theta)
    slots, slopes = network.layers(gradient), network.slopes(gradient)
    backward = list(_backward_scale(network, theta, forward, T))
    for layer in backward:
        at, W, delta, M_delta = layer.at, layer.W, layer.delta, layer.M_delta
        # The last term is of second order: it counts where A and δ are both 0 but for their rounding.
        second_order = (u * layer.k * M_delta) ** 2
        squares = (M_A[at] ** 2).T @ (delta**2 + second_order) + (A[at] ** 2).T @ M_delta**2 + (A[at].T @ delta) ** 2
        slots[at].W[:] = (layer.k + math.sqrt(batch)) * np.sqrt(squares + (network.l2 * W) ** 2)
        slots[at].b[:] = (layer.k + math.sqrt(batch)) * np.sqrt((M_delta**2).sum(axis=0) + delta.sum(axis=0) ** 2)
        if slopes[at].size:
            slopes[at][:] = (layer.k + math.sqrt(batch)) * _slope_scale(forward, layer, u)
    k_out = forward.k[-1] + (math.sqrt(network.sizes[-1]) if network.fused else 0.0)
    kinks = _kink_changes(network, forward, backward, C * u) / (C * u)
    return Scale(k_out * M_A[-1], _loss_scale(network, theta, forward, T), gradient, kinks)


def loss_scale(network: Network, theta: Array, x: Array, y: Array) -> float:
    """Return the loss of `scale`, without a backward pass, which takes most of its time."""
    theta = theta.astype(np.float64)
    forward = _forward_scale(network, theta, x, C * UNIT_ROUNDOFF[network.dtype])
    return _loss_scale(network, theta, forward, y.astype(np.float64))


def _loss_scale(network: Network, theta: Array, forward: _ForwardScale, T: Array) -> float:
    Z, A, k = forward.values.Z[-1], forward.values.A[-1], forward.k_outputs(network)
    M_residual = np.hypot(forward.M_A[-1], T)  # of Y - T
    relative = UNIT_ROUNDOFF[network.dtype] * k
    terms = losses.TABLE[network.loss].rounding_scale(Z, A, T, forward.M_Z[-1], M_residual, relative)
    loss = (k + math.sqrt(T.size)) * terms.sum() / len(T)
    for W, _ in reversed(network.layers(theta)):
        loss += network.l2 / 2 * math.sqrt(W.size) * float((W * W).sum())
    return float(loss)


def _slope_scale(forward: _ForwardScale, layer: "_LayerScale", u: float) -> Array:
    """Return M of the gradient of a layer's slopes, dS = Σ_n G ⊙ N with N = ∂f/∂s: (m_l,)."""
    assert layer.G is not None
    assert layer.M_G is not None
    N, M_N = _slope_factor(forward, layer.at)
    terms = M_N**2 * (layer.G**2 + (u * layer.k * layer.M_G) ** 2) + N**2 * layer.M_G**2
    return np.asarray(np.sqrt(terms.sum(axis=0) + (layer.G * N).sum(axis=0) ** 2))


def _slope_factor(forward: _ForwardScale, at: int) -> tuple[Array, Array]:
    """Return N = ∂f/∂s of a layer with slopes, and its M: that of Z where rounding of Z changes N."""
    of_Z = forward.f[at].row.slope_derivative
    assert of_Z is not None
    N = of_Z(forward.values.Z[at])
    return N, np.where((N != 0) | forward.near[at], forward.M_Z[at], 0.0)


@dataclass(frozen=True)
class _LayerScale:
    """δ of layer `at`, (batch, columns), with its k and M; G = dL/dA and M_G, (batch, m_at+1); W of the layer.

    G is None where the loss fuses the layer's activation.
    """

    at: int
    W: Array
    k: float
    delta: Array
    M_delta: Array
    G: Array | None
    M_G: Array | None


def _backward_scale(network: Network, theta: Array, forward: _ForwardScale, T: Array) -> Iterator[_LayerScale]:
    """Yield δ and its size for each layer, from the last to the first."""
    batch, layers, row = len(T), network.layers(theta), losses.TABLE[network.loss]
    u = UNIT_ROUNDOFF[network.dtype]
    Z, A, M_Z, M_A, k = forward.values.Z, forward.values.A, forward.M_Z, forward.M_A, forward.k_outputs(network)
    G, M_G = row.derivative(A[-1], T) / batch, np.hypot(M_A[-1], T) / batch
    if network.fused:
        yield _LayerScale(network.n_layers - 1, layers[-1].W, k, delta := G, M_delta := M_G, None, None)
    else:
        M_G = row.factor * M_G
        M_delta, delta = _multiply_by_derivative(forward.f[-1], Z[-1], M_Z[-1], G, M_G, u * k)
        yield _LayerScale(network.n_layers - 1, layers[-1].W, k, delta, M_delta, G, M_G)
    for at in reversed(range(network.n_layers - 1)):
        W = layers[at + 1].W
        k += math.sqrt(W.shape[1])
        G = delta @ W.T
        M_G = np.sqrt(M_delta**2 @ (W**2).T + G**2)
        M_delta, delta = _multiply_by_derivative(forward.f[at], Z[at], M_Z[at], G, M_G, u * k)
        yield _LayerScale(at, layers[at].W, k, delta, M_delta, G, M_G)


def _activation_scale(
    network: Network, f: list[Activation], at: int, Z: Array, A: Array, M_Z: Array, jumps: Array
) -> Array:
    """Return M of A = f(Z): its own rounding, and that of Z multiplied by f', by the larger one near a kink."""
    output_function = losses.TABLE[network.loss].output_function
    if output_function and at == network.n_layers - 1:
        return output_function.rounding_scale(Z, A, M_Z)
    steepest = np.abs(f[at].derivative(Z)) + jumps
    return np.asarray(np.hypot(A, f[at].largest_piece(steepest * M_Z)))


def _multiply_by_derivative(
    f: Activation, Z: Array, M_Z: Array, G: Array, M_G: Array, relative: float
) -> tuple[Array, Array]:
    """Return M and value of δ = f'(Z) ⊙ G; relative: u·k.

    The terms of a smooth f', such as 1 − A², are of size 1, and so is its M. Below a saturated layer f' and G may both
    be 0 in one implementation and not in another: with A = 1, 1 − A² is 0, but 1/cosh²(Z) is not. Then the errors of
    first order, f' M_G and M_f' G, vanish, and the product of both errors, u k M_f' M_G in units of u k, remains.
    """
    G, M_G = f.of_each_piece(G), f.of_each_piece(M_G)
    derivative, second_derivative = f.derivative(Z), f.second_derivative(Z)
    own = np.abs(derivative) if f.row.piecewise_linear else np.maximum(np.abs(derivative), 1.0)
    M_derivative = np.hypot(own, second_derivative * M_Z)
    return np.hypot(derivative * M_G, M_derivative * (np.abs(G) + relative * M_G)), derivative * G


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
    clear = np.ones(len(x), bool)
    for jumps in _forward_scale(network, theta, x, unit, drift).jumps:
        clear &= ~jumps.any(axis=1)
    return clear


def kink_allowance(
    network: Network, theta: Array, x: Array, y: Array, unit: float, drift: float = 0.0
) -> NDArray[np.float64]:
    """Compute the largest change of each gradient entry by the rows that are not clear of kinks.

    Two correct implementations may take different sides of a kink where rounding can move Z across it. There f' differs
    by at most its jump: that changes δ by jump·|G|, where G = dL/dA. The change passes to the gradients and to the
    layers below as δ does, with absolute values in place of signs.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (batch, m_0) and (batch, m_L)
    unit, drift : float
        As for `clear_of_kinks`.

    Returns
    -------
    ndarray of float64, shape (n_parameters,)
        0 where all rows are clear of kinks.
    """
    forward = _forward_scale(network, theta, x, unit, drift)
    backward = list(_backward_scale(network, theta.astype(np.float64), forward, y.astype(np.float64)))
    return _kink_changes(network, forward, backward, unit)


def _kink_changes(
    network: Network, forward: _ForwardScale, backward: list[_LayerScale], unit: float
) -> NDArray[np.float64]:
    """Return the result of `kink_allowance`."""
    allowance = np.zeros(network.n_parameters)
    if not any(jumps.any() for jumps in forward.jumps):
        return allowance
    slots, slopes = network.layers(allowance), network.slopes(allowance)
    change_G: Array = np.zeros_like(backward[0].delta)  # largest change of G in a layer, and of δ
    for layer in backward:
        at, change = layer.at, change_G
        if layer.G is not None and layer.M_G is not None:
            f, jumps = forward.f[at], forward.jumps[at]
            largest_G = f.of_each_piece(np.abs(layer.G) + unit * layer.k * layer.M_G + change_G)
            change = np.abs(f.derivative(forward.values.Z[at])) * f.of_each_piece(change_G) + jumps * largest_G
        if slopes[at].size:
            N, M_N = _slope_factor(forward, at)
            slopes[at][:] = ((np.abs(N) + unit * forward.k[at] * M_N) * change_G).sum(axis=0)
        largest_A = np.abs(forward.values.A[at]) + unit * (forward.k[at - 1] if at else 0.0) * forward.M_A[at]
        slots[at].W[:] = largest_A.T @ change
        slots[at].b[:] = change.sum(axis=0)
        change_G = change @ np.abs(layer.W).T
    return allowance


def has_kinks(network: Network) -> bool:
    """Report if any activation of the network has a kink."""
    return any(f.kinks for f in network.elementwise_activations)


def entry_scale(size: Array, share: float) -> Array:
    """Return the k·M that bounds each single entry of a tensor, in units of c·u.

    The entry's own sum bounds its error where each entry is summed on its own. Strassen's product first adds up blocks
    of its factors, so its error in an entry is as large as in other entries (Bini and Lotti 1980: fast products are
    stable in norm only). Therefore a share of the tensor's root mean square is added.

    Parameters
    ----------
    size : ndarray
        k·M of each entry.
    share : float
        One of `SHARES`.
    """
    return np.asarray(ENTRIES * np.hypot(size, share * norm(size) / math.sqrt(size.size)))


def entry_scales(network: Network, flat: Array) -> Array:
    """Return `entry_scale` of each tensor of a gradient's k·M: (n_parameters,)."""
    scales = np.zeros_like(flat)
    for to, size in zip(network.tensors(scales).values(), network.tensors(flat).values(), strict=True):
        to[:] = entry_scale(size, SHARES["gradient"])
    return scales


def norm(array: Array) -> float:
    """Return ‖·‖_F, computed in float64."""
    flat = array.astype(np.float64).ravel()
    return math.sqrt(flat.dot(flat))


def tensor_norms(network: Network, flat: Array) -> dict[str, float]:
    """Return ‖·‖ of each tensor, by its name, in a vector laid out as θ."""
    return {name: norm(tensor) for name, tensor in network.tensors(flat).items()}
