"""The common part of the estimators: parameters, training and prediction, named as in scikit-learn.

`regressor` and `classifier` add their targets and scores; `plan` has the training; `saving` has the files.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from pyfnn.errors import InvalidInput, UnknownName, shown
from pyfnn.estimators import checks, saving
from pyfnn.estimators.fitted import ALIASES, Fitted
from pyfnn.estimators.models import FIRST_ROW, Models
from pyfnn.estimators.plan import METHODS, Course, Plan, Scorer, call_seed
from pyfnn.model import Model, placeholder_targets
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.onnx import export
from pyfnn.training.data import Rows
from pyfnn.training.schedules import Schedule
from pyfnn.validation import Array

Self = TypeVar("Self", bound="NetworkEstimator")
LARGEST_AUTO_BATCH = 200  # rows, as scikit-learn's
SEEDS = 2**31 - 1


def _trains_in_epochs(estimator: "NetworkEstimator") -> bool:
    if estimator.solver in METHODS:
        raise AttributeError(f"partial_fit needs a solver of minibatches, sgd or adam, not {estimator.solver}")
    return True


class NetworkEstimator(Fitted, BaseEstimator, ABC):
    """A feed-forward network with scikit-learn's interface; base of `FNNRegressor` and `FNNClassifier`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Widths of the hidden layers.
    activation : str or sequence of str
        One name for all hidden layers, or one each: a name in `pyfnn.activations.TABLE` that the backend has, with its
        parameter in parentheses where it takes one, such as ``leaky_relu(0.05)``. ``logistic`` is ``sigmoid``.
    solver : {"adam", "sgd", "lbfgs", "cg"}
        Adam or gradient descent in minibatches; or SciPy's L-BFGS-B or conjugate gradient on all rows at once.
    alpha : float
        Strength of the L2 penalty, as in scikit-learn: a step on n rows adds alpha/(2n) Σ_l ‖W_l‖² to its mean loss.
        The network's λ is therefore alpha / `batch_size`, and alpha / rows for "lbfgs" and "cg".
    batch_size : int or "auto"
        Rows of a step; "auto" is min(200, rows).
    learning_rate : {"constant", "invscaling", "adaptive"} or callable
        Schedule for "sgd": `learning_rate_init`; `learning_rate_init` / (t + 1)^`power_t` at t rows trained; or a
        fifth of the last rate, whenever the training would otherwise stop. A function of the epoch, such as a schedule
        of `pyfnn.training`, works for "adam" too, and replaces `learning_rate_init`.
    learning_rate_init : float
        Rate at the start of each `fit`; `partial_fit` continues at the rate that "adaptive" has reached.
    power_t : float
        See `learning_rate`.
    max_iter : int
        Most epochs; for "lbfgs" and "cg", most iterations.
    shuffle : bool
        Take the rows in a new random order in each epoch.
    random_state : int, RandomState instance or None
        Determines initial parameters, orders and the validation rows.
    tol : float
        An epoch improves the loss or score only if by more than that. For "lbfgs" and "cg", SciPy's `gtol`.
    verbose : bool
        Print the loss after each epoch.
    warm_start : bool
        `fit` continues from the parameters of the last call, with a new optimizer, at `learning_rate_init`. A call
        that fails leaves the estimator as it was.
    momentum : float
        Momentum of "sgd", in [0, 1).
    nesterovs_momentum : bool
    early_stopping : bool
        Set rows aside, stop when their score does not improve, and keep the parameters with the best score.
    validation_fraction : float
        Share of the rows to set aside.
    beta_1, beta_2, epsilon : float
        Parameters of Adam.
    n_iter_no_change : int or inf
        Stop after more than that many consecutive epochs without an improvement: of the training loss, or with
        `early_stopping` of the validation score.
    max_fun : int
        Most evaluations of the loss, for "lbfgs".
    backend : str
        Name of the backend that computes; `pyfnn run --list` shows those that can run here.
    dtype : {"float32", "float64"}
        Type of parameters, computation and predictions.
    threads : int
        Threads that the backend may use. With several processes, as in a grid search with `n_jobs`, leave it at 1.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Views of each layer's W, (m_{l-1}, m_l), and b, (m_l,).
    theta_ : ndarray, shape (n_parameters,)
        All parameters as one vector.
    network_ : Network
    loss_curve_ : list of float
        Mean loss of the training rows in each epoch, L2 term included: the running loss, as scikit-learn's, which is
        the mean over the epoch's steps. Where the backend has none (see `Model.offers_running_loss`), it is the loss at
        the end of the epoch.
    loss_, best_loss_ : float
        The last and the lowest of these; `best_loss_` is None with `early_stopping`.
    validation_scores_ : list of float or None
        Score of the validation rows after each epoch: R² or accuracy; None without `early_stopping`.
    best_validation_score_ : float or None
    n_iter_ : int
        Epochs of the last call.
    t_ : int
        Rows in all training steps.
    n_features_in_, n_layers_, n_outputs_ : int
    feature_names_in_ : ndarray of str
        Names of the columns of X, if it has names that are all strings.
    out_activation_ : str
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": ["array-like", str],
        "solver": [StrOptions({"adam", "sgd", *METHODS})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "backend": [str],
        "dtype": [StrOptions(set(DTYPES))],
        "threads": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        backend: str = "cpp-tuned",
        dtype: str = "float32",
        threads: int = 1,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.backend = backend
        self.dtype = dtype
        self.threads = threads

    def __init_subclass__(cls, **options: Any) -> None:
        """Append the parameters and attributes to the docstring of a class that lists none."""
        super().__init_subclass__(**options)
        _, heading, rest = str(NetworkEstimator.__doc__).partition("    Parameters\n")
        if cls.__doc__ and heading not in cls.__doc__:
            cls.__doc__ += f"\n{heading}{rest}"

    def _validate_params(self) -> None:
        """Check the parameters; raise scikit-learn's error for one that breaks its rule."""
        if not checks.parameters_hold(self):
            super()._validate_params()

    def fit(self: Self, X: Any, y: Any) -> Self:
        """Train on X and y. An interruption (Ctrl-C) ends the training with a warning, after its last whole epoch.

        Parameters
        ----------
        X : array-like or data frame, shape (rows, features)
        y : array-like, shape (rows,) or (rows, outputs)

        Returns
        -------
        self

        Raises
        ------
        ValueError
            A parameter or the data break a rule; the message names it.
        BackendUnavailable
            The backend cannot run here; the message has the reason and the remedy.
        Unsupported
            The backend lacks the activation or the loss; the message names it.
        FitDiverged
            The parameters became non-finite; the message has the likely cause.
        """
        self._validate_params()
        going_on = bool(self.warm_start) and self.__sklearn_is_fitted__()
        if not going_on:
            self.__dict__.pop("theta_", None)  # a call that fails leaves an estimator that is not fitted
        rows, validation = self._read(X, y, fresh=not going_on), None
        seed = self._seed()
        if self.early_stopping:
            rows, validation = self._split(rows, self.validation_fraction, seed)
        plan = self._plan(rows, validation, seed, going_on=going_on)
        plan.course.waited, plan.course.rate = 0, float(self.learning_rate_init)
        try:
            self._train(plan)
        except KeyboardInterrupt:
            plan.end_at_last_epoch()
            if not plan.n_iter:
                raise
            self._finish(plan)
        if plan.unfinished:
            warnings.warn(plan.unfinished, ConvergenceWarning, stacklevel=2)
        return self

    def _train_part(self, X: Any, y: Any, **options: Any) -> None:
        """Train one epoch, and continue from the last call, with the optimizer's state. options: of `_read`."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        going_on = self.__sklearn_is_fitted__()
        rows = self._read(X, y, fresh=not going_on, **options)
        plan = self._plan(rows, None, self._seed(), going_on=going_on)
        plan.epochs = 1
        if going_on and (self._state or {}).keys() == plan.optimizer.start(self.theta_).keys():
            plan.state = self._state  # that of another solver would be of no use
        plan.seed = call_seed(plan.seed, len(plan.course.losses))
        self._train(plan)

    @abstractmethod
    def _read(self, X: Any, y: Any, *, fresh: bool) -> Rows:
        """Check X and y; return inputs and targets of the network. fresh: take over what describes them."""

    @property
    @abstractmethod
    def _loss(self) -> str:
        """Name of the network's loss."""

    @abstractmethod
    def _scorer(self, targets: Array) -> Scorer:
        """Return the function that scores outputs for these targets: (rows, m_L)."""

    def _strata(self, targets: Array) -> Array | None:
        """Return the classes whose shares a split keeps, (rows,), if there are any."""
        del targets
        return None

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(SEEDS))

    def _split(self, rows: Rows, share: float, seed: int) -> tuple[Rows, Rows]:
        """Split off a share of the rows at random; return the others, and these."""
        with config_context(skip_parameter_validation=True):  # they have been validated
            parts = train_test_split(*rows, test_size=float(share), random_state=seed, stratify=self._strata(rows[1]))
        if len(parts[1]) < 2:
            raise InvalidInput(f"{share} of {len(rows[0])} rows for validation: at least two rows are needed")
        return (parts[0], parts[2]), (parts[1], parts[3])

    def _plan(self, rows: Rows, validation: Rows | None, seed: int, *, going_on: bool = False) -> Plan:
        """Return the training that the parameters ask for. going_on: from the present θ."""
        x, targets = rows
        batch_size = self._batch_size(len(x))
        network = self._network(x.shape[1], targets.shape[1], batch_size)
        if not going_on:
            theta = initialize(network, seed, "glorot")
            course = Course(float(self.learning_rate_init))
        elif network == self.network_ or replace(network, l2=0.0) == replace(self.network_, l2=0.0):
            theta, course = self.theta_, self._course.copy()  # a training that fails leaves ours as it was
        else:
            raise ValueError(f"the training cannot continue: the network was {self.network_}, and is now {network}")
        return Plan(self, network, theta, {}, rows, validation, int(self.max_iter), batch_size, seed, course)

    def _batch_size(self, rows: int) -> int:
        if self.solver in METHODS:
            return rows
        if isinstance(self.batch_size, str):
            return min(LARGEST_AUTO_BATCH, rows)
        if self.batch_size > rows:
            warnings.warn(f"batch_size = {self.batch_size}: there are only {rows} rows", stacklevel=4)
        return min(int(self.batch_size), rows)

    def _network(self, inputs: int, outputs: int, rows_of_a_step: int) -> Network:
        names, sizes = self.activation, self.hidden_layer_sizes
        widths = list(sizes) if isinstance(sizes, Iterable) else [sizes]
        activation = ALIASES.get(names, names) if isinstance(names, str) else tuple(ALIASES.get(n, n) for n in names)
        try:
            return Network(
                (inputs, *widths, outputs), activation, self._loss, float(self.alpha) / rows_of_a_step, dtype=self.dtype
            )
        except UnknownName as error:
            raise ValueError(f"activation = {shown(names)}: {error}") from None

    def _lend(self, network: Network, theta: Array, *, fresh: bool = False) -> AbstractContextManager[Model]:
        if "_models" not in vars(self):
            self._models = Models()
        return self._models.lend(self.backend, network, theta, int(self.threads), fresh=fresh)

    def _train(self, plan: Plan) -> None:
        with self._lend(plan.network, plan.theta, fresh=not plan.by_epochs) as model:
            plan.run(model)
        self._finish(plan)

    def _finish(self, plan: Plan) -> None:
        """Take over the result of a training."""
        self.network_, self.theta_, self._state, self._course = plan.network, plan.theta, plan.state, plan.course
        self.n_iter_ = plan.n_iter

    def _outputs(self, X: Any) -> Array:
        """Return the network's outputs: (rows, m_L)."""
        check_is_fitted(self)
        return self._outputs_of(checks.inputs(self, X))

    def _outputs_of(self, x: Array) -> Array:
        with self._lend(self.network_, self.theta_) as model:
            model.load(x, placeholder_targets(self.network_, len(x)), FIRST_ROW)
            return model.forward(0, len(x))

    def to_onnx(self, path: str | Path) -> None:
        """Write the fitted network as an ONNX file, by `pyfnn.onnx.export`.

        Its output is the prediction of a regressor; of a classifier, the outputs with the probabilities: one of the
        second of two classes, or one for each class or label.
        """
        check_is_fitted(self)
        export(path, self.network_, self.theta_)

    def save(self, path: str | Path) -> None:
        """Save the fitted estimator in a file without pickle: NumPy's .npz with a JSON header.

        Parameters
        ----------
        path : str or Path
            Replaced in one step where it exists.

        Raises
        ------
        NotFittedError
        InvalidInput
            A parameter, such as a RandomState or a function, cannot be saved; the message names it.
        OSError
            The file cannot be written.
        """
        check_is_fitted(self)
        saving.write(self, Path(path))

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """Load an estimator that `save` wrote. No code in the file runs.

        Raises
        ------
        InvalidInput
            The file is damaged, of another version, or not of an estimator of this class.
        OSError
            The file cannot be read.
        """
        return saving.read(cls, Path(path))


trains_in_epochs = available_if(_trains_in_epochs)
