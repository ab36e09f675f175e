"""Networks as plain PyTorch tensors: one, or many of one shape. Gradients by autograd, updates in place.

`torch_steps` runs their steps and passes; `torch` has the models, ensembles and backends.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pyfnn.activations import parse
from pyfnn.model import Operation
from pyfnn.network import Network
from pyfnn.validation import Array

Tensors = list[torch.Tensor]
Factor = Any  # float of one network; tensor (K, 1, 1) of many

_SOFTPLUS_THRESHOLD = 36.0  # above it softplus(Z) = Z even in float64, since exp(-36) is below its unit roundoff


def _maxout(Z: torch.Tensor, pieces: int) -> torch.Tensor:
    """Return each unit's largest piece. Of equal ones, `max` along an axis gives the derivative to the first."""
    return Z.unflatten(-1, (-1, pieces)).max(dim=-1).values


ACTIVATIONS: dict[str, Callable[[torch.Tensor, Any], torch.Tensor]] = {  # (Z, parameter or a layer's slopes) -> A
    "identity": lambda Z, _: Z,
    "sigmoid": lambda Z, _: torch.sigmoid(Z),
    "tanh": lambda Z, _: torch.tanh(Z),
    "relu": lambda Z, _: torch.relu(Z),
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": lambda Z, _: functional.softplus(Z, threshold=_SOFTPLUS_THRESHOLD),
    "hard_sigmoid": lambda Z, _: functional.hardtanh(Z / 2) / 2 + 0.5,  # functional.hardsigmoid has other bounds
    "hard_tanh": lambda Z, _: functional.hardtanh(Z),
    "prelu": lambda Z, slopes: torch.where(Z > 0, Z, slopes * Z),  # functional.prelu has slopes of one network only
    "maxout": _maxout,
}

LOSSES: dict[str, tuple[Callable[..., torch.Tensor], float]] = {  # (Y or Z_L, T) -> c L summed over rows; c
    "squared_error": (partial(functional.mse_loss, reduction="sum"), 1.0),
    "half_squared_error": (partial(functional.mse_loss, reduction="sum"), 2.0),
    "softmax_cross_entropy": (partial(functional.cross_entropy, reduction="sum"), 1.0),
    "sigmoid_cross_entropy": (partial(functional.binary_cross_entropy_with_logits, reduction="sum"), 1.0),
}
_FUSED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softmax": partial(torch.softmax, dim=1),
    "sigmoid": torch.sigmoid,
}


class OneNetwork:
    """One network on one device. W: (m_in, m_out), b and slopes: (m_out,), X: (B, m_0), T: (B, m_L), rows: (B,).

    On the CPU, `nn.Sequential` of `nn.Linear` was slower in small networks and no faster in large ones, with an update
    by hand as well as with `torch.optim.SGD` with `foreach`, with `fused` or with neither.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (n_parameters,)
        Copied.
    l2 : float
    device : torch.device
    """

    def __init__(self, network: Network, theta: Array, l2: Any, device: torch.device) -> None:
        self.network, self.device = network, device
        self._loss, self._c = LOSSES[network.loss]
        self._start = theta.copy()
        self.parameters = [torch.tensor(array, device=device, requires_grad=True) for array in self._tensors(theta)]
        self._layers = self._with_functions(self.parameters)
        self._weights = [W for W, *_ in self._layers]
        self._scales: dict[int, torch.Tensor] = {}
        self._l2 = self._factor(l2) if np.any(l2) else None

    def _tensors(self, theta: Array) -> list[Array]:
        return list(self.network.tensors(theta).values())

    def _with_functions(self, tensors: Tensors) -> list[tuple[torch.Tensor, torch.Tensor, Callable[..., Any], Any]]:
        """Return W, b, the activation, and its parameter or slopes, of each layer."""
        layers, rest = [], iter(tensors)
        for f in (*self.network.elementwise_activations, *[parse("identity")] * self.network.fused):
            W, b = next(rest), next(rest)
            parameter = next(rest) if f.row.slope_derivative else f.parameter
            layers.append((W, b, ACTIVATIONS[f.key], parameter))
        return layers

    def _factor(self, value: Any) -> Factor:
        return float(value)

    def rates(self, learning_rate: Any) -> Factor:
        """Return the learning rate as `step` needs it."""
        return self._factor(learning_rate)

    @staticmethod
    def _affine(b: torch.Tensor, A: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        return torch.addmm(b, A, W)

    @staticmethod
    def _take(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return x.index_select(0, rows)

    @staticmethod
    def _add(tensor: torch.Tensor, addend: torch.Tensor, factor: Factor) -> None:
        tensor.add_(addend, alpha=factor)

    @staticmethod
    def _subtract(tensor: torch.Tensor, gradient: torch.Tensor, rate: Factor) -> None:
        tensor.sub_(gradient, alpha=rate)

    def step(self, x: torch.Tensor, y: torch.Tensor, rows: torch.Tensor, rates: Factor) -> None:
        """Make one step of gradient descent. x: (rows, m_0), y: (rows, m_L)."""
        self._summed_loss(self._take(x, rows), self._take(y, rows)).backward(self.scale(rows.shape[-1]))
        with torch.no_grad():
            self._add_decay()
            for tensor in self.parameters:
                self._subtract(tensor, tensor.grad, rates)
                tensor.grad = None

    def _add_decay(self) -> None:
        if self._l2 is not None:
            for W in self._weights:
                self._add(W.grad, W, self._l2)

    def pass_over(self, operation: Operation, X: torch.Tensor, T: torch.Tensor, total: torch.Tensor) -> Tensors:
        """Make one pass; return the outputs or the gradient. The loss is added to `total`, on the device."""
        if operation == "forward":
            return [self.outputs(X)]
        total.add_(self.loss_and_gradient(X, T))
        gradient = [tensor.grad for tensor in self.parameters]
        self.forget_gradient()
        return gradient

    def _last(self, X: torch.Tensor) -> torch.Tensor:
        """Return Y, or Z_L where the loss fuses its output activation."""
        A = X
        for W, b, f, parameter in self._layers:
            A = f(self._affine(b, A, W), parameter)
        return A

    def _summed_loss(self, X: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
        return self._loss(self._last(X), T)

    def outputs(self, X: torch.Tensor) -> torch.Tensor:
        """Return Y: (B, m_L)."""
        Y = self._last(X)
        return _FUSED[str(self.network.output_activation)](Y) if self.network.fused else Y

    def loss_and_gradient(self, X: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
        """Return the loss R; write its gradient into the parameters' `grad`."""
        loss, scale = self._summed_loss(X, T), self.scale(len(T))
        loss.backward(scale)
        with torch.no_grad():
            loss *= scale
            if self._l2 is not None:
                for W in self._weights:
                    loss += self._l2 / 2 * W.square().sum()
            self._add_decay()
        return loss

    def scale(self, batch: int) -> torch.Tensor:
        """Return 1/(c·batch), which turns c times the summed loss into the mean; backpropagation starts from it."""
        if batch not in self._scales:
            scale = torch.tensor(1 / (self._c * batch), dtype=self.parameters[0].dtype, device=self.device)
            self._scales[batch] = scale
        return self._scales[batch]

    def gradient(self) -> Array:
        """Return the gradient that `loss_and_gradient` wrote, laid out as θ, and forget it."""
        gradient = self._flat([tensor.grad for tensor in self.parameters])
        self.forget_gradient()
        return gradient

    def forget_gradient(self) -> None:
        """Let go of the gradient."""
        for tensor in self.parameters:
            tensor.grad = None

    def theta(self) -> Array:
        """Return a copy of θ."""
        return self._flat(self.parameters)

    def _flat(self, tensors: Tensors) -> Array:
        parts = [tensor.detach().cpu().numpy().reshape(*self._start.shape[:-1], -1) for tensor in tensors]
        return np.concatenate(parts, axis=-1)

    def set_theta(self, theta: Array) -> None:
        """Set θ, of the shape of the initial one; it is copied."""
        with torch.no_grad():
            for tensor, array in zip(self.parameters, self._tensors(theta), strict=True):
                tensor.copy_(torch.tensor(array))

    def reset(self) -> None:
        """Restore the initial θ."""
        self.set_theta(self._start)


class ManyNetworks(OneNetwork):
    """K networks of one shape, whose products are batched. W: (K, m_in, m_out), b, slopes: (K, 1, m_out), rows: (K, B).

    The gradient of the sum of all losses is that of each member, since no member's loss depends on another's θ.
    On the CPU, `torch.func.vmap` of `torch.func.grad` took 1.4 to 2.5 times as long, `torch._foreach_addcmul_` as long.

    Parameters
    ----------
    network : Network
    theta : ndarray, shape (K, n_parameters)
    l2 : ndarray of float64, shape (K,)
    device : torch.device
    """

    def __init__(self, network: Network, theta: Array, l2: NDArray[np.float64], device: torch.device) -> None:
        super().__init__(network, theta, l2, device)
        self._rates = self._factor(np.zeros(len(theta)))

    def _tensors(self, theta: Array) -> list[Array]:
        members = zip(*(super(ManyNetworks, self)._tensors(own) for own in theta), strict=True)
        return [np.stack([np.atleast_2d(array) for array in arrays]) for arrays in members]

    def _factor(self, value: Any) -> Factor:
        return torch.tensor(np.asarray(value, self.network.dtype)[:, None, None], device=self.device)

    def rates(self, learning_rate: Any) -> Factor:
        """Return the rates in a tensor that is the same in every call, so that a captured step reads the new ones."""
        return self._rates.copy_(self._factor(learning_rate))

    @staticmethod
    def _affine(b: torch.Tensor, A: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(b, A, W)

    @staticmethod
    def _take(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return x.index_select(0, rows.flatten()).view(*rows.shape, -1)

    @staticmethod
    def _add(tensor: torch.Tensor, addend: torch.Tensor, factor: Factor) -> None:
        tensor.addcmul_(addend, factor)

    @staticmethod
    def _subtract(tensor: torch.Tensor, gradient: torch.Tensor, rate: Factor) -> None:
        tensor.addcmul_(gradient, rate, value=-1)

    def _summed_loss(self, X: torch.Tensor, T: torch.Tensor) -> torch.Tensor:
        return self._loss(self._last(X).flatten(0, 1), T.flatten(0, 1))
