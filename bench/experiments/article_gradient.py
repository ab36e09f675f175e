"""The error of the gradient that the original article printed: python -m bench.experiments.article_gradient.

The article that pyfnn comes from multiplies the delta of a layer by the *pre-activation* of the layer below, in place
of its activation. This experiment prints the relative error of the result, layer by layer.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.suites import load
from bench.suites.problem import make_problem
from pyfnn import oracle
from pyfnn.network import Network, initialize


def article_gradient(network: Network, theta: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Return the article's gradient, dW_l = Z_{l-1}ᵀ δ_l with Z_0 = X; its δ_l and db_l are right.

    Parameters
    ----------
    network : Network
        Has the squared error as loss and the identity as output activation.
    theta : ndarray, shape (n_parameters,)
    x, y : ndarray, shapes (batch, m_0) and (batch, m_L)

    Returns
    -------
    ndarray, shape (n_parameters,)
        In the order of θ.
    """
    run = oracle.forward(network, theta, x)
    below = [run.A[0], *run.Z[:-1]]
    delta = 2 * (run.A[-1] - y) / len(x)
    gradient = np.zeros_like(theta)
    slots, layers = network.layers(gradient), network.layers(theta)
    for at in reversed(range(network.n_layers)):
        slots[at].W[:], slots[at].b[:] = below[at].T @ delta, delta.sum(axis=0)
        if at > 0:
            delta = network.hidden_activations[at - 1].derivative(run.Z[at - 1]) * (delta @ layers[at].W.T)
    return gradient


def relative_errors(network: Network, theta: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> list[float]:
    """Return ‖article's dW_l − dW_l‖ / ‖dW_l‖ for l = 1..L."""
    right = network.layers(oracle.loss_and_gradient(network, theta, x, y)[1])
    wrong = network.layers(article_gradient(network, theta, x, y))
    return [float(np.linalg.norm(a.W - b.W) / np.linalg.norm(b.W)) for a, b in zip(wrong, right, strict=True)]


def main() -> int:
    """Print the table for wine-deep, with both initializations and after five epochs."""
    problem = make_problem(load.built_in_workloads()["wine-deep"], "float64")
    table = Table("θ", *(f"dW_{layer}" for layer in range(1, problem.network.n_layers + 1)))
    table.title = "The article's gradient on wine-deep: relative error in norm"
    starts = {
        "fan_in": problem.theta,
        "uniform01 (the article's)": initialize(problem.network, 0, "uniform01"),
        "fan_in, after 5 epochs": oracle.train(
            problem.network, problem.theta, problem.x, problem.y, problem.order[: 5 * len(problem.x)], 1, 0.005
        ),
    }
    for name, theta in starts.items():
        errors = relative_errors(problem.network, theta, problem.x, problem.y)
        table.add_row(name, *(f"{100 * error:.0f} %" for error in errors))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
