"""Hypothesis strategies for several test modules: networks, their parameters, their data. No claims."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from pyfnn import losses, oracle
from pyfnn.activations import TABLE, Activation, Array, parse
from pyfnn.network import DTYPES, Network, initialize

PARAMETERS = {
    "leaky_relu": ("", "(0.01)", "(0.3)", "(1.0)", "(-0.5)"),
    "elu": ("", "(1.0)", "(0.3)", "(2.0)", "(-0.5)"),
    "prelu": ("", "(1.0)", "(-0.3)"),
    "maxout": ("", "(3)", "(5)"),
}
HIDDEN = tuple(f"{name}{written}" for name in TABLE for written in PARAMETERS.get(name, ("",)))
SPELLINGS = tuple(spelling for spelling in HIDDEN if not parse(spelling).row.hidden_only)  # for any layer
OWN_LAYOUT = tuple(spelling for spelling in HIDDEN if parse(spelling).row.hidden_only)
SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Case:
    """A network with its parameters and data; x: (rows, m_0), y: (rows, m_L), all float64."""

    network: Network
    theta: Array
    x: Array
    y: Array


def targets(network: Network, rows: int, rng: np.random.Generator) -> Array:
    """Draw targets (rows, m_L) that suit the network's loss."""
    shape = (rows, network.sizes[-1])
    if network.loss == "softmax_cross_entropy":
        return np.asarray(rng.dirichlet(np.ones(shape[1]), rows)).astype(network.dtype)
    return rng.random(shape).astype(network.dtype)


def clear_of_kinks(network: Network, theta: Array, x: Array, margin: float = 1e-4) -> bool:
    """Return True if no pre-activation is that near to a kink, and no two largest pieces of a unit to each other."""

    def distance(f: Activation, Z: Array) -> Any:
        if f.pieces > 1:
            ranked = np.sort(Z.reshape(len(Z), -1, f.pieces), axis=2)
            return (ranked[:, :, -1] - ranked[:, :, -2]).min()
        return min((np.abs(Z - kink).min() for kink in f.kinks), default=np.inf)

    pairs = zip(network.elementwise_activations, oracle.forward(network, theta, x).Z, strict=False)
    return all(distance(f, Z) > margin for f, Z in pairs)


@st.composite
def networks(draw: st.DrawFn, activations: tuple[str, ...] = HIDDEN, max_width: int = 6) -> Network:
    """Draw networks of one to four layers, with an activation for each."""
    sizes = draw(st.lists(st.integers(1, max_width), min_size=2, max_size=5))
    loss = draw(st.sampled_from(sorted(losses.TABLE)))
    outputs = [name for name in activations if not parse(name).row.hidden_only]
    return Network(
        sizes=tuple(sizes),
        activation=tuple(draw(st.sampled_from(activations)) for _ in sizes[2:]),
        loss=loss,
        l2=draw(st.sampled_from([0.0, 0.01, 0.5])),
        output_activation=None if losses.TABLE[loss].fuses else draw(st.sampled_from(outputs)),
        dtype=draw(st.sampled_from(DTYPES)),
    )


@st.composite
def cases(draw: st.DrawFn, /, **options: Any) -> Case:
    """Draw a network, parameters with biases other than 0, and one to five rows."""
    network = draw(networks(**options))
    seed, rows = draw(SEEDS), draw(st.integers(1, 5))
    rng = np.random.default_rng(seed)
    theta = initialize(network, seed).astype(np.float64)
    theta += rng.normal(0, 0.2, theta.shape)
    return Case(network, theta, rng.normal(size=(rows, network.sizes[0])), targets(network, rows, rng))
