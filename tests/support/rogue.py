"""A small worker program that does one wrong thing, and a model in such a worker."""

import sys

import numpy as np
from planted.model import PlantedBackend

from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.process.model import ProcessModel
from pyfnn.process.worker import Worker

HELLO = protocol.format_reply("ok", protocol.describe(PlantedBackend().description)).rstrip("\n")
NETWORK = Network((3, 4, 2), "tanh", "squared_error")

# A program that answers hello, and executes `behaviour` at every other command.
ROGUE = """
import os, signal, sys, time
reply = lambda text: os.write(1, (text + "\\n").encode())
for line in sys.stdin:
    if line == "hello\\n":
        reply({hello!r})
    elif line == "quit\\n":
        break
    else:
        {behaviour}
"""


def rogue(behaviour: str, timeout: float = 20.0) -> Worker:
    """Start a worker that executes these Python statements at every command but `hello` and `quit`."""
    script = ROGUE.format(hello=HELLO, behaviour=behaviour.replace("\n", "\n        "))
    return Worker([sys.executable, "-I", "-S", "-c", script], timeout=timeout)


def loaded(worker: Worker, seed: int = 0) -> ProcessModel:
    """Make a model of `NETWORK` in the worker, with five rows of ones."""
    model = ProcessModel(worker, NETWORK, initialize(NETWORK, seed))
    model.load(np.ones((5, 3), "f4"), np.ones((5, 2), "f4"), np.arange(5))
    return model


def heard(worker: Worker) -> str:
    """Wait a moment for output, and return what the worker has written to stderr so far."""
    worker._drain(0.1)
    return worker.stderr
