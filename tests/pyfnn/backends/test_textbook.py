"""Claims about the backends of the division textbook: right, and each number one sum from its first term to its last.

The numbers for the second claim are so far apart that the order of additions decides the result.
"""

import shutil
import subprocess
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from support.batteries import drawn
from support.fnn_libraries import SOURCES, compiler, row
from support.requirements import require
from support.strategies import targets

from pyfnn import parity, registry
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.optimizers import TABLE
from pyfnn.parity.battery import Trial

COMPILED = ["c-textbook", "cpp-textbook"]
LOOPS = [r.name for r in registry.rows().values() if r.division == "textbook" and not r.name.startswith("numpy")]
HUGE = {"float32": 1e9, "float64": 1e18}  # a 1 added to it is lost


def load(name: str) -> Backend:
    try:
        return registry.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
        raise


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", COMPILED)
def test_a_textbook_backend_agrees_with_the_oracle_on_random_networks(name: str, dtype: str) -> None:
    backend = load(name)
    for seed, battery in islice(drawn(0, dtype), 10):
        evidence = parity.examine(backend.create, battery)
        assert evidence.passed, f"random_case({seed}, {dtype!r}): {evidence.worst}"


@pytest.mark.parametrize("name", COMPILED)
def test_it_has_the_functions_and_optimizers_of_the_plain_backend(name: str) -> None:
    textbook, plain = load(name).description, load(name.removesuffix("-textbook")).description
    assert textbook.activations == plain.activations
    assert textbook.losses == plain.losses
    assert textbook.optimizers == plain.optimizers == tuple(TABLE)
    assert (textbook.compiler, textbook.flags) == (plain.compiler, plain.flags)
    assert textbook.name == name


def product(backend: Backend, dtype: str) -> float:
    """Return the output of one unit with bias 1 and weights 1, of the inputs H, -H, 0, 0: a product A B."""
    network = Network((4, 1), (), "half_squared_error", dtype=dtype)
    theta = np.ones(5, dtype)
    x = np.array([[HUGE[dtype], -HUGE[dtype], 0, 0]], dtype)
    with backend.create(network, theta) as model:
        model.load(x, np.zeros((1, 1), dtype), np.zeros(1, np.int64))
        return float(model.forward(0, 1)[0, 0])


def product_with_transposed(backend: Backend, dtype: str) -> float:
    """Return δ_1 of one hidden unit whose weights are H, 1, 0 …, -H at places 0, 1 and 8, where all δ_2 are 1: δ Wᵀ."""
    network = Network((1, 1, 16), "identity", "half_squared_error", dtype=dtype)
    theta = np.zeros(network.n_parameters, dtype)
    theta[[2, 3, 10]] = HUGE[dtype], 1, -HUGE[dtype]  # W_2; W_1, b_1 and b_2 are 0
    with backend.create(network, theta) as model:
        model.load(np.zeros((1, 1), dtype), -np.ones((1, 16), dtype), np.zeros(1, np.int64))
        return float(model.loss_and_gradient(0, 1)[1][1])  # db_1 = δ_1


@pytest.mark.parametrize("name", LOOPS)
def test_every_number_of_a_product_is_one_sum_in_order(name: str) -> None:
    backend = load(name)
    for dtype in DTYPES:
        # Of a float32 network, a program that computes in double keeps the 1.
        computes_in = "float64" if backend.description.arithmetic == "float64" else dtype
        if computes_in != dtype:
            continue
        assert product(backend, dtype) == 0  # ((1 + H) - H) + 0 + 0
        assert product_with_transposed(backend, dtype) == 0  # (H + 1) - H


@pytest.mark.parametrize("name", ["c", "cpp"])
def test_the_plain_backends_add_in_another_order(name: str) -> None:
    backend = load(name)
    assert product(backend, "float32") == 1  # 1 + (H - H + 0 + 0): four rows of B at a time
    assert product_with_transposed(backend, "float32") == 1  # (H - H) + 1: partial sums


BUGS = {
    "the sum starts at 0": ("REAL sum = C[i * n + j];", "REAL sum = 0;", "outputs"),
    "the last term is left out": ("for (int64_t p = 0; p < k; p++)", "for (int64_t p = 0; p < k - 1; p++)", "outputs"),
    "B is read as its transposed": ("B[p * n + j]", "B[j * k + p]", "outputs"),
    "delta of the first unit is left out": (
        "for (int64_t j = 0; j < m; j++)\n",
        "for (int64_t j = 1; j < m; j++)\n",
        "dW_1",
    ),
}


def library(folder: Path, old: str, new: str) -> Backend:
    """Compile C's textbook with a text of its products replaced."""
    sources = folder / "c_cuda"
    shutil.copytree(SOURCES, sources)
    kernel = sources / "textbook_kernel.h"
    text = kernel.read_text(encoding="utf-8")
    assert text.count(old) == 1
    kernel.write_text(text.replace(old, new), encoding="utf-8")
    files = [str(sources / name) for name in ("fnn.c", "mlp.c")]
    options = ("-std=c11", "-O1", "-fPIC", "-shared", "-DFNN_TEXTBOOK")
    subprocess.run([compiler(), *options, *files, "-o", str(folder / "library.so"), "-lm"], check=True)
    return registry.load(row(folder / "library.so"))


def battery() -> list[Trial]:
    rng = np.random.default_rng(1)
    network = Network((5, 7, 4, 3), ("tanh", "sigmoid"), "squared_error", l2=0.01)
    x = rng.normal(size=(60, 5)).astype(network.dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, 60, rng), 4)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_planted_in_the_products_is_rejected(bug: str, tmp_path: Path) -> None:
    old, new, named = BUGS[bug]
    evidence = parity.examine(library(tmp_path, old, new).create, battery())
    assert named in {failure.what for failure in evidence.failures}


def test_the_products_without_a_bug_are_accepted(tmp_path: Path) -> None:
    same = "REAL sum = C[i * n + j];"
    assert parity.examine(library(tmp_path, same, same).create, battery()).passed
