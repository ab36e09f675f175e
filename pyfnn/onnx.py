"""Export of a network to ONNX, by the package onnx, which is imported when it is called."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pyfnn import extra
from pyfnn.errors import PyfnnError, Unsupported
from pyfnn.network import Network
from pyfnn.validation import Array, check_array

_OPSET, _IR = 18, 9  # of ONNX 1.14 (2023): other programs read them


class _Operator(NamedTuple):
    """An ONNX operator.

    Attributes
    ----------
    name : str
    parameter : str
        Attribute that takes the activation's parameter, if there is one.
    attributes : dict of str to float
    inputs : tuple of float
        Further inputs.
    slopes : bool
        The layer's slopes are a further input.
    below : str
        Operator of the units below 0, whose outputs the parameter multiplies: f(Z) = relu(Z) + a · below(min(Z, 0)). An
        attribute is a float32; this is how a parameter that is none enters a float64 network, as an input.
    pieces : bool
        The operator takes Z as (rows, m_l, k) and reduces its last axis, a further input.
    """

    name: str
    parameter: str = ""
    attributes: dict[str, float] = {}  # noqa: RUF012
    inputs: tuple[float, ...] = ()
    slopes: bool = False
    below: str = ""
    pieces: bool = False

    def further(self, network: Network, theta: Array, layer: int) -> dict[str, Array]:
        """Return the inputs beside Z, by their names in the graph."""
        real = np.dtype(network.dtype).type
        found = {f"{self.name}_{layer}_{at}": np.array(value, real) for at, value in enumerate(self.inputs)}
        if self.slopes:
            found[f"S_{layer}"] = network.tensors(theta)[f"S_{layer}"]
        if self.pieces:
            found[f"axis_{layer}"] = np.array([2], np.int64)
        return found


_OPERATORS = {
    "identity": _Operator("Identity"),
    "sigmoid": _Operator("Sigmoid"),
    "tanh": _Operator("Tanh"),
    "relu": _Operator("Relu"),
    "leaky_relu": _Operator("LeakyRelu", "alpha", below="Identity"),
    "elu": _Operator("Elu", "alpha", below="Elu"),
    "softplus": _Operator("Softplus"),
    "hard_sigmoid": _Operator("HardSigmoid", attributes={"alpha": 0.25, "beta": 0.5}),
    "hard_tanh": _Operator("Clip", inputs=(-1.0, 1.0)),
    "prelu": _Operator("PRelu", slopes=True),
    "maxout": _Operator("ReduceMax", attributes={"keepdims": 0}, pieces=True),
    "softmax": _Operator("Softmax", attributes={"axis": 1}),
}


def export(path: str | Path, network: Network, theta: Array) -> None:
    """Write a network as an ONNX file: input X, (rows, m_0); output Y, (rows, m_L), as `Model.predict` returns it.

    Parameters
    ----------
    path : str or Path
    network : Network
    theta : ndarray, shape (n_parameters,), of the network's dtype

    Raises
    ------
    Unsupported
        ONNX has no operator for an activation; the message names it.
    InvalidInput
        θ does not fit the network.
    PyfnnError
        The package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise PyfnnError(f"onnx is not installed: {extra.ONNX}") from None
    check_array("theta", theta, (network.n_parameters,), network.dtype)
    nodes: list[Any] = []
    constants = {name: tensor for name, tensor in network.tensors(theta).items() if name[0] != "S"}
    names = [(f.key, f.parameter) for f in network.elementwise_activations]
    names += [(str(network.output_activation), 0.0)] * network.fused
    below = "X"
    for layer, (key, parameter) in enumerate(names, start=1):
        if key not in _OPERATORS:
            raise Unsupported(f"ONNX has no activation {key!r}")
        operator = _OPERATORS[key]
        Z, A = f"Z_{layer}", "Y" if layer == network.n_layers else f"A_{layer}"
        further = operator.further(network, theta, layer)
        nodes.append(onnx.helper.make_node("Gemm", [below, f"W_{layer}", f"b_{layer}"], [Z]))
        if operator.pieces:
            shape = {f"shape_{layer}": np.array([0, network.sizes[layer], int(parameter)], np.int64)}  # 0: the rows
            nodes.append(onnx.helper.make_node("Reshape", [Z, *shape], [f"pieces_{layer}"]))
            constants, Z = constants | shape, f"pieces_{layer}"
        if operator.below and network.dtype == "float64" and not _is_float32(parameter):
            composed, further = _scaled(onnx, operator.below, parameter, Z, A, layer)
            nodes += composed
        else:
            attributes = operator.attributes | ({operator.parameter: parameter} if operator.parameter else {})
            nodes.append(onnx.helper.make_node(operator.name, [Z, *further], [A], **attributes))
        constants, below = constants | further, A
    onnx.save(_checked(onnx, network, nodes, constants), str(path))


def _is_float32(parameter: float) -> bool:
    with np.errstate(over="ignore"):
        return float(np.float32(parameter)) == parameter


def _scaled(
    onnx: Any, operator: str, parameter: float, Z: str, A: str, layer: int
) -> tuple[list[Any], dict[str, Array]]:
    """Return the nodes of A = relu(Z) + parameter · operator(min(Z, 0)), and their constants, in float64."""
    zero, a, above, least, below, scaled = (
        f"{name}_{layer}" for name in ("zero", "a", "above", "least", "below", "scaled")
    )
    nodes = [
        onnx.helper.make_node("Relu", [Z], [above]),
        onnx.helper.make_node("Min", [Z, zero], [least]),
        onnx.helper.make_node(operator, [least], [below]),
        onnx.helper.make_node("Mul", [below, a], [scaled]),
        onnx.helper.make_node("Add", [above, scaled], [A]),
    ]
    return nodes, {zero: np.array(0.0), a: np.array(parameter)}


def _checked(onnx: Any, network: Network, nodes: list[Any], constants: dict[str, Array]) -> Any:
    """Return the ONNX model after the package's own check of it."""
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(network.dtype))
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, ["rows", width])
        for name, width in (("X", network.sizes[0]), ("Y", network.sizes[-1]))
    ]
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], tensors)
    opsets = [onnx.helper.make_opsetid("", _OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR, producer_name="pyfnn")
    onnx.checker.check_model(model, full_check=True)
    return model
