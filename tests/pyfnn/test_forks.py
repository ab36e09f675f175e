"""Claims about models in a forked child: it may neither use nor free what is its parent's, and ends."""

import os
import subprocess
import sys

import pytest
from support.requirements import require

from pyfnn import load_backend
from pyfnn.errors import BackendUnavailable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

SCRIPT = """
import gc, os, sys
import numpy as np
from pyfnn import Network, PyfnnError, initialize, load_backend
network = Network((3, 4, 2), "tanh", "squared_error")
theta = initialize(network, 0)
backend = load_backend(sys.argv[1])
model, many = backend.create(network, theta, threads=2), backend.create_many(network, np.stack([theta] * 2), threads=2)
x, y = np.ones((4, 3), "f4"), np.ones((4, 2), "f4")
model.load(x, y, np.arange(4))
model.predict(x)
before = model.forward(0, 4)
child = os.fork()
if child == 0:
    for call in (lambda: model.forward(0, 4), lambda: model.train(0, 4, 2, 0.1), lambda: model.load(x, y, np.arange(4)),
                 many.thetas, many.reset):
        try:
            call()
        except PyfnnError as error:
            print(error, flush=True)
    with backend.create(network, theta, threads=2) as own:
        own.load(x, y, np.arange(4))
        assert np.array_equal(own.forward(0, 4), before)
    model.close()
    many.close()
    del model, many
    gc.collect()
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(model.forward(0, 4), before)
model.close()
"""


@pytest.mark.parametrize("name", ["numpy", "c", "cpp", "cpp-tuned"])
def test_a_forked_child_gets_an_error_frees_nothing_and_ends(name: str) -> None:
    try:
        load_backend(name)
    except BackendUnavailable as error:
        require(name, False, str(error))
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["forward", "train", "load", "thetas", "reset"]
    assert all("is of the process that forked this one; make another" in line for line in lines)
