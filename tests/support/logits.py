"""A claim that the tests of several backends share: extreme logits neither overflow nor lose the loss."""

import numpy as np

from pyfnn.backend import Backend
from pyfnn.network import Network


def check_logits_of_a_thousand(backend: Backend, loss: str, dtype: str) -> None:
    """Assert that the loss is exact where the logits are ±1000, and that gradient and outputs are finite."""
    network = Network((2, 2), (), loss, dtype=dtype)
    theta = np.array([1, 0, 0, 1, 0, 0], dtype)  # W = 1, b = 0: Z is x
    x = np.array([[1000, -1000], [-1000, 1000]], dtype)
    y = np.array([[0, 1], [0, 1]], dtype)  # the first row is entirely wrong, the second right
    with backend.create(network, theta) as model:
        model.load(x, y, np.zeros(1, np.int64))
        value, gradient = model.loss_and_gradient(0, 2)
        assert value == 1000  # softmax: (2000 + 0) / 2; sigmoid: (1000 + 1000 + 0 + 0) / 2
        assert np.isfinite(gradient).all()
        assert np.array_equal(model.forward(0, 2), [[1, 0], [0, 1]])
        assert np.isfinite(model.time("gradient", 0, 2, 3))
