"""The arms: scikit-learn's estimators, pyfnn's, and a training in PyTorch, each as its documentation recommends.

All train the same network, in float32, by Adam with the same defaults. An arm runs a whole training from its data on;
a watch may look at the network after each epoch.
"""

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from bench.experiments.estimators.problems import HIDDEN, Predict, Problem
from pyfnn.estimators import FNNClassifier, FNNRegressor

DEFAULT_RATE, DEFAULT_BATCH = 0.001, 200  # scikit-learn's, and pyfnn's
RATES, BATCHES = (DEFAULT_RATE, 0.003, 0.01, 0.03), (10, 25, 50, 100, DEFAULT_BATCH)
VARIANTS = ("fused", "foreach", "for-loop")  # of PyTorch's Adam

Watch = Callable[[Predict], bool]
"""Called after each epoch with the network so far; the training stops where it returns True."""


@dataclass(frozen=True)
class Setting:
    """Learning rate, rows of a step, and the variant of PyTorch's Adam."""

    rate: float
    batch: int
    variant: str = ""

    def __str__(self) -> str:
        return ", ".join([f"rate {self.rate:g}", f"batch {self.batch}", *[self.variant] * bool(self.variant)])


class Arm(ABC):
    """A library that trains. `train` is what is timed: from the data to the trained network."""

    name: ClassVar[str]

    @abstractmethod
    def train(self, problem: Problem, setting: Setting, epochs: int, seed: int, watch: Watch | None = None) -> Predict:
        """Train for some epochs, and return the predictions. The same arguments give the same bits.

        Parameters
        ----------
        problem : Problem
        setting : Setting
        epochs, seed : int
        watch : callable, optional
        """


class ScikitLearnStyle(Arm):
    """A training by two estimators with scikit-learn's interface."""

    kinds: ClassVar[tuple[type[Any], type[Any]]]  # of regressions and of classifications
    watched: ClassVar[tuple[type[Any], type[Any]]]  # the same, which call `watch` after each epoch

    def train(self, problem: Problem, setting: Setting, epochs: int, seed: int, watch: Watch | None = None) -> Predict:
        """Make an estimator, and fit it without a rule to stop."""
        kinds = self.watched if watch else self.kinds
        estimator = kinds[problem.classes > 0](
            hidden_layer_sizes=HIDDEN,
            batch_size=min(setting.batch, len(problem.train.x)),
            learning_rate_init=setting.rate,
            max_iter=epochs,
            n_iter_no_change=np.inf,
            random_state=seed,
        )
        if watch:
            estimator.watch = watch
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(problem.train.x, problem.train.y)
        return predictions(estimator)


def predictions(estimator: Any) -> Predict:
    """Return the function that gives an estimator's outputs."""
    return getattr(estimator, "predict_proba", estimator.predict)  # type: ignore[no-any-return]


class _WatchedByScikitLearn:
    """An estimator of scikit-learn that calls `watch` where it checks after each epoch whether to stop."""

    watch: Watch

    def _update_no_improvement_count(self, *arguments: Any) -> None:
        super()._update_no_improvement_count(*arguments)  # type: ignore[misc]
        if self.watch(predictions(self)):
            self.n_iter_no_change = -1


class _MLPRegressor(_WatchedByScikitLearn, MLPRegressor): ...  # type: ignore[misc]


class _MLPClassifier(_WatchedByScikitLearn, MLPClassifier): ...  # type: ignore[misc]


class ScikitLearn(ScikitLearnStyle):
    """`MLPRegressor` and `MLPClassifier`."""

    name = "scikit-learn"
    kinds = MLPRegressor, MLPClassifier
    watched = _MLPRegressor, _MLPClassifier


class _WatchedByPyfnn:
    """An estimator of pyfnn that calls `watch` after each epoch."""

    watch: Watch

    def _train(self, plan: Any) -> None:
        after = plan.after

        def watched(loss: float, outputs: Any, theta: Any) -> bool:
            stops = after(loss, outputs, theta)
            look = copy.copy(self)
            vars(look).pop("_models", None)  # the model in training is not for predictions
            vars(look).update(network_=plan.network, theta_=theta)
            return bool(self.watch(predictions(look)) or stops)

        plan.after = watched
        super()._train(plan)  # type: ignore[misc]


class _FNNRegressor(_WatchedByPyfnn, FNNRegressor): ...


class _FNNClassifier(_WatchedByPyfnn, FNNClassifier): ...


class Pyfnn(ScikitLearnStyle):
    """`FNNRegressor` and `FNNClassifier`, on cpp-tuned."""

    name = "pyfnn"
    kinds = FNNRegressor, FNNClassifier
    watched = _FNNRegressor, _FNNClassifier


class PyTorch(Arm):
    """A training loop over tensors: a permutation an epoch, slices of it as minibatches, no DataLoader."""

    name = "PyTorch"

    def train(self, problem: Problem, setting: Setting, epochs: int, seed: int, watch: Watch | None = None) -> Predict:
        """Make the module and its optimizer, and train."""
        import torch
        from torch import nn

        torch.manual_seed(seed)
        x, y = torch.from_numpy(problem.train.x), torch.from_numpy(problem.train.y)
        widths = (x.shape[1], *HIDDEN, problem.classes or 1)
        layers: list[nn.Module] = []
        for m_in, m_out in pairwise(widths):
            layers += [nn.Linear(m_in, m_out), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        loss: nn.Module = nn.CrossEntropyLoss() if problem.classes else nn.MSELoss()
        y = y if problem.classes else y[:, None]
        flags = {"fused": setting.variant == "fused", "foreach": setting.variant == "foreach"}
        optimizer = torch.optim.Adam(model.parameters(), lr=setting.rate, **flags)

        def predict(rows: Any) -> Any:
            with torch.inference_mode():
                outputs = model(torch.from_numpy(rows))
                return (outputs.softmax(1) if problem.classes else outputs[:, 0]).numpy()

        for _ in range(epochs):
            order = torch.randperm(len(x))
            for inputs, targets in zip(x[order].split(setting.batch), y[order].split(setting.batch), strict=True):
                optimizer.zero_grad()
                loss(model(inputs), targets).backward()
                optimizer.step()
            if watch and watch(predict):
                break
        return predict


ARMS: dict[str, Arm] = {arm.name: arm for arm in (ScikitLearn(), Pyfnn(), PyTorch())}
