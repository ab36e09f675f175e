"""NumPy reference implementation against which parity checks every backend, in any float dtype up to longdouble.

The oracle computes in the dtype of the given θ. It changes nothing in place, keeps no state and is never timed.

θ may be a stack, (stack, n_parameters): each network of it computes on the same rows. Results then have one more
axis, the first.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyfnn import losses
from pyfnn.activations import Array, parse
from pyfnn.network import Network


@dataclass(frozen=True)
class Pass:
    """Values of a forward pass. Z[l-1]: (batch, m_l), or (batch, k m_l) where a unit has k pieces; A[l]: (batch, m_l).

    A[0] are the inputs, A[L] the outputs. With a stack all but A[0] have one more axis, the first: (stack, batch, m_l).
    """

    Z: list[Array]
    A: list[Array]


def forward(network: Network, theta: Array, x: Array) -> Pass:
    """Compute Z_l = A_{l-1} W_l + b_l and A_l = f_l(Z_l), layer by layer.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,) or (stack, n_parameters)
        Parameters; their dtype is that of the whole computation.
    x : ndarray, shape (batch, m_0)

    Returns
    -------
    Pass
    """
    Z: list[Array] = []
    A: list[Array] = [x.astype(theta.dtype)]
    f = network.activations_at(theta)
    for W, b in network.layers(theta):
        Z.append(_product(A[-1], W) + b[..., None, :])
        if len(Z) < network.n_layers:
            A.append(f[len(Z) - 1](Z[-1]))
        else:
            A.append(_outputs(network, Z[-1]))
    return Pass(Z, A)


def _product(A: Array, B: Array) -> Array:
    """Return A B without the warning of invalid values, which the BLAS may cause by numbers that are no part of A or B.

    A vector times the transpose of a matrix (10, 5) of float32 does so, at random, on CPUs with AVX-512: of a row with
    five numbers OpenBLAS 0.3.31 (kernel/x86_64/sgemv_t_microk_skylakex_template.c, sgemv_kernel_t_5) adds lanes that it
    never wrote. https://github.com/numpy/numpy/issues/24067 had another case. Of finite numbers nothing is lost: their
    product is invalid only after an overflow, which has a warning of its own.
    """
    with np.errstate(invalid="ignore"):
        product: Array = A @ B
    return product


def _transposed(A: Array) -> Array:
    transposed: Array = A.swapaxes(-1, -2)
    return transposed


def _outputs(network: Network, Z: Array) -> Array:
    fused = losses.TABLE[network.loss].output_function
    return fused(Z) if fused else parse(str(network.output_activation))(Z)


def loss(network: Network, theta: Array, x: Array, y: Array) -> Any:
    """Compute the regularized mean loss R of a batch.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,) or (stack, n_parameters)
    x : ndarray, shape (batch, m_0)
    y : ndarray, shape (batch, m_L)

    Returns
    -------
    scalar of theta's dtype, or ndarray, shape (stack,)
        (1/B) Σ_n L(y_n, t_n) + (λ/2) Σ_l ‖W_l‖²_F.
    """
    return _loss(network, theta, forward(network, theta, x), y)


def _loss(network: Network, theta: Array, run: Pass, y: Array) -> Any:
    T, lam = y.astype(theta.dtype), theta.dtype.type(network.l2)
    loss = losses.TABLE[network.loss].value(run.Z[-1], run.A[-1], T).sum(axis=-1) / len(y)
    for W, _ in network.layers(theta):
        loss = loss + lam / 2 * (W * W).sum(axis=(-2, -1))
    return loss


def loss_and_gradient(network: Network, theta: Array, x: Array, y: Array) -> tuple[Any, Array]:
    """Compute the regularized mean loss R of a batch and ∂R/∂θ, by backpropagation.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,) or (stack, n_parameters)
    x : ndarray, shape (batch, m_0)
    y : ndarray, shape (batch, m_L)

    Returns
    -------
    loss : scalar of theta's dtype, or ndarray, shape (stack,)
        (1/B) Σ_n L(y_n, t_n) + (λ/2) Σ_l ‖W_l‖²_F.
    gradient : ndarray, shape of theta
        ∂R/∂θ, laid out as θ.
    """
    row = losses.TABLE[network.loss]
    batch, T, lam = x.shape[0], y.astype(theta.dtype), theta.dtype.type(network.l2)
    run = forward(network, theta, x)
    loss = _loss(network, theta, run, y)
    delta = row.derivative(run.A[-1], T) / batch
    if not network.fused:
        delta = delta * parse(str(network.output_activation)).derivative(run.Z[-1])

    gradient = np.zeros_like(theta)
    parameters, slots = network.layers(theta), network.layers(gradient)
    functions, slopes = network.activations_at(theta), network.slopes(gradient)
    for at in reversed(range(network.n_layers)):
        W = parameters[at].W
        slots[at].W[:] = _product(_transposed(run.A[at]), delta) + lam * W
        slots[at].b[:] = delta.sum(axis=-2)
        if at > 0:
            f, Z, G = functions[at - 1], run.Z[at - 1], _product(delta, _transposed(W))  # G = ∂R/∂A_{l-1}
            if f.row.slope_derivative is not None:
                slopes[at - 1][:] = (G * f.row.slope_derivative(Z)).sum(axis=-2)
            delta = f.derivative(Z) * f.of_each_piece(G)
    return loss, gradient


def train(
    network: Network,
    theta: Array,
    x: Array,
    y: Array,
    order: NDArray[np.int64],
    batch_size: int,
    learning_rate: float,
) -> Array:
    """Train by minibatch gradient descent over the rows that `order` names; the last batch may be shorter.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,) or (stack, n_parameters)
        Initial parameters; unchanged.
    x, y : ndarray, shapes (rows, m_0) and (rows, m_L)
    order : ndarray of int64, shape (n,)
        Row numbers, in the order of use.
    batch_size : int
    learning_rate : float

    Returns
    -------
    ndarray, shape of theta
        θ after the last batch.
    """
    rate = theta.dtype.type(learning_rate)
    for at in range(0, len(order), batch_size):
        rows = order[at : at + batch_size]
        theta = theta - rate * loss_and_gradient(network, theta, x[rows], y[rows])[1]
    return theta
