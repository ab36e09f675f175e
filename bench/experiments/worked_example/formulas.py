"""The formulas of a 2-2-2 network, and their evaluation: the text that is printed is the text that is evaluated."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyfnn import activations, losses

NAME = re.compile(r"\b(?!exp|log)[^\W\d]\w*(?:\[[\d,]+\])?")  # of a number: Z_1[2], W_1[1,2], α
UNITS = (1, 2)  # of every layer

# Round numbers, those of M. Mazur, "A Step by Step Backpropagation Example" (2015), whose results for sigmoid outputs
# are published. The targets sum to 1, as those of a softmax must. W_l[i,j] leads from unit i to unit j.
NUMBERS: dict[str, float] = {
    "X[1]": 0.05, "X[2]": 0.10,
    "W_1[1,1]": 0.15, "W_1[1,2]": 0.25, "W_1[2,1]": 0.20, "W_1[2,2]": 0.30, "b_1[1]": 0.35, "b_1[2]": 0.35,
    "W_2[1,1]": 0.40, "W_2[1,2]": 0.50, "W_2[2,1]": 0.45, "W_2[2,2]": 0.55, "b_2[1]": 0.60, "b_2[2]": 0.60,
    "T[1]": 0.01, "T[2]": 0.99, "α": 0.5,
}  # fmt: skip
PARAMETERS = [name for name in NUMBERS if name[0] in "Wb"]  # in the order of θ


class Formula(NamedTuple):
    """A quantity and the expression that gives it; for a derivative, of which quantity and by which."""

    quantity: str
    text: str
    derivative: tuple[str, str] | None = None

    @property
    def defined(self) -> str:
        """The quantity, for a derivative with its definition: ``δ_1[2] = ∂R/∂Z_1[2]``."""
        return self.quantity + (" = ∂{}/∂{}".format(*self.derivative) if self.derivative else "")


@dataclass(frozen=True)
class Head:
    """The outputs and the loss that stand on Z_2.

    Attributes
    ----------
    title : str
    outputs : tuple of Formula
        From Z_2 to Y.
    loss : str
        R, an expression.
    backward : tuple of Formula
        From R to δ_2 = ∂R/∂Z_2.
    outputs_and_loss : callable
        The same by the oracle's functions: (Z_2, T), (1, 2) each -> the arrays of `outputs` by name, and R.
    """

    title: str
    outputs: tuple[Formula, ...]
    loss: str
    backward: tuple[Formula, ...]
    outputs_and_loss: Callable[[Any, Any], tuple[dict[str, Any], Any]]


def _sigmoid(Z: str) -> str:
    return f"1/(1 + exp(-{Z}))"


def _softmax(Z: str, j: int) -> str:
    return f"exp({Z}[{j}])/(exp({Z}[1]) + exp({Z}[2]))"


def _softmax_backward(Z: str, dZ: str) -> tuple[Formula, ...]:
    """Return the formulas from R to ∂R/∂Z: by the Jacobian of Y = softmax(Z), and in short."""

    def entry(k: int, j: int) -> str:
        return f"Y[{k}]*(1 - Y[{j}])" if k == j else f"-Y[{k}]*Y[{j}]"

    return (
        *(Formula(f"dY[{k}]", f"-T[{k}]/Y[{k}]", ("R", f"Y[{k}]")) for k in UNITS),
        *(Formula(f"J[{k},{j}]", entry(k, j), (f"Y[{k}]", f"{Z}[{j}]")) for k in UNITS for j in UNITS),
        *(Formula(f"{dZ}[{j}]", f"dY[1]*J[1,{j}] + dY[2]*J[2,{j}]", ("R", f"{Z}[{j}]")) for j in UNITS),
        *(Formula(f"{dZ}[{j}]", f"Y[{j}] - T[{j}]", ("R", f"{Z}[{j}]")) for j in UNITS),
    )


def _half_squared_error(Z: Any, T: Any) -> tuple[dict[str, Any], Any]:
    Y = activations.sigmoid(Z)
    return {"Y": Y}, losses.TABLE["half_squared_error"].value(Z, Y, T)[0]


def _cross_entropy(Z: Any, T: Any) -> tuple[dict[str, Any], Any]:
    Y = losses.softmax(Z)
    return {"Y": Y}, losses.TABLE["softmax_cross_entropy"].value(Z, Y, T)[0]


def _cross_entropy_of_sigmoid(Z: Any, T: Any) -> tuple[dict[str, Any], Any]:
    S = activations.sigmoid(Z)
    outputs, R = _cross_entropy(S, T)
    return {"S": S, **outputs}, R


CROSS_ENTROPY = "-(T[1]*log(Y[1]) + T[2]*log(Y[2]))"
HEADS = {
    "sigmoid": Head(
        "sigmoid outputs, half the squared error",
        tuple(Formula(f"Y[{j}]", _sigmoid(f"Z_2[{j}]")) for j in UNITS),
        "((Y[1] - T[1])**2 + (Y[2] - T[2])**2)/2",
        (
            *(Formula(f"dY[{j}]", f"Y[{j}] - T[{j}]", ("R", f"Y[{j}]")) for j in UNITS),
            *(Formula(f"δ_2[{j}]", f"dY[{j}]*Y[{j}]*(1 - Y[{j}])", ("R", f"Z_2[{j}]")) for j in UNITS),
        ),
        _half_squared_error,
    ),
    "softmax-of-sigmoid": Head(
        "softmax of sigmoid outputs, cross-entropy",
        (
            *(Formula(f"S[{j}]", _sigmoid(f"Z_2[{j}]")) for j in UNITS),
            *(Formula(f"Y[{j}]", _softmax("S", j)) for j in UNITS),
        ),
        CROSS_ENTROPY,
        (
            *_softmax_backward("S", "dS"),
            *(Formula(f"δ_2[{j}]", f"dS[{j}]*S[{j}]*(1 - S[{j}])", ("R", f"Z_2[{j}]")) for j in UNITS),
        ),
        _cross_entropy_of_sigmoid,
    ),
    "softmax": Head(
        "softmax outputs, cross-entropy",
        tuple(Formula(f"Y[{j}]", _softmax("Z_2", j)) for j in UNITS),
        CROSS_ENTROPY,
        _softmax_backward("Z_2", "δ_2"),
        _cross_entropy,
    ),
}


def forward_formulas(head: Head) -> list[Formula]:
    """Return the formulas from the inputs to R."""
    return [
        *_sums("X", 1),
        *(Formula(f"A_1[{j}]", _sigmoid(f"Z_1[{j}]")) for j in UNITS),
        *_sums("A_1", 2),
        *head.outputs,
        Formula("R", head.loss),
    ]


def _sums(below: str, layer: int) -> list[Formula]:
    products = [" + ".join(f"{below}[{i}]*W_{layer}[{i},{j}]" for i in UNITS) for j in UNITS]
    return [Formula(f"Z_{layer}[{j}]", f"{products[j - 1]} + b_{layer}[{j}]") for j in UNITS]


def backward_formulas(head: Head) -> list[Formula]:
    """Return the formulas from R to its derivatives by all parameters."""
    return [
        *head.backward,
        *_gradient("A_1", 2),
        *(Formula(f"dA_1[{i}]", f"δ_2[1]*W_2[{i},1] + δ_2[2]*W_2[{i},2]", ("R", f"A_1[{i}]")) for i in UNITS),
        *(Formula(f"δ_1[{i}]", f"dA_1[{i}]*A_1[{i}]*(1 - A_1[{i}])", ("R", f"Z_1[{i}]")) for i in UNITS),
        *_gradient("X", 1),
    ]


def _gradient(below: str, layer: int) -> list[Formula]:
    weights = [(f"W_{layer}[{i},{j}]", f"{below}[{i}]*δ_{layer}[{j}]") for i in UNITS for j in UNITS]
    biases = [(f"b_{layer}[{j}]", f"δ_{layer}[{j}]") for j in UNITS]
    return [Formula(f"d{name}", text, ("R", name)) for name, text in weights + biases]


def update_formulas(head: Head) -> list[Formula]:
    """Return the formulas of one step of gradient descent, which are the same for every head."""
    del head
    return [Formula(primed(name), f"{name} - α*d{name}") for name in PARAMETERS]


PARTS: dict[str, Callable[[Head], list[Formula]]] = {
    "forward": forward_formulas,
    "backward": backward_formulas,
    "step": update_formulas,
}


def primed(name: str) -> str:
    """Return the name of a parameter after the step: ``W_1'[1,2]``."""
    return name.replace("[", "'[")


def evaluate(text: str, known: Mapping[str, Any]) -> Any:
    """Evaluate an expression of this file in the type of the known numbers, float or complex."""
    code = NAME.sub(lambda match: f"known[{match[0]!r}]", text)
    return eval(code, {"exp": np.exp, "log": np.log, "known": known})


def with_numbers(text: str, known: Mapping[str, float]) -> str:
    """Return an expression with each name replaced by its number, to six digits."""

    def shown(match: re.Match[str]) -> str:
        value = f"{known[match[0]]:.6g}"
        return f"({value})" if value.startswith("-") else value

    return as_printed(NAME.sub(shown, text))


def as_printed(text: str) -> str:
    """Return an expression as readers write it."""
    return text.replace("**2", "²").replace("*", "·")
