"""Sharpness of the bounds of `pyfnn.parity` on single gradient entries, of the workloads of a suite.

    python -m bench.experiments.sharpness [--suite NAME] [--dtype DTYPE]

Prints, for each dW, the median error allowed to a single entry, as a multiple of what np.allclose allows (rtol = 1e-5,
atol = 1e-8 in float32; scaled by the unit roundoff in float64), and the share of the entries whose error is found if
one entry alone is 0, or off by 1 %, or by 0.1 %: by the norm of the tensor, and by the entry's own bound.
"""

import argparse

import numpy as np

from bench.suites.load import load_suite
from bench.suites.problem import make_problem
from pyfnn import oracle
from pyfnn.network import DTYPES
from pyfnn.parity.rounding import UNIT_ROUNDOFF, C, entry_scales, scale, tensor_norms

MISTAKES = {"zero": 1.0, "1 %": 1e-2, "0.1 %": 1e-3}


def main(argv: list[str] | None = None) -> None:
    """Run the experiment and print its table."""
    parser = argparse.ArgumentParser(prog="python -m bench.experiments.sharpness", description=__doc__)
    parser.add_argument("--suite", default="quick", help="suite of the workloads (quick)")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="(float32)")
    arguments = parser.parse_args(argv)
    suite, workloads = load_suite(arguments.suite)
    found = "".join(f"{f'{what}, {by}':>15}" for what in MISTAKES for by in ("norm", "entry"))
    print(f"{'':24}{'entries':>9}{'norm/allclose':>15}{'entry/allclose':>15}{found}")
    for name in suite.workloads:
        problem = make_problem(workloads[name], arguments.dtype)
        network, rows = problem.network, slice(0, workloads[name].batch)
        x, y = problem.x[rows], problem.y[rows]
        unit = C * UNIT_ROUNDOFF[network.dtype]
        size = scale(network, problem.theta, x, y)
        gradient = oracle.loss_and_gradient(network, problem.theta.astype(np.float64), x, y)[1]
        norms = tensor_norms(network, size.gradient)
        entries = network.layers(unit * entry_scales(network, size.gradient))
        relative = UNIT_ROUNDOFF[network.dtype] / UNIT_ROUNDOFF["float32"]
        for layer, (exact, allowed) in enumerate(zip(network.layers(gradient), entries, strict=True), 1):
            T, bound, by_norm = np.abs(exact.W), allowed.W, unit * norms[f"W_{layer}"]
            close = relative * (1e-8 + 1e-5 * T)
            counted = T > 0
            shares = [
                float(np.mean(mistake * T[counted] > by)) if counted.any() else 0.0
                for mistake in MISTAKES.values()
                for by in (by_norm, bound[counted])
            ]
            medians = [float(np.median(by / close)) for by in (by_norm, bound)]
            line = "".join(f"{ratio:15.2g}" for ratio in medians) + "".join(f"{share:15.1%}" for share in shares)
            print(f"{f'{name} dW_{layer}':24}{T.size:9}{line}")


if __name__ == "__main__":
    main()
