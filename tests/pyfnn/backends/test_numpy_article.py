"""Claims about `numpy-article`: the article's structure, with its gradient corrected."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from support.strategies import targets
from support.topics import UNTIMED, passes

from pyfnn import parity, registry
from pyfnn.backends import article
from pyfnn.errors import Unsupported
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.battery import Trial
from pyfnn.validation import Array

SOURCE = Path(article.__file__)


def battery(activation: str, dtype: str, batch: int) -> list[Trial]:
    rng = np.random.default_rng(1)
    network = Network((5, 7, 4, 3), (activation, "sigmoid"), "squared_error", l2=0.01, dtype=dtype)
    x = rng.normal(size=(60, 5)).astype(dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, 60, rng), batch)


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "identity"])
def test_it_agrees_with_the_oracle(activation: str, dtype: str, batch: int) -> None:
    backend = registry.load_backend("numpy-article")
    evidence = parity.examine(backend.create, battery(activation, dtype, batch))
    assert evidence.passed, evidence.worst


def test_it_passes_the_conformance_kit(capsys: pytest.CaptureFixture[str]) -> None:
    assert passes(UNTIMED, "--backends", "numpy-article"), capsys.readouterr().out


def with_change(old: str, new: str) -> ModuleType:
    """Return the module with a text of its source replaced."""
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    module = ModuleType("changed_article")
    sys.modules[module.__name__] = module
    exec(compile(text.replace(old, new), str(SOURCE), "exec"), module.__dict__)
    return module


BUGS = {
    "the article's gradient: dW from the pre-activations of the layer below": (
        "np.outer(self.activation(x, layer - 1), delta)",
        "np.outer(self.pre_activation(x, layer - 1) if layer > 1 else x, delta)",
        "dW_2",
    ),
    "no activation mask": (
        "            delta = delta * self._derivative[layer - 1](self.pre_activation(x, layer))\n",
        "",
        "dW_1",
    ),
    "a missing 1/B": ("delta = self._c / rows *", "delta = self._c *", "dW_1"),
    "only the last sample": ("dW += np.outer", "dW[:] = np.outer", "dW_1"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_rejected(bug: str) -> None:
    old, new, tensor = BUGS[bug]
    backend = with_change(old, new).Article(registry.find("numpy-article"))
    evidence = parity.examine(backend.create, battery("tanh", "float32", 4))
    assert tensor in {failure.what for failure in evidence.failures}


def test_the_forward_pass_is_repeated_for_each_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network((2, 3, 3, 1), "tanh", "squared_error", dtype="float64")
    calls: list[int] = []
    real = article._Article.pre_activation

    def counted(network: article._Article, x: Array, layer: int) -> Array:
        calls.append(layer)
        return real(network, x, layer)

    monkeypatch.setattr(article._Article, "pre_activation", counted)
    with registry.load_backend("numpy-article").create(network, initialize(network, 0)) as model:
        model.load(np.ones((1, 2)), np.ones((1, 1)), np.zeros(1, np.int64))
        model.train(0, 1, 1, 0.1)
    outputs = [3, 2, 1]
    assert calls == [*outputs, *outputs, 2, 1, 2, 1, 1, 1]  # Z_l and A_{l-1} of each layer, from the inputs up


def test_a_loss_that_the_article_lacks_is_refused_by_name() -> None:
    network = Network((2, 2), (), "softmax_cross_entropy")
    with pytest.raises(Unsupported, match="numpy-article has no loss 'softmax_cross_entropy'"):
        registry.load_backend("numpy-article").create(network, initialize(network, 0))
