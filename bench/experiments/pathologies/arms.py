"""The trainings of the experiment: networks that fall ill, and the same with one thing changed at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes
    ----------
    name : str
    activation : str
        Of all hidden layers.
    scheme : str
        Of `pyfnn.initialize`: fan_in, or uniform01, the article's U(0, 1).
    standardized : bool
        Scale the inputs to mean 0 and standard deviation 1; else they are in their own units.
    rate : float
    """

    name: str
    activation: str
    scheme: str = "fan_in"
    standardized: bool = True
    rate: float = 0.1


@dataclass(frozen=True)
class Pathology:
    """An illness of training: the network that shows it, and arms, the illest first, with cures and what is none.

    Attributes
    ----------
    title : str
    lesson : str
        What the figure shows.
    hidden : tuple of int
        Widths of the hidden layers.
    loss : str
    batch, steps : int
    share : str
        Column of `pyfnn.training.diagnose` to show beside the gradient: activation_rms, saturated or dead.
    arms : tuple of Arm
    data : str or None
        Dataset; None for the one of --data.
    """

    title: str
    lesson: str
    hidden: tuple[int, ...]
    loss: str
    batch: int
    steps: int
    share: str
    arms: tuple[Arm, ...]
    data: str | None = None

    def network(self, arm: Arm, inputs: int, outputs: int) -> Mapping[str, Any]:
        """Return the arguments of `Network`."""
        sizes = [inputs, *self.hidden, outputs]
        return {"sizes": sizes, "activation": arm.activation, "loss": self.loss, "dtype": "float64"}


PATHOLOGIES = {
    "vanishing": Pathology(
        title="Vanishing gradients: eight hidden layers, digits",
        lesson="σ' is at most 1/4, so each sigmoid layer shrinks the gradient; saturated units shrink it more.",
        hidden=(32,) * 8,
        loss="softmax_cross_entropy",
        batch=32,
        steps=2000,
        share="saturated",
        data="digits",
        arms=(
            Arm("sigmoid, U(0,1)", "sigmoid", "uniform01"),
            Arm("sigmoid, fan-in", "sigmoid"),
            Arm("tanh, fan-in", "tanh"),
            Arm("relu, fan-in", "relu"),
        ),
    ),
    "exploding": Pathology(
        title="Exploding gradients: the article's network with relu, wine",
        lesson="Weights from U(0,1) have a mean of 1/2, so each layer multiplies by half its width, and inputs in "
        "their own units by their size. The first steps then kill most relu units; the rest is close to a constant.",
        hidden=(50, 30, 20, 10, 5),
        loss="squared_error",
        batch=1,
        steps=2000,
        share="activation_rms",
        arms=(
            Arm("raw inputs, U(0,1)", "relu", "uniform01", standardized=False, rate=0.01),
            Arm("standardized, U(0,1)", "relu", "uniform01", rate=0.01),
            Arm("raw inputs, fan-in", "relu", standardized=False, rate=0.01),
            Arm("standardized, fan-in", "relu", rate=0.01),
        ),
    ),
    "dead-units": Pathology(
        title="Dead units: two hidden layers, digits",
        lesson="A step that is too long puts a relu unit below 0 for every row; there its gradient is 0, and it stays. "
        "leaky_relu keeps its units, but long steps make θ grow without bound. A bounded function trains with them.",
        hidden=(64, 32),
        loss="softmax_cross_entropy",
        batch=32,
        steps=2000,
        share="dead",
        data="digits",
        arms=(
            Arm("relu, rate 1", "relu", rate=1.0),
            Arm("relu, rate 0.1", "relu"),
            Arm("tanh, rate 1", "tanh", rate=1.0),
            Arm("leaky_relu(0.1), rate 1", "leaky_relu(0.1)", rate=1.0),
        ),
    ),
}
