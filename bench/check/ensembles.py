"""Claims about many networks at once, for candidates whose hello has many=yes."""

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

ENSEMBLES = Topic("many networks at once", "Many networks at once")

_MEMBERS, _ROWS, _BATCH = 7, 60, 4


def _skip_unless_many(candidate: Candidate) -> None:
    if not candidate.description.many:
        raise Skipped("hello has no many=yes")


@lru_cache(maxsize=8)
def _battery(network: Network) -> list[parity.ManyTrial]:
    task = exercise(network, _ROWS)
    thetas = np.stack([initialize(network, seed) for seed in range(_MEMBERS)])
    return parity.many_battery(network, thetas, np.linspace(0, 0.01, _MEMBERS), task.x, task.y, _BATCH)


@ENSEMBLES.claim(
    "each member ends at the θ that it reaches alone, with its own initial θ, λ, order and rate",
    "read one row a member from theta.bin, order.bin, l2.bin and rates.bin; read rates.bin again at each call",
)
def _members(candidate: Candidate) -> str:
    _skip_unless_many(candidate)

    def make(network: Network, thetas: Array, l2: NDArray[np.float64]) -> ProcessEnsemble:
        return ProcessEnsemble(candidate.worker, network, thetas, l2)

    checks = 0
    for dtype in DTYPES:
        trials = _battery(candidate.network((5, 7, 4, 3), dtype))
        evidence = parity.examine_many(make, trials, deterministic=candidate.description.deterministic)
        if not evidence.passed:
            raise Failed(f"{dtype}: {evidence.worst}; {len(evidence.failures)} of {len(evidence.checks)} failed")
        checks += len(evidence.checks)
    return f"{checks} comparisons"


def _files(candidate: Candidate) -> dict[str, bytes]:
    task = candidate.exercise()
    setup = protocol.Setup(task.network, len(task.x), len(task.order), 1, _MEMBERS)
    files = task.files()
    return {
        **files,
        protocol.NETWORK: protocol.format_setup(setup).encode(),
        protocol.THETA: files[protocol.THETA] * _MEMBERS,
        protocol.ORDER: files[protocol.ORDER] * _MEMBERS,
        protocol.L2: np.full(_MEMBERS, 0.01, "<f8").tobytes(),
    }


@ENSEMBLES.claim(
    "init_many refuses files that are missing or of a wrong size",
    "compare each file's size with members first",
    of_protocol=True,
)
def _bad_files(candidate: Candidate) -> None:
    _skip_unless_many(candidate)
    files = _files(candidate)
    cases = {f"no {name}": {key: data for key, data in files.items() if key != name} for name in files}
    cases |= {f"{name} cut short": {**files, name: files[name][:-8]} for name in files if name != protocol.NETWORK}
    cases["no line members"] = {**files, protocol.NETWORK: candidate.exercise().files()[protocol.NETWORK]}
    accepted = []
    for what, changed in cases.items():
        candidate.write_files(changed)
        try:
            candidate.worker.call("init_many")
        except WorkerError as error:
            raise Failed(f"{what}: {error}", "an error, from a process that keeps running") from None
        except PyfnnError:
            continue
        accepted.append(what)
    if accepted:
        raise Failed(f"ok, in reply to {'; '.join(accepted)}", "an error for each")


@ENSEMBLES.claim(
    "train_many refuses entries outside order, and a rates.bin that is missing or cut short",
    "check the words and the file before computing",
    of_protocol=True,
)
def _bad_training(candidate: Candidate) -> None:
    _skip_unless_many(candidate)
    folder = candidate.write_files(_files(candidate))
    candidate.worker.call("init_many")
    refused(candidate, ("train_many 0 8 4",), "an error: there is no rates.bin")
    (folder / protocol.RATES).write_bytes(np.full(_MEMBERS - 1, 0.1, "<f8").tobytes())
    refused(candidate, ("train_many 0 8 4",), "an error: rates.bin has a rate too few")
    (folder / protocol.RATES).write_bytes(np.full(_MEMBERS, 0.1, "<f8").tobytes())
    lines = (
        "train_many 0 121 4",
        "train_many -1 4 4",
        "train_many 0 0 4",
        "train_many 0 8 0",
        "train_many 0 8",
        "train_many",
    )
    refused(candidate, lines, "FIRST and COUNT within the 120 entries of each order, BATCH at least 1")
    candidate.worker.call("train_many", 0, 8, 4)


@ENSEMBLES.claim("init after init_many has one network again", "let either init replace the model of the other")
def _one_again(candidate: Candidate) -> None:
    _skip_unless_many(candidate)
    candidate.write_files(_files(candidate))
    candidate.worker.call("init_many")
    task = candidate.exercise()
    model = candidate.load(task)
    model.forward(0, 3)
    if model.theta().shape != task.theta.shape:
        raise Failed("theta does not have the length of one network's")
