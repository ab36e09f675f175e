"""Claims about C's library behind fnn.h: refusals with status and message, independent models, exports, the GIL.

The parity battery compares it with the oracle (test_languages).
"""

import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from support import native_code
from support.fnn_libraries import NETWORK, WRONG_SPELLINGS, create, data, load_c, raw
from support.requirements import require

from pyfnn import oracle
from pyfnn.activations import TABLE
from pyfnn.backend import Backend
from pyfnn.backends import c
from pyfnn.model import Model
from pyfnn.network import Network, initialize


@pytest.fixture
def backend() -> Backend:
    return load_c()


@pytest.fixture
def model(backend: Backend) -> Model:
    return backend.create(NETWORK, initialize(NETWORK, 1))


def test_every_function_that_it_lists_is_accepted(backend: Backend, model: Model) -> None:
    lib, _ = raw(model)
    for name in backend.description.activations:
        output = "tanh" if TABLE[name].hidden_only else name
        assert create(lib, activations=(name, output)) == (0, "")
    assert create(lib, activations=("leaky_relu(-1e-05)", "elu(2)")) == (0, "")
    assert create(lib, activations=("maxout(4)", "tanh")) == (0, "")
    for name in backend.description.losses:
        output = {"softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "sigmoid"}.get(name, "tanh")
        assert create(lib, loss=name, activations=("tanh", output)) == (0, "")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"n_layers": 0}, 1, "n_layers = 0"),
        ({"sizes": (2, 0, 1)}, 1, r"sizes\[1\] = 0"),
        ({"sizes": (2, -5, 1)}, 1, r"sizes\[1\] = -5"),
        ({"sizes": (2, 2**52, 1), "activations": ("maxout(16)", "identity")}, 2, "layer 1 is too large"),
        ({"activations": ("maxout(17)", "identity")}, 2, r"no activation 'maxout\(17\)' for layer 1"),
        ({"activations": ("maxout(2.5)", "identity")}, 2, r"no activation 'maxout\(2.5\)' for layer 1"),
        ({"activations": ("tanh", "maxout")}, 2, "no activation 'maxout' for layer 2"),
        ({"activations": ("tanh", "prelu(0.1)")}, 2, r"no activation 'prelu\(0.1\)' for layer 2"),
        ({"sizes": (2**62, 2**62, 1)}, 2, "layer 1 is too large"),
        ({"sizes": (2**31, 2**31, 1)}, 2, "layer 1 is too large"),
        ({"sizes": (1, 2**55, 3)}, 2, "layer 2 is too large"),
        ({"l2": -0.5}, 1, "l2 = -0.5"),
        ({"l2": float("nan")}, 1, "l2 = nan"),
        ({"l2": float("inf")}, 1, "l2 = inf"),
        ({"threads": 0}, 1, "threads = 0"),
        ({"dtype": 2}, 2, "no dtype 2"),
        ({"dtype": -1}, 2, "no dtype -1"),
        ({"loss": "hinge"}, 2, "no loss 'hinge'"),
        ({"loss": "x" * 5000}, 2, "no loss 'xxx"),
        ({"activations": ("gauss", "identity")}, 2, "no activation 'gauss' for layer 1"),
        ({"activations": ("softmax", "identity")}, 2, "no activation 'softmax' for layer 1"),
        ({"activations": ("tanh", "softmax")}, 2, "no activation 'softmax' for layer 2"),
        ({"activations": ("tanh", "")}, 2, "no activation '' for layer 2"),
        *(
            ({"activations": (name, "identity")}, 2, f"no activation {re.escape(repr(name))} for layer 1")
            for name in WRONG_SPELLINGS
        ),
        ({"loss": "softmax_cross_entropy"}, 1, "fuses softmax"),
    ],
)
def test_fnn_create_refuses_with_status_and_message(model: Model, changes: Any, status: int, words: str) -> None:
    got, message = create(raw(model)[0], **changes)
    assert got == status
    assert re.search(words, message), message


def test_null_pointers_are_refused_and_not_dereferenced(model: Model) -> None:
    lib, handle = raw(model)
    ffi = c._ffi()
    null, number, row_numbers = ffi.NULL, ffi.new("double[8]"), ffi.new("int64_t[1]")
    other = ffi.new("fnn_model **")
    assert lib.fnn_create(null, number, other) == lib.FNN_INVALID
    lib.fnn_destroy(other[0])
    assert lib.fnn_create(null, number, null) == lib.FNN_INVALID
    for first in (null, handle):
        assert lib.fnn_load(first, null, number, 1, row_numbers, 1) == lib.FNN_INVALID
        assert lib.fnn_forward(first, 0, 1, null) == lib.FNN_INVALID
        assert lib.fnn_loss_and_gradient(first, 0, 1, null, null) == lib.FNN_INVALID
        assert lib.fnn_train(first, 0, 1, 1, 0.1, null) == lib.FNN_INVALID
        assert lib.fnn_time(first, 0, 0, 1, 1, null, 1, null, null) == lib.FNN_INVALID
        assert lib.fnn_theta(first, null) == lib.FNN_INVALID
    assert lib.fnn_reset(null) == lib.FNN_INVALID
    assert ffi.string(lib.fnn_last_error(null)) == b"out of memory"
    lib.fnn_destroy(null)


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 0), (0, -3), (0, 7), (5, 2), (2**62, 2**62), (1, 2**63 - 1)])
def test_ranges_outside_the_rows_are_refused_and_explained(model: Model, first: int, count: int) -> None:
    lib, handle = raw(model)
    model.load(*data(NETWORK))
    out = c._ffi().new("double[64]")
    for status in (
        lib.fnn_forward(handle, first, count, out),
        lib.fnn_loss_and_gradient(handle, first, count, out, out),
        lib.fnn_time(handle, 0, first, count, 1, c._ffi().new("int64_t[1]"), 1, out, out),
        lib.fnn_train(handle, first + 5 if first > 0 else first, count + 5 if count > 0 else count, 1, 0.1, out)
        if count < 2**62
        else lib.FNN_INVALID,
    ):
        assert status == lib.FNN_INVALID
        assert "must lie within the" in c._text(lib.fnn_last_error(handle))
    model.forward(0, 6)
    assert c._text(lib.fnn_last_error(handle)) == ""


def test_work_before_any_data_is_refused(model: Model) -> None:
    lib, handle = raw(model)
    assert lib.fnn_forward(handle, 0, 1, c._ffi().new("double[2]")) == lib.FNN_INVALID
    assert "call fnn_load first" in c._text(lib.fnn_last_error(handle))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_and_positive_is_refused(model: Model, rate: float) -> None:
    lib, handle = raw(model)
    model.load(*data(NETWORK))
    assert lib.fnn_train(handle, 0, 5, 1, rate, c._ffi().new("double *")) == lib.FNN_INVALID
    np.testing.assert_array_equal(model.theta(), initialize(NETWORK, 1))


@pytest.mark.parametrize(
    ("rows", "order", "n_order"),
    [(0, [0], 1), (-1, [0], 1), (6, [0], 0), (6, [0, 6], 2), (6, [-1], 1), (2**62, [0], 1)],
)
def test_a_load_that_fails_keeps_the_old_data(model: Model, rows: int, order: list[int], n_order: int) -> None:
    lib, handle = raw(model)
    x, y, good_order = data(NETWORK)
    model.load(x, y, good_order)
    before = model.forward(0, 6)
    other = c._ffi().from_buffer(np.zeros_like(x))
    status = lib.fnn_load(handle, other, other, rows, c._ffi().new("int64_t[]", order), n_order)
    assert status == (lib.FNN_NO_MEMORY if rows == 2**62 else lib.FNN_INVALID)
    assert c._text(lib.fnn_last_error(handle)) != ""
    np.testing.assert_array_equal(model.forward(0, 6), before)
    assert model.train(0, 11, 2, 0.01) >= 0


def test_two_models_at_once_share_nothing(backend: Backend) -> None:
    x, y, order = data(NETWORK)
    theta = initialize(NETWORK, 1)
    with backend.create(NETWORK, theta) as one, backend.create(NETWORK, theta) as two:
        one.load(x, y, order)
        two.load(-x, y, order)
        alone = two.loss_and_gradient(0, 6)[1]
        one.train(0, 11, 3, 0.1)
        np.testing.assert_array_equal(two.loss_and_gradient(0, 6)[1], alone)
        np.testing.assert_array_equal(two.theta(), theta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_a_thousand_give_finite_and_correct_results(backend: Backend, loss: str, dtype: str) -> None:
    network = Network((1, 4), "tanh", loss, dtype=dtype)
    theta = np.array([1000, -1000, 999, 0, 0, 0, 0, 0], dtype=dtype)
    x = np.array([[1], [-1], [0.5]], dtype=dtype)
    y = np.eye(4, dtype=dtype)[[0, 2, 1]]
    wide = theta.astype(np.longdouble)
    expected_loss, expected = oracle.loss_and_gradient(network, wide, x, y)
    with backend.create(network, theta) as model:
        model.load(x, y, np.arange(3))
        loss_, gradient = model.loss_and_gradient(0, 3)
        np.testing.assert_allclose(loss_, float(expected_loss), rtol=1e-6)
        np.testing.assert_allclose(gradient, expected.astype(dtype), rtol=1e-5, atol=1e-30)
        np.testing.assert_allclose(model.forward(0, 3), oracle.forward(network, wide, x).A[-1], rtol=1e-5, atol=1e-30)


def test_nothing_but_fnn_h_is_exported(backend: Backend) -> None:
    assert isinstance(backend, c.Library)
    nm = shutil.which("nm")
    require("nm", nm is not None, "install binutils")
    listed = subprocess.run(
        [str(nm), "-D", "--defined-only", str(backend.path)], check=True, capture_output=True, text=True
    )
    exported = {line.split()[-1] for line in listed.stdout.splitlines()} - {"_init", "_fini"}
    assert exported == c.required_names() | {"fnn_set_theta", "fnn_loss", "fnn_is_finite", *c._OPTIMIZERS}


def test_other_python_threads_run_while_it_trains(backend: Backend) -> None:
    network = Network((64, 256, 1), "tanh", "squared_error")
    x, y, _ = data(network, rows=256)
    with backend.create(network, initialize(network, 1)) as model:
        model.load(x, y, np.zeros(20_000, np.int64))
        assert native_code.lets_others_run(lambda: model.train(0, 20_000, 1, 1e-6))
