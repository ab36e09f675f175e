"""The article's training, errors included: in NumPy, and the same compiled from native/article/article.c.

It differs from the mathematics in DESIGN's letters by its input layer, A_0 = f(X) with Z_0 = X, and by its gradient,
dW_l = Z_{l-1}ᵀ δ_l / m_l + λ W_l in place of A_{l-1}ᵀ δ_l + λ W_l. The δ_l and the db_l are right.
"""

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np

from pyfnn import programs
from pyfnn.manifest import Row, native_folder
from pyfnn.network import Network
from pyfnn.validation import Array, Order

FUNCTIONS = ("sigmoid", "tanh", "relu")  # in the order of the enum of article.c
_ROW = Row(  # of the library that `pyfnn.programs` builds; it is no backend, and `run` names its file
    name="article",
    language="C",
    division="plain",
    probe="cc --version",
    build="cc -std=c11 -O3 -march=native -fopenmp-simd -fPIC -shared {folder}/article.c -o {build}/article.so -lm",
    run="{build}/article.so",
    remedy="install a C compiler, for instance gcc or clang; or take --backend numpy",
    manifest=native_folder() / "article" / "backend.toml",
)

Train = Callable[[Network, Array, Array, Array, Order, float, bool], int]


def forward(network: Network, theta: Array, x: Array, normalize: bool) -> tuple[list[Array], list[Array]]:
    """Return Z_0 .. Z_L and A_0 .. A_{L-1} of the article's network, in which the inputs pass an activation too.

    Parameters
    ----------
    network : Network
        With one activation for all hidden layers, which the inputs pass first.
    theta : ndarray, shape (n_parameters,)
    x : ndarray, shape (rows, m_0)
    normalize : bool
        The article's "batch normalization": (Z_l − min) / (max − min) of each row, in every layer but the output.

    Returns
    -------
    Z, A : list of ndarray, shapes (rows, m_l)
        Z_L are the outputs.
    """
    f = network.hidden_activations[0]
    Z, A = [x], []
    for W, b in network.layers(theta):
        if normalize:
            least, most = Z[-1].min(axis=1, keepdims=True), Z[-1].max(axis=1, keepdims=True)
            Z[-1] = (Z[-1] - least) / (most - least)
        A.append(f(Z[-1]))
        Z.append(A[-1] @ W + b)
    return Z, A


def train_in_numpy(
    network: Network, theta: Array, x: Array, y: Array, order: Order, rate: float, normalize: bool
) -> int:
    """Train by the article's steps, one row each; return their number, fewer where an output was not finite.

    Parameters
    ----------
    network : Network
        With the squared error and float64.
    theta : ndarray, shape (n_parameters,)
        Changed in place.
    x, y : ndarray, shapes (rows, m_0) and (rows, 1)
    order : ndarray of int64
        Row numbers, one a step.
    rate : float
    normalize : bool
        As for `forward`.
    """
    f, layers, kept = network.hidden_activations[0], network.layers(theta), 1 - rate * network.l2
    for step, row in enumerate(order.tolist()):
        Z, _ = forward(network, theta, x[row : row + 1], normalize)
        if not np.isfinite(Z[-1]).all():
            return step
        delta = 2 * (Z[-1] - y[row])
        for at in reversed(range(network.n_layers)):
            W, b = layers[at]
            above = delta
            if at > 0:
                delta = f.derivative(Z[at]) * (above @ W.T)
            W *= kept
            W -= (rate / len(b)) * Z[at].T * above
            b -= rate * above[0]
    return len(order)


def train_in_c(network: Network, theta: Array, x: Array, y: Array, order: Order, rate: float, normalize: bool) -> int:
    """Train as `train_in_numpy`, compiled.

    Raises
    ------
    BackendUnavailable
        There is no C compiler.
    BuildFailed
        The compiler failed; the reason contains its messages.
    """
    sizes = np.array(network.sizes, np.int64)
    work = np.empty(2 * int(sizes.sum()) + 2 * int(sizes.max()))
    function = FUNCTIONS.index(network.hidden_activations[0].key)
    numbers = (function, int(normalize), rate, network.l2, len(order))
    return int(_library()(network.n_layers, sizes, *numbers, order, x, y, theta, work))


TRAIN: dict[str, Train] = {"numpy": train_in_numpy, "c": train_in_c}


@cache
def _library() -> Callable[..., int]:
    """Return the compiled function, which is built at first use."""
    function = ctypes.CDLL(str(programs.build(_ROW).folder / "article.so")).article_train
    whole, floats = (np.ctypeslib.ndpointer(dtype, flags="C_CONTIGUOUS") for dtype in (np.int64, np.float64))
    i64, f64 = ctypes.c_int64, ctypes.c_double
    function.argtypes = [i64, whole, i64, i64, f64, f64, i64, whole, floats, floats, floats, floats]
    function.restype = i64
    return function
