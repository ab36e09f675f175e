"""Frozen description of a network: sizes, functions, loss, dtype; layout and initialization of its parameters.

Nothing here computes a network: the oracle and the backends do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate, pairwise, starmap
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyfnn import activations, losses
from pyfnn.activations import Activation
from pyfnn.errors import InvalidInput, UnknownName, shown
from pyfnn.validation import MOST, check_not_negative, check_seed, is_whole

DTYPES = ("float32", "float64")
INITIALIZATION_SCHEMES = ("fan_in", "uniform01", "glorot")


class Layer(NamedTuple):
    """Views of one layer's weights and biases. W: (m_{l-1}, m_l); b: (m_l,); in a layer of k pieces a unit, k m_l."""

    W: NDArray[Any]
    b: NDArray[Any]


@dataclass(frozen=True)
class Network:
    """A feed-forward network and its regularized loss.

    Parameters
    ----------
    sizes : sequence of int
        m_0 inputs, the hidden widths, m_L outputs; at least two entries, each positive.
    activation : str or sequence of str
        One name for all hidden layers, or one name per hidden layer; see `pyfnn.activations.TABLE`.
    loss : str
        Name in `pyfnn.losses.TABLE`. The cross-entropies fuse their output activation.
    l2 : float
        λ of (λ/2) Σ_l ‖W_l‖²_F; biases are not penalized.
    output_activation : str, optional
        For the squared errors, any activation but ``prelu`` and ``maxout``, ``identity`` by default. For the
        cross-entropies, the activation that they fuse or None.
    dtype : {"float32", "float64"}

    Raises
    ------
    InvalidInput
        A field breaks its rule; the message names the field, the value and the rule.
    UnknownName
        An activation, loss or dtype is not in its table.

    Notes
    -----
    Parameters form one flat vector θ: for each layer W_l, row-major, (m_{l-1}, m_l), then b_l, (m_l,). In a layer of
    ``maxout(k)`` W_l is (m_{l-1}, k m_l) and b_l (k m_l,), the k pieces of a unit adjacent; in one of ``prelu`` b_l is
    followed by the slopes S_l, (m_l,). These two are for hidden layers.
    """

    sizes: tuple[int, ...]
    activation: str | tuple[str, ...]
    loss: str
    l2: float = 0.0
    output_activation: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        def put(field: str, value: object) -> None:
            object.__setattr__(self, field, value)

        put("sizes", _checked_sizes(self.sizes))
        if not isinstance(self.loss, str) or self.loss not in losses.TABLE:
            raise UnknownName("loss", self.loss, losses.TABLE)
        if not isinstance(self.dtype, str) or self.dtype not in DTYPES:
            raise UnknownName("dtype", self.dtype, DTYPES)
        put("l2", check_not_negative("l2", self.l2))
        put("activation", self._checked_activation())
        put("output_activation", self._checked_output())
        for f in self.elementwise_activations:
            if abs(f.parameter) > float(np.finfo(self.dtype).max):
                raise InvalidInput(f"activation {f.name}: its parameter is beyond the largest {self.dtype}")
        if self.n_parameters > MOST:
            raise InvalidInput(f"sizes = {shown(self.sizes)}: more than 2**53 parameters")

    def __reduce__(self) -> tuple[type["Network"], tuple[Any, ...]]:
        """Pickle the fields alone: the cached properties hold functions, and are computed again."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    def _checked_activation(self) -> str | tuple[str, ...]:
        if isinstance(self.activation, str):
            return activations.parse(self.activation).name
        given = _items(self.activation)
        if given is None:
            raise InvalidInput(
                f"activation = {shown(self.activation)}: must be a name, or a sequence with one name per hidden layer"
            )
        names = tuple(activations.parse(name).name for name in given)
        hidden = len(self.sizes) - 2
        if len(names) != hidden:
            raise InvalidInput(
                f"activation = {shown(names)}: needs one name per hidden layer, of which there are {hidden}"
            )
        return names

    def _checked_output(self) -> str:
        fused = losses.TABLE[self.loss].fuses
        if fused is None:
            output = activations.parse("identity" if self.output_activation is None else self.output_activation)
            if output.row.hidden_only:
                raise InvalidInput(
                    f"output_activation = {shown(self.output_activation)}: {output.key} is for hidden layers"
                )
            return output.name
        given = self.output_activation
        if given is not None and not (isinstance(given, str) and given == fused):
            raise InvalidInput(f"output_activation = {shown(given)}: {self.loss} fuses {fused}; leave it unset")
        return fused

    @property
    def n_layers(self) -> int:
        """Number of weight layers, L."""
        return len(self.sizes) - 1

    @cached_property
    def hidden_activations(self) -> tuple[Activation, ...]:
        """Activations f_1 .. f_{L-1}."""
        names = self.activation if isinstance(self.activation, tuple) else (self.activation,) * (self.n_layers - 1)
        return tuple(activations.parse(name) for name in names)

    @cached_property
    def elementwise_activations(self) -> tuple[Activation, ...]:
        """Activations f_1 .. f_L; without f_L where the loss fuses it."""
        last = () if self.fused else (activations.parse(str(self.output_activation)),)
        return self.hidden_activations + last

    @property
    def fused(self) -> bool:
        """True where the loss fuses its output activation (softmax or sigmoid)."""
        return losses.TABLE[self.loss].fuses is not None

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Widths of Z_1 .. Z_L: m_l, or k m_l where a unit has k pieces."""
        return (*(f.pieces * m for f, m in zip(self.hidden_activations, self.sizes[1:], strict=False)), self.sizes[-1])

    @cached_property
    def _places(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """Part of θ that each tensor takes, and its shape, by its name, in their order."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (m_in, columns) in enumerate(zip(self.sizes, self.columns, strict=False), start=1):
            shapes |= {f"W_{layer}": (m_in, columns), f"b_{layer}": (columns,)}
            if layer < self.n_layers and self.hidden_activations[layer - 1].row.slope_derivative is not None:
                shapes[f"S_{layer}"] = (self.sizes[layer],)
        ends = list(accumulate(map(math.prod, shapes.values()), initial=0))
        parts = starmap(slice, pairwise(ends))
        return dict(zip(shapes, zip(parts, shapes.values(), strict=True), strict=True))

    @cached_property
    def _layer_places(self) -> list[tuple[slice, tuple[int, ...], slice, slice]]:
        """Part of θ that W_l takes and its shape, that of b_l, and that of S_l, empty where the layer has none."""
        of, none = self._places, (slice(0, 0), ())
        layers = range(1, self.n_layers + 1)
        return [(*of[f"W_{at}"], of[f"b_{at}"][0], of.get(f"S_{at}", none)[0]) for at in layers]

    @cached_property
    def n_parameters(self) -> int:
        """Number of parameters, the length of θ."""
        return sum(self.tensor_sizes)

    @property
    def _weights(self) -> list[int]:
        """Number of weights of each layer."""
        return [m_in * columns for m_in, columns in zip(self.sizes, self.columns, strict=False)]

    @property
    def flops_per_row(self) -> int:
        """Floating-point operations of a training step per row: 2(2Σ_l P_l + Σ_{l≥2} P_l), P_l = m_{l-1} k m_l.

        k is 1 but for ``maxout(k)``. The count takes each multiply-add of a matrix product as two operations, and
        nothing else.
        """
        return 2 * (2 * sum(self._weights) + sum(self._weights[1:]))

    @property
    def forward_flops_per_row(self) -> int:
        """Floating-point operations of a forward pass per row, counted as in `flops_per_row`: 2Σ_l P_l."""
        return 2 * sum(self._weights)

    def tensors(self, theta: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return views of the tensors of θ by their names, in their order: W_1, b_1, W_2, ...; S_l, slopes, follow b_l.

        Parameters
        ----------
        theta : ndarray, shape (n_parameters,)
            θ, or anything else laid out as θ, such as the gradient.

        Raises
        ------
        InvalidInput
            theta has another shape.
        """
        if theta.shape != (self.n_parameters,):
            raise self._misfit(theta)
        return {name: theta[part].reshape(shape) for name, (part, shape) in self._places.items()}

    def layers(self, theta: NDArray[Any]) -> list[Layer]:
        """Return views of each layer's weights and biases; see `tensors`.

        A stack of vectors, (stack, n_parameters), gives stacks of views.
        """
        stack = self._stack_of(theta)
        return [Layer(theta[..., W].reshape(stack + shape), theta[..., b]) for W, shape, b, _ in self._layer_places]

    def slopes(self, theta: NDArray[Any]) -> list[NDArray[Any]]:
        """Return views of the slopes that each layer learns: (m_l,), or (0,) where it learns none; see `layers`."""
        self._stack_of(theta)
        return [theta[..., S] for *_, S in self._layer_places]

    def _stack_of(self, theta: NDArray[Any]) -> tuple[int, ...]:
        """Return the axes before the last one, whose length is checked."""
        if theta.shape[-1:] != (self.n_parameters,):
            raise self._misfit(theta)
        return theta.shape[:-1]

    def _misfit(self, theta: NDArray[Any]) -> InvalidInput:
        return InvalidInput(f"theta has shape {theta.shape}: this network needs ({self.n_parameters},)")

    def activations_at(self, theta: NDArray[Any]) -> list[Activation]:
        """Return `elementwise_activations` with the slopes of θ."""
        slopes = self.slopes(theta)
        return [f.with_slopes(S[..., None, :]) for f, S in zip(self.elementwise_activations, slopes, strict=False)]

    def places(self, entries: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return the place of each entry of θ: the number of its tensor, as in `tensor_names`, and its entry there."""
        starts = np.array([part.start for part, _ in self._places.values()])
        tensors = np.searchsorted(starts, entries, side="right") - 1
        return list(zip(tensors.tolist(), (entries - starts[tensors]).tolist(), strict=True))

    @cached_property
    def tensor_sizes(self) -> list[int]:
        """Number of entries of each tensor, in the order of `tensor_names`."""
        return [part.stop - part.start for part, _ in self._places.values()]

    def tensor_names(self) -> list[str]:
        """Return the names of θ's tensors in their order: W_1, b_1, W_2, ..."""
        return list(self._places)


def _checked_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    given = _items(sizes)
    if given is None or not all(map(_is_exact, given)):
        raise InvalidInput(f"sizes = {shown(sizes)}: must be a sequence of whole numbers")
    plain = tuple(map(int, given))
    if len(plain) < 2:
        raise InvalidInput(f"sizes = {shown(plain)}: a network has at least two sizes, its inputs and its outputs")
    if min(plain) < 1:
        raise InvalidInput(f"sizes = {shown(plain)}: every size must be at least 1")
    return plain


def _items(values: Any) -> tuple[Any, ...] | None:
    """Return the items of an iterable; None for anything else."""
    try:
        return tuple(values)
    except TypeError:
        return None


def _is_exact(size: Any) -> bool:
    return is_whole(size) or (isinstance(size, (float, np.floating)) and float(size).is_integer())


def initialize(network: Network, seed: int, scheme: str = "fan_in") -> NDArray[Any]:
    """Draw initial parameters, reproducible from the seed.

    Parameters
    ----------
    network : Network
    seed : int
        Seed of NumPy's PCG64 generator, at least 0.
    scheme : {"fan_in", "uniform01", "glorot"}
        ``fan_in``: W_l ~ N(0, 2/m_{l-1}) before an activation of the relu family, ``maxout`` included (He et al. 2015,
        eq. 10), else W_l ~ U(±√(6/(m_{l-1}+m_l))) (Glorot and Bengio 2010, eq. 16); biases 0; the slopes of
        ``prelu(a)`` a. ``uniform01``: all parameters U(0, 1), as in the article on which pyfnn is based. ``glorot``:
        W_l and b_l ~ U(±√(6/(m_{l-1}+m_l))), or U(±√(2/(m_{l-1}+m_l))) where the hidden layers are of ``sigmoid``; the
        slopes of ``prelu(a)`` a. It is the start of scikit-learn's `MLPRegressor`. Here m_l is the number of columns of
        W_l: k times the units of ``maxout(k)``.

    Returns
    -------
    ndarray, shape (n_parameters,), of the network's dtype

    Raises
    ------
    UnknownName
        There is no such scheme.
    InvalidInput
        The seed is not a whole number, or is negative.
    """
    if not isinstance(scheme, str) or scheme not in INITIALIZATION_SCHEMES:
        raise UnknownName("initialization scheme", scheme, INITIALIZATION_SCHEMES)
    check_seed("seed", seed)
    rng = np.random.Generator(np.random.PCG64(seed))
    theta = np.zeros(network.n_parameters)
    if scheme == "uniform01":
        theta[:] = rng.random(theta.size)
        return theta.astype(network.dtype)
    he = [f.row.he_initialization for f in network.elementwise_activations] + [False] * network.fused
    sigmoids = {f.key for f in network.hidden_activations} == {"sigmoid"}
    for is_he, (W, b) in zip(he, network.layers(theta), strict=True):
        fan_in, fan_out = W.shape
        bound = math.sqrt((2 if sigmoids and scheme == "glorot" else 6) / (fan_in + fan_out))
        if is_he and scheme == "fan_in":
            W[:] = rng.normal(0.0, math.sqrt(2 / fan_in), W.shape)
        else:
            W[:] = rng.uniform(-bound, bound, W.shape)
        if scheme == "glorot":
            b[:] = rng.uniform(-bound, bound, b.shape)
    for f, slopes in zip(network.elementwise_activations, network.slopes(theta), strict=False):
        slopes[:] = f.parameter
    return theta.astype(network.dtype)
