"""The gradient of a network by symbolic differentiation, with SymPy. SymPy is imported where it is used."""

from typing import Any

import numpy as np

from pyfnn.network import Network
from pyfnn.validation import Array


class Gradient:
    """∂R/∂θ as one expression for each parameter, of tanh layers with softmax and cross-entropy.

    Parameters
    ----------
    network : Network
    rows : int
        Rows of the batch, each of which has its own symbols.
    modules : str
        Functions for the evaluation: "numpy" computes in the dtype of the arguments, "mpmath" to its precision.
    """

    def __init__(self, network: Network, rows: int, modules: str = "numpy") -> None:
        import sympy

        sizes = network.n_parameters, rows * network.sizes[0], rows * network.sizes[-1]
        theta, x, y = (_symbols(name, size) for name, size in zip("θxy", sizes, strict=True))
        risk = _risk(network, theta, x.reshape(rows, -1), y.reshape(rows, -1))
        self._entries = [sympy.diff(risk, parameter) for parameter in theta]
        self._evaluate = sympy.lambdify([[*theta], [*x], [*y]], self._entries, modules=modules, cse=True)

    def __call__(self, theta: Array, x: Array, y: Array) -> Array:
        """Return the gradient, (n_parameters,), in the dtype of θ."""
        return np.array(self._evaluate([*theta], [*x.ravel()], [*y.ravel()]))

    def operations(self) -> tuple[int, int]:
        """Return the number of operations in all expressions written out, and with equal parts computed once."""
        import sympy

        parts, entries = sympy.cse(self._entries)
        once = [*(part for _, part in parts), *entries]
        return _operations(self._entries), _operations(once)


def _symbols(name: str, size: int) -> Array:
    import sympy

    return np.array(sympy.symbols(f"{name}:{size}", real=True), object)


def derive_anew(network: Network, rows: int) -> Gradient:
    """Return the gradient, derived without what SymPy keeps of earlier derivations."""
    from sympy.core.cache import clear_cache

    clear_cache()
    return Gradient(network, rows)


def _operations(expressions: list[Any]) -> int:
    import sympy

    return sum(int(sympy.count_ops(expression)) for expression in expressions)


def _risk(network: Network, theta: Array, x: Array, y: Array) -> Any:
    """Return R in symbols. NumPy's product of arrays of symbols is a sum of products of symbols."""
    import sympy

    tanh, exp = (np.vectorize(function, otypes=[object]) for function in (sympy.tanh, sympy.exp))
    layers = network.layers(theta)
    A = x
    for W, b in layers[:-1]:
        A = tanh(A @ W + b)
    Z = A @ layers[-1].W + layers[-1].b
    losses = [sympy.log(exp(z).sum()) - (t * z).sum() for z, t in zip(Z, y, strict=True)]  # Σ t = 1
    penalty = sum((W**2).sum() for W, _ in layers)
    return sum(losses) / len(x) + sympy.Rational(network.l2) / 2 * penalty
