"""Parity of a backend on a device: each dtype with each activation, alone, as an ensemble and at a large shape.

Each examination is a line of --out as soon as it ends, after a first line with their number. A backend has a process of
its own, because an error of a kernel ends all use of the device in its process.
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product

import numpy as np

from bench.experiments.gpu.common import child_parser
from pyfnn import parity
from pyfnn.activations import TABLE
from pyfnn.backend import Backend
from pyfnn.errors import PyfnnError
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.parity.evidence import Evidence
from pyfnn.registry import load_backend
from pyfnn.validation import Array

_SMALL, _LARGE = (5, 7, 4, 3), (130, 257, 65)  # sizes: of a network that one block trains, and of one that needs more
_SMALLEST = (2, 3, 2)
_ALSO_LARGE = [("relu", "float32"), ("tanh", "float64")]  # the oracle takes 11 s of CPU time for each
_REHEARSED = [("tanh", "float32"), ("relu", "float64")]
_FURTHER = [  # the hidden layers' activations and the output's, all beyond the core
    (("leaky_relu(-0.5)", "softplus"), "elu(0.3)"),
    (("elu(-0.5)", "hard_tanh"), "hard_sigmoid"),
]
_MEMBERS = 7
_ROWS = 100


def cases(activations: Iterable[str], rehearsal: bool) -> Iterator[tuple[str, Network, int]]:
    """Yield what to examine of a backend with these activations: its name, a network, and a batch size.

    The batch size is 0 for an ensemble. The large networks, which take longest, come last.
    """
    declared = [name for name in TABLE if name in set(activations)]
    every = _REHEARSED if rehearsal else product(declared, DTYPES)
    for activation, dtype in every:
        small = _network(_SMALLEST if rehearsal else _SMALL, activation, dtype)
        yield f"{dtype} {activation}, single rows", small, 1
        if not rehearsal:
            yield f"{dtype} {activation}, minibatches", small, 4
            yield f"{dtype} {activation}, many networks", small, 0
    for (hidden, output), dtype in () if rehearsal else product(_FURTHER, DTYPES):
        if all(name.partition("(")[0] in declared for name in (*hidden, output)):
            network = Network(_SMALL, hidden, "squared_error", 0.01, output, dtype)
            name = f"{dtype} {', '.join((*hidden, output))}"
            yield f"{name}, single rows", network, 1
            yield f"{name}, minibatches", network, 4
    for activation, dtype in () if rehearsal else _ALSO_LARGE:
        yield f"{dtype} {activation}, large", _network(_LARGE, activation, dtype), 32


def _network(sizes: tuple[int, ...], activation: str, dtype: str) -> Network:
    loss = "softmax_cross_entropy" if activation == "relu" else "squared_error"
    return Network(sizes, activation, loss, l2=0.01, dtype=dtype)


@cache
def _trials(network: Network, batch: int) -> list[parity.Trial]:
    return parity.battery(network, initialize(network, 5), *_data(network), batch)


@cache
def _ensembles(network: Network) -> list[parity.ManyTrial]:
    thetas = np.stack([initialize(network, seed) for seed in range(_MEMBERS)])
    return parity.many_battery(network, thetas, np.linspace(0, 0.01, _MEMBERS), *_data(network), 1)


def _data(network: Network) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(_ROWS, network.sizes[0])).astype(network.dtype)
    return x, np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(network.sizes[-1], size=_ROWS)]


def examine(backend: Backend, network: Network, batch: int) -> Evidence:
    """Examine a backend on one network, or on an ensemble of its shape."""
    if batch:
        return parity.examine(backend.create, _trials(network, batch))
    return parity.examine_many(backend.create_many, _ensembles(network))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; return 1 where an examination failed or was not reached."""
    p = child_parser("parity", __doc__)
    p.add_argument("--name", required=True, metavar="NAME", help="backend to examine")
    p.add_argument("--seconds", type=float, required=True, metavar="N", help="begin no examination after so long")
    p.add_argument("--out", required=True, metavar="FILE", help="file of the results, one a line")
    arguments = p.parse_args(argv)
    name, end, bad = arguments.name, time.monotonic() + arguments.seconds, 0
    backend = load_backend(name, [arguments.backend])
    planned = list(cases(backend.description.activations, arguments.small))
    with open(arguments.out, "w", encoding="utf-8", buffering=1) as file:  # noqa: PTH123
        file.write(json.dumps({"backend": name, "planned": len(planned)}) + "\n")
        for what, network, batch in planned:
            result = _result(backend, network, batch, end)
            bad += not result["passed"]
            file.write(json.dumps({"backend": name, "what": what, **result}) + "\n")
            if not result["passed"]:
                print(f"{name}: {what}: {result['why']}")
    print(f"{bad} of {len(planned)} examinations failed or were not made")
    return int(bad > 0)


def _result(backend: Backend, network: Network, batch: int, end: float) -> dict[str, object]:
    if time.monotonic() > end:
        return {"passed": False, "why": "not reached in time"}
    try:
        evidence = examine(backend, network, batch)
    except PyfnnError as error:
        return {"passed": False, "why": str(error)}
    return {
        "passed": evidence.passed,
        "why": "" if evidence.passed else str(evidence.worst),
        "checks": len(evidence.checks),
    }


if __name__ == "__main__":
    sys.exit(main())
