"""Claims about many networks at once, of those whose hello says many=yes."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bench.check.kit import Candidate, Failed, Skipped, Topic, exercise, refused
from pyfnn import parity
from pyfnn.errors import PyfnnError, WorkerError
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.process import protocol
from pyfnn.process.ensemble import ProcessEnsemble
from pyfnn.validation import Array

MANY = Topic("many networks at once", "Many networks at once")

_MEMBERS, _ROWS, _BATCH = 7, 60, 4


def _wanted(subject: Candidate) -> None:
    if not subject.said.many:
        raise Skipped("hello does not say many=yes")


@lru_cache(maxsize=8)
def _battery(network: Network) -> list[parity.ManyTrial]:
    task = exercise(network, _ROWS)
    thetas = np.stack([initialize(network, seed) for seed in range(_MEMBERS)])
    return parity.many_battery(network, thetas, np.linspace(0, 0.01, _MEMBERS), task.x, task.y, _BATCH)


@MANY.claim(
    "each member ends where it would alone, at its own θ, λ, order and rate",
    "theta.bin, order.bin, l2.bin and rates.bin have a row a member; rates.bin is written anew for each call",
)
def _members(subject: Candidate) -> str:
    _wanted(subject)

    def make(network: Network, thetas: Array, l2: NDArray[np.float64]) -> ProcessEnsemble:
        return ProcessEnsemble(subject.worker, network, thetas, l2)

    checks = 0
    for dtype in DTYPES:
        trials = _battery(subject.network((5, 7, 4, 3), dtype))
        evidence = parity.examine_many(make, trials, deterministic=subject.said.deterministic)
        if not evidence.passed:
            raise Failed(f"{dtype}: {evidence.worst}; {len(evidence.failures)} of {len(evidence.checks)} failed")
        checks += len(evidence.checks)
    return f"{checks} comparisons"


def _files(subject: Candidate) -> dict[str, bytes]:
    task = subject.exercise()
    setup = protocol.Setup(task.network, len(task.x), len(task.order), 1, _MEMBERS)
    files = task.files()
    return {
        **files,
        protocol.NETWORK: protocol.format_setup(setup).encode(),
        protocol.THETA: files[protocol.THETA] * _MEMBERS,
        protocol.ORDER: files[protocol.ORDER] * _MEMBERS,
        protocol.L2: np.full(_MEMBERS, 0.01, "<f8").tobytes(),
    }


@MANY.claim(
    "init_many refuses files that are missing or of a wrong size", "hold each file's size against members first"
)
def _bad_files(subject: Candidate) -> None:
    _wanted(subject)
    files = _files(subject)
    cases = {f"no {name}": {key: data for key, data in files.items() if key != name} for name in files}
    cases |= {f"{name} cut short": {**files, name: files[name][:-8]} for name in files if name != protocol.NETWORK}
    cases["no line members"] = {**files, protocol.NETWORK: subject.exercise().files()[protocol.NETWORK]}
    accepted = []
    for what, laid in cases.items():
        subject.lay(laid)
        try:
            subject.worker.call("init_many")
        except WorkerError as error:
            raise Failed(f"{what}: {error}", "an error, and life after it") from None
        except PyfnnError:
            continue
        accepted.append(what)
    if accepted:
        raise Failed(f"ok, to {'; '.join(accepted)}", "an error for each")


@MANY.claim(
    "train_many refuses entries that there are not, and rates.bin missing or cut short", "check words and file first"
)
def _bad_training(subject: Candidate) -> None:
    _wanted(subject)
    folder = subject.lay(_files(subject))
    subject.worker.call("init_many")
    refused(subject, ("train_many 0 8 4",), "an error: there is no rates.bin")
    (folder / protocol.RATES).write_bytes(np.full(_MEMBERS - 1, 0.1, "<f8").tobytes())
    refused(subject, ("train_many 0 8 4",), "an error: rates.bin has a rate too few")
    (folder / protocol.RATES).write_bytes(np.full(_MEMBERS, 0.1, "<f8").tobytes())
    lines = (
        "train_many 0 121 4",
        "train_many -1 4 4",
        "train_many 0 0 4",
        "train_many 0 8 0",
        "train_many 0 8",
        "train_many",
    )
    refused(subject, lines, "FIRST and COUNT within the 120 entries of each order, BATCH at least 1")
    subject.worker.call("train_many", 0, 8, 4)


@MANY.claim("init after init_many has one network again", "let either init replace whatever the other made")
def _one_again(subject: Candidate) -> None:
    _wanted(subject)
    subject.lay(_files(subject))
    subject.worker.call("init_many")
    task = subject.exercise()
    model = subject.load(task)
    model.forward(0, 3)
    if model.theta().shape != task.theta.shape:
        raise Failed("theta is not that of one network")
