"""Claims about ONNX files: the package's reference evaluator computes the outputs that the oracle does."""

from pathlib import Path

import numpy as np
import pytest
from support.requirements import require

from pyfnn import onnx, oracle
from pyfnn.activations import TABLE
from pyfnn.errors import InvalidInput, PyfnnError, Unsupported
from pyfnn.estimators import FNNClassifier
from pyfnn.network import Network, initialize
from pyfnn.validation import Array

NETWORKS = [
    Network((3, 4, 5, 2), name, loss, dtype=dtype)
    for name in (*TABLE, "leaky_relu(-0.3)", "elu(0.3)", "elu(-0.5)", "leaky_relu(0.25)", "leaky_relu(1e-60)")
    for loss, dtype in (("squared_error", "float64"), ("softmax_cross_entropy", "float32"))
] + [
    Network((3, 1), (), "sigmoid_cross_entropy"),
    Network((3, 4, 1), "relu", "squared_error", output_activation="tanh"),
    Network((3, 4, 5, 1), ("elu(0.1)", "leaky_relu(0.1)"), "squared_error", 0.0, "elu(0.7)", "float64"),
]


def evaluated(path: Path, x: Array) -> Array:
    try:
        from onnx.reference import ReferenceEvaluator
    except ImportError:
        require("onnx", False, "pip install onnx")
        raise
    [outputs] = ReferenceEvaluator(str(path)).run(None, {"X": x})
    return np.asarray(outputs)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: f"{n.activation}-{n.loss}-{n.dtype}")
def test_the_file_computes_what_the_oracle_computes(network: Network, tmp_path: Path) -> None:
    theta = initialize(network, 1)
    x = 2 * np.random.default_rng(1).normal(size=(50, 3)).astype(network.dtype)
    onnx.export(tmp_path / "a.onnx", network, theta)
    outputs = evaluated(tmp_path / "a.onnx", x)
    assert outputs.dtype == network.dtype
    exact = 1e-5 if network.dtype == "float32" else 1e-13
    np.testing.assert_allclose(outputs, oracle.forward(network, theta, x).A[-1], rtol=exact, atol=exact)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fitted_estimator_is_exported_with_its_probabilities(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(60, 3)).astype("f4")
    fitted = FNNClassifier((5,), max_iter=3, random_state=0).fit(x, np.digitize(x[:, 0], (-0.5, 0.5)))
    fitted.to_onnx(tmp_path / "a.onnx")
    np.testing.assert_allclose(evaluated(tmp_path / "a.onnx", x), fitted.predict_proba(x), rtol=1e-5)


def test_what_cannot_be_exported_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network((3, 4, 1), "relu", "squared_error")
    with pytest.raises(InvalidInput, match="theta"):
        onnx.export(tmp_path / "a", network, np.zeros(3, "f4"))
    monkeypatch.delitem(onnx._OPERATORS, "relu")
    with pytest.raises(Unsupported, match="ONNX has no activation 'relu'"):
        onnx.export(tmp_path / "a", network, initialize(network, 1))
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(PyfnnError, match=r"pip install 'pyfnn\[onnx\]'"):
        onnx.export(tmp_path / "a", network, initialize(network, 1))
    assert not list(tmp_path.iterdir())
