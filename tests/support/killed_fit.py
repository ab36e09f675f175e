"""A `fit` with checkpoints in a process that can be killed: its arguments are BACKEND OPTIMIZER FOLDER WHERE PAUSE.

It leaves FOLDER/checkpoint.npz and, at its end, FOLDER/end.npz. WHERE is "nowhere", "epoch N" (after N epochs, before
the next one) or "sync N" (before the Nth fsync: a checkpoint has one before it takes its name, and one after).
PAUSE are seconds of sleep after each epoch.
"""

import os
import signal
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

import pyfnn
from pyfnn import storage
from pyfnn.network import Network, initialize
from pyfnn.training import SGD, Adam, Checkpoints, Epoch, History, Step, fit

NETWORK = Network((3, 8, 6, 1), "tanh", "squared_error", l2=1e-3)
OPTIMIZERS: dict[str, Any] = {"sgd": SGD(), "adam": Adam()}
EPOCHS = 12


def trained(backend: str, optimizer: str, pause: float = 0.0, **further: Any) -> History:
    """Train `NETWORK` on 50 rows; sleep `pause` seconds after each epoch."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((50, 3)).astype("f4")
    y = np.sin(x.sum(axis=1, keepdims=True))
    callbacks = [*further.pop("callbacks", ()), lambda _: time.sleep(pause)]
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 1 if optimizer == "sgd" else 16, "seed": 2}
    with pyfnn.load_backend(backend).create(NETWORK, initialize(NETWORK, 1)) as model:
        return fit(
            model, x, y, **settings, learning_rate=Step(0.02, 5), optimizer=OPTIMIZERS[optimizer], validation=0.2,
            callbacks=callbacks, **further,
        )  # fmt: skip


def kill() -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(backend: str, optimizer: str, folder: Path, where: str, pause: float) -> None:
    """Run the fit of the command line."""
    kind, _, number = where.partition(" ")

    def at_epoch(epoch: Epoch) -> None:
        if kind == "epoch" and epoch.number == int(number):
            kill()

    sync, calls = os.fsync, count(1)

    def fsync(file: int) -> None:
        if kind == "sync" and next(calls) == int(number):
            kill()
        sync(file)

    storage.os.fsync = fsync  # type: ignore[attr-defined]
    checkpoints = Checkpoints(folder / "checkpoint.npz", every_epochs=2)
    history = trained(backend, optimizer, pause, checkpoints=checkpoints, callbacks=[at_epoch])
    np.savez(folder / "end.npz", theta=history.theta, last_theta=history.last_theta, table=history.table)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
