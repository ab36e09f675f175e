"""Networks for automatic differentiation, written without pyfnn's own mathematics. No claims."""

from typing import Any

import numpy as np

from pyfnn.network import Network
from pyfnn.validation import Array


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
    """Compute R and its gradient by autograd, in float64."""
    import autograd
    import autograd.numpy as anp

    wide = theta.astype(np.float64)
    gradient = autograd.grad(lambda at: risk(network, anp, at, x, y))(wide)
    return float(risk(network, np, wide, x, y)), np.asarray(gradient)
