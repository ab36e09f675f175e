"""Claims about what pyfnn imports: its library needs NumPy alone, and what else is missing is named with its remedy."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.requirements import require

import pyfnn

# Runs code without the packages of the extra `bench`, and without threadpoolctl.
WITHOUT = """
import sys
from importlib.machinery import PathFinder
PACKAGES = {"cffi", "cpuinfo", "matplotlib", "pandas", "platformdirs", "pooch", "psutil", "pydantic", "pygments",
            "rich", "scipy", "sklearn", "threadpoolctl"}
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name.partition(".")[0] in PACKAGES else find(name, *where)
"""
FIT = """
import numpy as np, pyfnn, pickle
from pyfnn.training import Adam, fit
network = pyfnn.Network((2, 3, 1), "tanh", "squared_error")
x = np.random.default_rng(0).normal(size=(20, 2)).astype("f4")
settings = dict(epochs=3, batch_size=4, learning_rate=0.1, seed=0, validation=0.2)
with pyfnn.load_backend(BACKEND).create(network, pyfnn.initialize(network, 1)) as model:
    for optimizer in None, Adam():
        history = fit(model, x, x[:, :1].copy(), optimizer=optimizer, **settings)
    pyfnn.save("kept.npz", network, model.theta())
    network, theta = pyfnn.load("kept.npz")
    print(model.predict(x).shape, [name for name in sys.modules if name in PACKAGES])
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT + code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("backend", ["cpp", "cpp-tuned"])
def test_training_saving_and_predicting_need_numpy_alone(backend: str, tmp_path: Path) -> None:
    try:
        pyfnn.load_backend(backend)
    except pyfnn.BackendUnavailable as error:
        require(backend, False, str(error))
    done = run(FIT.replace("BACKEND", repr(backend)), tmp_path)
    assert (done.stdout, done.stderr) == ("(20, 1) []\n", "")


def test_importing_pyfnn_imports_nothing_else(tmp_path: Path) -> None:
    done = run("before = set(sys.modules); import pyfnn; print('numpy' in set(sys.modules) - before)", tmp_path)
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("backend", ["c", "go", "numpy"])
def test_a_backend_whose_package_is_missing_names_the_extra(backend: str, tmp_path: Path) -> None:
    done = run(f"import pyfnn; pyfnn.load_backend({backend!r})", tmp_path)
    assert "BackendUnavailable" in done.stderr
    assert "No module named" in done.stderr
    assert "(pip install 'pyfnn[bench]')" in done.stderr


def test_a_dataset_whose_package_is_missing_names_the_extra(tmp_path: Path) -> None:
    done = run("import pyfnn; pyfnn.datasets.load('digits')", tmp_path)
    assert "DatasetError: digits needs the package sklearn: pip install 'pyfnn[bench]'" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "import runpy; runpy.run_module('bench.run', run_name='__main__')",
        "import pyfnn.cli; sys.exit(pyfnn.cli.main(['run', '--list']))",
    ],
)
def test_the_harness_without_its_packages_names_the_extra(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path)
    assert done.returncode != 0
    assert done.stderr.rstrip().endswith("scipy, sklearn, threadpoolctl: pip install 'pyfnn[bench]'")


def test_importing_pyfnn_imports_no_scikit_learn_and_the_estimators_name_the_extra(tmp_path: Path) -> None:
    done = run("import pyfnn; pyfnn.training; pyfnn.estimators", tmp_path)
    assert "ImportError: pyfnn.estimators needs scikit-learn 1.6 or newer (No module named" in done.stderr
    assert done.stderr.rstrip().endswith("pip install 'pyfnn[estimators]'")
    code = "import sys, pyfnn, pyfnn.training; print([name for name in sys.modules if 'sklearn' in name])"
    plain = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert plain.stdout == "[]\n"
