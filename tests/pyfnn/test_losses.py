"""Claims about the oracle's losses: derivatives, numerical stability, targets, and the rows' data for parity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import SEEDS

from pyfnn import losses
from pyfnn.activations import Array
from pyfnn.errors import InvalidInput


def _outputs(name: str, Z: Array) -> Array:
    fused = losses.TABLE[name].fuses
    return losses.FUSED[fused](Z) if fused else Z


@given(name=st.sampled_from(sorted(losses.TABLE)), seed=SEEDS, width=st.integers(1, 6))
def test_the_derivative_is_the_central_difference_of_the_loss(name: str, seed: int, width: int) -> None:
    rng, row, h = np.random.default_rng(seed), losses.TABLE[name], np.longdouble(2) ** -18
    Z = rng.normal(0, 3, (1, width)).astype(np.longdouble)
    T = rng.dirichlet(np.ones(width), 1).astype(np.longdouble)
    T /= T.sum()
    derivative = row.derivative(_outputs(name, Z), T)
    for at in range(width):
        e = h * np.eye(width, dtype=np.longdouble)[at]
        difference = [row.value(Z + s * e, _outputs(name, Z + s * e), T)[0] for s in (1, -1)]
        assert abs((difference[0] - difference[1]) / (2 * h) - derivative[0, at]) < 1e-10


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_softmax_cross_entropy_is_correct_for_logits_of_1000(dtype: type[np.floating]) -> None:
    Z = np.array([[1000, -1000, 0], [1000, 1000, -1000], [-1000, -1000, -1000]], dtype)
    T = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype)
    found = losses.TABLE["softmax_cross_entropy"].value(Z, losses.softmax(Z), T)
    assert found.dtype == dtype
    assert found == pytest.approx([2000, np.log(2), np.log(3)], rel=1e-6)
    assert losses.softmax(Z) == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]]), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_sigmoid_cross_entropy_is_correct_for_logits_of_1000(dtype: type[np.floating]) -> None:
    Z = np.array([[1000, -1000], [1000, -1000], [0, 1000]], dtype)
    T = np.array([[0, 1], [1, 0], [0.5, 0.5]], dtype)
    found = losses.TABLE["sigmoid_cross_entropy"].value(Z, losses.FUSED["sigmoid"](Z), T)
    assert found.dtype == dtype
    assert found == pytest.approx([2000, 0, np.log(2) + 500], rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "T", "words"),
    [
        ("sigmoid_cross_entropy", [[0.5, 1.5]], r"y\[0, 1\] = 1.5: .* lie in \[0, 1\]"),
        ("softmax_cross_entropy", [[1.0, 0.0], [-0.5, 1.5]], r"y\[1, 0\] = -0.5"),
        ("softmax_cross_entropy", [[1.0, 0.0], [0.5, 0.4]], r"y\[1\] sums to 0.9.*sums to 1"),
    ],
)
def test_targets_that_break_the_rule_are_rejected_by_name(loss: str, T: list[list[float]], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        losses.TABLE[loss].check_targets(np.array(T))


def test_a_distribution_rounded_to_float32_is_accepted() -> None:
    T = np.random.default_rng(0).dirichlet(np.ones(1000), 50).astype(np.float32)
    losses.TABLE["softmax_cross_entropy"].check_targets(T)


@pytest.mark.parametrize("name", sorted(losses.TABLE))
def test_drawn_and_most_probable_targets_suit_their_loss(name: str) -> None:
    row, rng = losses.TABLE[name], np.random.default_rng(0)
    T = row.draw_targets((20, 3), rng)
    assert T.shape == (20, 3)
    row.check_targets(T)
    if row.most_probable:
        row.check_targets(row.most_probable(_outputs(name, rng.normal(size=(20, 3)))))
    assert (row.most_probable is None) == (row.output_function is None)
