"""The values of a cell of the wine experiment. Imports nothing of the report, which may change without new cells."""

import numpy as np

from bench.experiments.engine.cell import Parameters, Values
from bench.experiments.wine.agreement import trajectories
from bench.experiments.wine.baselines import baselines
from bench.experiments.wine.data import prepare
from bench.experiments.wine.treatments import as_published, corrected, done_right, network
from pyfnn.registry import load_backend


def compute(parameters: Parameters) -> Values:
    """Return the values of a cell; see the function of its kind in `treatments`, `baselines` and `agreement`."""
    p = dict(parameters)
    split = prepare(p["wine"], p["duplicates"], p["seed"])
    if p["kind"] == "baselines":
        return baselines(split.standardized(), p["seed"])
    l2 = 0.0 if p["kind"] == "right" else p["l2"]  # else one λ for each member
    net = network(tuple(p["hidden"]), p["activation"], l2, p.get("dtype", "float64"))
    trained = (p["seed"], p["rate"])
    if p["kind"] == "published":
        return as_published(net, split, *trained, p["epochs"], p["normalize"], p["implementation"])
    if p["kind"] == "corrected":
        return corrected(load_backend(p["backend"]), net, split, *trained, p["epochs"])
    if p["kind"] == "right":
        grid = np.array(p["l2"], np.float64)
        backend = load_backend(p["backend"])
        return done_right(backend, net, split.standardized(), *trained, grid, p["epochs"], p["patience"])
    backends = {name: load_backend(name) for name in p["backends"]}
    return trajectories(backends, net, split.standardized(), *trained, p["epochs"])
