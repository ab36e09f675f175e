"""Work on a device for a tool that watches it, and nothing else: every kernel once on small networks, or one workload.

compute-sanitizer and Nsight Compute run this.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.experiments.gpu.common import child_parser
from bench.suites.load import built_in_workloads, look_up
from pyfnn.backend import Backend
from pyfnn.network import DTYPES, Network, initialize
from pyfnn.registry import load_backend
from pyfnn.validation import Array, Order

_NETWORK = Network((5, 4, 9, 3), "relu", "softmax_cross_entropy", l2=0.01)
_STEPS = 4  # of a workload in a call
_CALLS = 4  # a call may be one launch, and the profiler skips the first two


def every_kernel(backend: Backend, network: Network) -> None:
    """Make all that a model and an ensemble compute, with batches of one, of several, and a short last one."""
    x, y, order = data(network, 12)
    theta = initialize(network, 2)
    with backend.create(network, theta) as model:
        model.load(x, y, order)
        model.forward(2, 9)
        model.loss_and_gradient(1, 10)
        for batch in (1, 5):
            model.train(1, 11, batch, 0.05)
        model.time("forward", 0, 7, 3)
        model.time("gradient", 0, 7, 3)
        model.reset()
        model.theta()
    with backend.create_many(network, np.stack([theta, -theta]), np.array([0.0, 0.1])) as many:
        many.load(x, y, np.stack([order, order[::-1]]))
        for batch in (1, 4):
            many.train(1, 9, batch, np.array([0.05, 0.02]))
        many.thetas()


def train_workload(backend: Backend, name: str, steps: int) -> None:
    """Train a workload's network on made-up rows for a few steps, in several calls."""
    workload = look_up("workload", name, built_in_workloads())
    network = workload.network("float32")
    x, y, _ = data(network, workload.batch)
    order = np.tile(np.arange(workload.batch), steps)
    with backend.create(network, initialize(network, 0)) as model:
        model.load(x, y, order)
        for _ in range(_CALLS):
            model.train(0, len(order), workload.batch, 1e-4)


def data(network: Network, rows: int) -> tuple[Array, Array, Order]:
    """Return x: (rows, m_0), y: (rows, m_L) and an order of as many row numbers."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    y = np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(network.sizes[-1], size=rows)]
    return x, y, rng.integers(rows, size=rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step."""
    p = child_parser("work", __doc__)
    p.add_argument("what", metavar="every|WORKLOAD", help="what to do")
    p.add_argument("--names", required=True, metavar="LIST", help="backends to run")
    arguments = p.parse_args(argv)
    for name in arguments.names.split(","):
        backend = load_backend(name, [arguments.backend])
        if arguments.what == "every":
            for dtype in DTYPES[:1] if arguments.small else DTYPES:
                every_kernel(backend, replace(_NETWORK, dtype=dtype))
        else:
            small = arguments.small
            train_workload(backend, "wine-shallow" if small else arguments.what, 2 if small else _STEPS)
        print(f"{name}: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
