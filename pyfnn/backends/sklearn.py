"""The network in scikit-learn: `MLPRegressor` and `MLPClassifier` with `partial_fit` and `predict`.

The private method `_backprop` computes the gradient, for which there is no public function. The only mathematics here
are the factors between scikit-learn's losses and pyfnn's, and what scikit-learn leaves out of a cross-entropy.
"""

from itertools import cycle
from typing import Any

import numpy as np
import sklearn
from scipy.special import xlogy
from sklearn.neural_network import MLPClassifier, MLPRegressor

from pyfnn.backend import Backend, Description
from pyfnn.backends.numpy import BlasThreads
from pyfnn.errors import BackendUnavailable, Unsupported
from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order

_ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}

# c: pyfnn's loss over the loss whose gradient scikit-learn uses: half the squared error, summed over outputs, although
# its `loss_` attribute reports the mean. Gradient descent on c times a loss is descent on the loss at c times the rate.
_LOSSES = {
    "squared_error": 2.0,
    "half_squared_error": 1.0,
    "softmax_cross_entropy": 1.0,
    "sigmoid_cross_entropy": 1.0,
}
_FEWEST_CLASSES = 3  # of a softmax: for two classes, scikit-learn has a single output, of a sigmoid
_NEAR_ONE = 0.75  # probability above which 1 - p has lost precision that the loss needs
_ESTIMATORS = 8  # kept at most: a schedule has a learning rate for each epoch
_OLDEST = (1, 7)  # first version whose `_backprop` takes sample weights


def _clipped_loss(p: Array) -> float:
    """Return the part of the mean cross-entropy that scikit-learn leaves out.

    It computes the loss with probabilities of at least the dtype's eps; the gradient has the true ones.

    Parameters
    ----------
    p : ndarray, shape (rows,)
        Probability of each row's class.
    """
    eps = np.finfo(p.dtype).eps
    return float(np.log(eps / p[p < eps], dtype=np.float64).sum()) / len(p)


def _rounded_loss(A: Array, W: Array, b: Array, P: Array, T: Array) -> float:
    """Return the part of the mean sigmoid cross-entropy that scikit-learn leaves out.

    It computes the loss with p in [eps, 1 - eps] and with 1 - p, which has lost precision where p is near 1; the
    gradient has neither fault. The logits there give the exact loss.

    Parameters
    ----------
    A, W, b : ndarray, shapes (rows, m_{L-1}), (m_{L-1}, m_L) and (m_L,)
        What the last layer computes with.
    P, T : ndarray, shape (rows, m_L)
        Probabilities p, and targets.
    """
    eps = np.finfo(P.dtype).eps
    inexact = (eps > P) | (P > _NEAR_ONE)
    if not inexact.any():
        return 0.0
    z, t, p = (array[inexact].astype(np.float64) for array in (A @ W + b, T, np.clip(P, eps, 1 - eps)))
    exact = (np.maximum(z, 0) - t * z) + np.log1p(np.exp(-np.abs(z)))  # no sum is rounded to the size of z
    return float((exact + xlogy(t, p) + xlogy(1 - t, 1 - p)).sum()) / len(P)


class _WithShares(MLPClassifier):  # type: ignore[misc]
    """An `MLPClassifier` whose targets, (rows, m_L), may be any numbers in [0, 1]: `partial_fit` takes them unchecked.

    Its loss and its gradient allow for them; its encoder of labels does not.
    """

    def _validate_input(self, X: Array, y: Array, incremental: bool, reset: bool) -> tuple[Array, Array]:
        if not incremental or not hasattr(self, "coefs_"):
            return super()._validate_input(X, y, incremental, reset)  # type: ignore[no-any-return]
        return X, y


class SklearnModel(Model):
    """A network with one estimator for each minibatch size and rate; all estimators share the arrays of parameters.

    `partial_fit` on the gathered rows trains one epoch of minibatches in the rows' order, without shuffling.
    """

    def __init__(self, network: Network, theta: Array, threads: int, blas: BlasThreads) -> None:
        super().__init__(network, theta, threads)
        self._activation = _only_activation(network)
        self._classifies = network.fused
        self._c = _LOSSES[network.loss]
        self._blas, self._threads_allowed = blas, threads
        with blas.limited(threads):
            self.threads = min(threads, blas.threads())
        layers = network.layers(theta.copy())
        self._weights, self._biases = [W for W, _ in layers], [b for _, b in layers]
        self._kind: type[Any] = MLPRegressor  # of the estimators, by the loss and the loaded targets
        self._estimators: dict[tuple[type[Any], int, float], Any] = {}

    def _load(self, x: Array, y: Array, order: Order) -> None:
        one_each = self.network.loss == "softmax_cross_entropy"
        whole = bool(((y == 0) | (y == 1)).all())
        if one_each and not (whole and (y.sum(axis=1) == 1).all()):
            raise Unsupported(
                "sklearn classifies: for softmax_cross_entropy each row of y must be 0 but for a single 1"
            )
        self._x, self._order = x.copy(), order.copy()
        labels = self._classifies and whole
        self._kind = MLPRegressor if not self._classifies else MLPClassifier if labels else _WithShares
        self._y = y.astype(bool) if labels else y.copy()  # as `_backprop` takes them
        # As `partial_fit` takes them: the second class of two, several labels of a row, or one class of several.
        self._targets = y.argmax(axis=1) if one_each else y.astype(np.int64) if labels else y.copy()
        if y.shape[1] == 1 and self._kind is not _WithShares:
            self._targets = self._targets[:, 0]

    def _estimator(self, batch: int, learning_rate: float = 1.0) -> Any:
        """Return the estimator that makes pyfnn's steps on `batch` rows.

        scikit-learn's l2 term is alpha/(2·rows) Σ ‖W‖², which determines alpha.
        """
        key = (self._kind, batch, learning_rate)
        if key not in self._estimators:
            while len(self._estimators) >= _ESTIMATORS:
                del self._estimators[next(iter(self._estimators))]
            estimator = self._kind(
                hidden_layer_sizes=self.network.sizes[1:-1],
                activation=self._activation,
                solver="sgd",
                alpha=self.network.l2 * batch / self._c,
                batch_size=batch,
                learning_rate_init=learning_rate * self._c,
                shuffle=False,
                momentum=0.0,
                nesterovs_momentum=False,
                random_state=0,
            )
            classes = {"classes": np.arange(max(self.network.sizes[-1], 2))} if self._classifies else {}
            rows = np.resize(np.arange(len(self._x)), batch)
            targets = self._targets[rows]
            if self._kind is _WithShares:
                targets = (targets > 0.5).astype(np.int64)
                targets = targets[:, 0] if targets.shape[1] == 1 else targets
            estimator.partial_fit(self._x[rows], targets, **classes)  # creates the arrays of parameters
            estimator.coefs_, estimator.intercepts_ = self._weights, self._biases
            self._estimators[key] = estimator
        return self._estimators[key]

    def _forward(self, first: int, count: int) -> Array:
        with self._blas.limited(self._threads_allowed), np.errstate(all="ignore"):
            return np.array(self._outputs(self._estimator(count), self._x[first : first + count]))

    def _outputs(self, estimator: Any, X: Array) -> Any:
        if not self._classifies:
            return estimator.predict(X).reshape(len(X), -1)
        outputs = estimator.predict_proba(X)
        return outputs[:, 1:] if self.network.sizes[-1] == 1 else outputs  # of two classes, the second is ours

    def _loss_and_gradient(self, first: int, count: int) -> tuple[float, Array]:
        rows = slice(first, first + count)
        with self._blas.limited(self._threads_allowed), np.errstate(all="ignore"):
            loss, dW, db = self._gradient(self._estimator(count), self._x[rows], self._y[rows])
        return loss, np.concatenate([np.ravel(tensor) for layer in zip(dW, db, strict=True) for tensor in layer])

    def _gradient(self, estimator: Any, X: Array, T: Array) -> tuple[float, list[Array], list[Array]]:
        L, c, m_L = self.network.n_layers, self._c, self.network.sizes[-1]
        dW, db = [np.empty_like(W) for W in self._weights], [np.empty_like(b) for b in self._biases]
        A: list[Any] = [X] + [None] * L
        loss, dW, db = estimator._backprop(X, T, None, A, [None] * L, dW, db)
        if c != 1:
            for tensor in (*dW, *db):
                tensor *= c
        if self.network.loss == "softmax_cross_entropy":
            return float(loss) + _clipped_loss(A[L][T]), dW, db
        if self._classifies:
            return float(loss) + _rounded_loss(A[L - 1], self._weights[-1], self._biases[-1], A[L], T), dW, db
        # scikit-learn's squared loss is a mean over outputs, unlike its l2 term.
        decay = (m_L - 1) * self.network.l2 / 2 * sum(float(np.vdot(W, W)) for W in self._weights)
        return c * m_L * float(loss) - decay, dW, db

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        batch_size = min(batch_size, count)
        short = count % batch_size
        whole = self._estimator(batch_size, learning_rate)
        rest = self._estimator(short, learning_rate) if short else None
        order = self._order[first : first + count]
        with self._blas.limited(self._threads_allowed), np.errstate(all="ignore"):
            start = self._read_clocks()
            try:
                self._fit(whole, order[: count - short])
                if rest is not None:
                    self._fit(rest, order[count - short :])
            except ValueError:
                if all(np.isfinite(tensor).all() for tensor in (*self._weights, *self._biases)):
                    raise  # non-finite parameters raise it too; `Model.train` reports those as `Diverged`
            return self._seconds_since(start)

    def _fit(self, estimator: Any, rows: Order) -> None:
        estimator.partial_fit(self._x.take(rows, axis=0), self._targets.take(rows, axis=0))

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        estimator, checksum, starts = self._estimator(count), 0.0, len(self._x) - count + 1
        places = cycle(self._places(operation, probes))
        with self._blas.limited(self._threads_allowed), np.errstate(all="ignore"):
            start = self._read_clocks()
            for repeat, (letter, layer, entry) in zip(range(repeats), places, strict=False):
                at = (first + repeat * count) % starts
                X = self._x[at : at + count]
                if operation == "forward":
                    checksum += self._outputs(estimator, X).item(entry)
                else:
                    loss, *gradient = self._gradient(estimator, X, self._y[at : at + count])
                    checksum += loss + gradient[letter][layer].item(entry)
            return self._seconds_since(start), checksum

    def _places(self, operation: Operation, probes: Order) -> list[tuple[int, int, int]]:
        """Return 0 for dW or 1 for db, the layer and the entry of each probe; (0, 0, probe) for outputs."""
        if operation == "forward":
            return [(0, 0, probe) for probe in probes.tolist()]
        return [(tensor % 2, tensor // 2, entry) for tensor, entry in self.network.places(probes)]

    def _theta(self) -> Array:
        layers = zip(self._weights, self._biases, strict=True)
        return np.concatenate([np.ravel(tensor) for layer in layers for tensor in layer])

    def _set_theta(self, theta: Array) -> None:
        for W, b, given in zip(self._weights, self._biases, self.network.layers(theta), strict=True):
            W[:], b[:] = given

    def _close(self) -> None:
        self._estimators.clear()
        self._weights, self._biases = [], []
        self._x = self._y = self._targets = self._order = np.empty(0)


def _only_activation(network: Network) -> str:
    """Return scikit-learn's name for the activation; raise `Unsupported` where it cannot express the network."""
    names = dict.fromkeys(f.name for f in network.hidden_activations)
    if len(names) > 1:
        raise Unsupported(f"sklearn has one activation for all hidden layers: {', '.join(names)} were asked for")
    if not network.fused and network.output_activation != "identity":
        raise Unsupported(f"sklearn has no output activation {network.output_activation!r} for {network.loss}")
    if network.loss == "softmax_cross_entropy" and network.sizes[-1] < _FEWEST_CLASSES:
        raise Unsupported(f"sklearn has softmax for {_FEWEST_CLASSES} classes or more: {network.sizes[-1]} asked for")
    return _ACTIVATIONS[next(iter(names), "identity")]


class Partial(Backend):
    """Multi-layer perceptrons of scikit-learn.

    Parameters
    ----------
    row : Row
        The backend's row in backend.toml.

    Raises
    ------
    BackendUnavailable
        scikit-learn is older than 1.7.
    """

    def __init__(self, row: Row) -> None:
        if tuple(map(int, sklearn.__version__.split(".")[:2])) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise BackendUnavailable(f"scikit-learn {sklearn.__version__} is older than {oldest}", row.remedy)
        self._blas = BlasThreads()
        libraries = {"scikit-learn": sklearn.__version__, "NumPy": np.__version__}
        super().__init__(Description.in_python(row, libraries, self._blas.describe(), _ACTIVATIONS, _LOSSES))

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        return SklearnModel(network, theta, threads, self._blas)
