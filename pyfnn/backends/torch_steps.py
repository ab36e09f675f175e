"""Steps and passes of networks in PyTorch: called one operation at a time, or captured once as CUDA graphs."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch

from pyfnn.backends.torch_networks import OneNetwork, Tensors
from pyfnn.model import Operation
from pyfnn.validation import Array, Order

Places = list[tuple[int, tuple[int, ...]]]  # number of a tensor, and an index into it
Work = Callable[[], Tensors]  # one step or one pass; returns the results of a pass, nothing of a step

_GRAPHS = 16  # captured graphs to keep; each batch size and rate has its own
_WARM_UPS = 3  # runs before a capture


class EagerSteps:
    """Steps and passes whose operations Python calls one by one.

    Parameters
    ----------
    networks : OneNetwork
        One network, or many.

    Attributes
    ----------
    checksum : torch.Tensor
        Sum of the probed results of the passes; float64, on the device.
    """

    def __init__(self, networks: OneNetwork) -> None:
        self._networks, self._device = networks, networks.device
        self.checksum = torch.zeros((), dtype=torch.float64, device=self._device)

    def load(self, x: Array, y: Array, order: Order) -> None:
        """Copy the data to the device. order: (n,), or (K, n) of many networks."""
        self.x, self.y, self._order = (torch.tensor(array, device=self._device) for array in (x, y, order))

    def prepare_steps(self, first: int, count: int, batch_size: int, learning_rate: Any) -> Callable[[], None]:
        """Prepare all steps of a training call, and return the function that makes them."""
        order, rates = self._order[..., first : first + count], self._networks.rates(learning_rate)
        for batch in (batch_size, count % batch_size or batch_size):
            self._networks.scale(batch)

        def steps() -> None:
            for rows in order.split(batch_size, -1):
                self._networks.step(self.x, self.y, rows, rates)

        return steps

    def prepare_passes(
        self, operation: Operation, first: int, count: int, repeats: int, places: Places
    ) -> Callable[[], None]:
        """Prepare all passes of a timed call, and return the function that makes them."""
        x, y, starts = self.x, self.y, len(self.x) - count + 1
        self._networks.scale(count)

        def passes() -> None:
            for repeat, (tensor, index) in zip(range(repeats), cycle(places), strict=False):
                at = (first + repeat * count) % starts
                results = self._networks.pass_over(operation, x[at : at + count], y[at : at + count], self.checksum)
                self.checksum.add_(results[tensor][index])

        return passes

    def close(self) -> None:
        """Let go of the data."""
        self.x = self.y = self._order = torch.empty(0)


class CapturedSteps(EagerSteps):
    """Steps and passes that are each captured once as a CUDA graph: one launch replaces some dozens.

    The device keeps the position in the order, so that replays need no arguments. On the CPU, for tests, the same
    operations on the same buffers are called instead of captured.
    """

    def __init__(self, networks: OneNetwork) -> None:
        super().__init__(networks)
        self.at = torch.zeros((), dtype=torch.int64, device=self._device)
        self.captured: dict[tuple[str, int, float], Work] = {}

    def load(self, x: Array, y: Array, order: Order) -> None:
        """Copy the data to the device, and forget the graphs, which read the buffers of the earlier data."""
        super().load(x, y, order)
        self.captured.clear()

    def prepare_steps(self, first: int, count: int, batch_size: int, learning_rate: Any) -> Callable[[], None]:
        """Capture a full step and a short last one, where they are new, and return the function that replays them."""
        rates = self._networks.rates(learning_rate)
        # A captured step keeps one network's rate as a number; it reads those of many from their tensor.
        constant = 0.0 if isinstance(rates, torch.Tensor) else rates

        def next_step(_: str, batch: int, __: float) -> Work:
            return self._next_step(batch, rates)

        full, short = divmod(count, batch_size)
        step = self._ready(("step", batch_size, constant), next_step)
        last = self._ready(("step", short, constant), next_step) if short else None
        self.at.fill_(first)

        def steps() -> None:
            for _ in range(full):
                step()
            if last:
                last()

        return steps

    def _next_step(self, batch: int, rates: Any) -> Work:
        ahead = torch.arange(batch, device=self._device)

        def step() -> Tensors:
            self._networks.step(self.x, self.y, self._order.index_select(-1, self.at + ahead), rates)
            self.at.add_(batch)
            return []

        return step

    def prepare_passes(
        self, operation: Operation, first: int, count: int, repeats: int, places: Places
    ) -> Callable[[], None]:
        """Capture a pass, where it is new, and return the function that replays it."""
        one = self._ready((operation, count, 0.0), self._next_pass)
        self.at.fill_(first % (len(self.x) - count + 1))

        def passes() -> None:
            for _, (tensor, index) in zip(range(repeats), cycle(places), strict=False):
                self.checksum.add_(one()[tensor][index])

        return passes

    def _next_pass(self, operation: Operation, count: int, _: float) -> Work:
        ahead = torch.arange(count, device=self._device)

        def one() -> Tensors:
            rows = self.at + ahead
            X, T = self.x.index_select(0, rows), self.y.index_select(0, rows)
            results = self._networks.pass_over(operation, X, T, self.checksum)
            self.at.add_(count).remainder_(len(self.x) - count + 1)
            return results

        return one

    def _ready(self, key: tuple[Any, int, float], make: Callable[..., Work]) -> Work:
        """Return the function for one step or pass, captured if it is new; θ does not change."""
        if key not in self.captured:
            while len(self.captured) >= _GRAPHS:
                del self.captured[next(iter(self.captured))]
            self._networks.scale(key[1])
            work = make(*key)
            self.captured[key] = work if self._device.type == "cpu" else self._replay_of(work)
        return self.captured[key]

    def _replay_of(self, work: Work) -> Work:
        """Warm up on a separate stream, then capture, as PyTorch's "CUDA semantics" notes prescribe."""
        parameters = self._networks.parameters
        kept = [tensor.detach().clone() for tensor in parameters]
        self.at.zero_()
        try:
            graph, results = self._captured(work)
        finally:  # the device may have had no memory for it
            with torch.no_grad():
                for tensor, before in zip(parameters, kept, strict=True):
                    tensor.copy_(before)

        def replay() -> Tensors:
            graph.replay()
            return results

        return replay

    def _captured(self, work: Work) -> "tuple[torch.cuda.CUDAGraph, Tensors]":
        """Run the work a few times, which changes θ, and capture it; return the graph and what it writes."""
        side_stream = torch.cuda.Stream(self._device)
        side_stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side_stream):
            for _ in range(_WARM_UPS):
                work()
                self.at.zero_()
        torch.cuda.current_stream(self._device).wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = work()  # keeps their memory: every replay writes the same tensors
        return graph, results

    def close(self) -> None:
        """Let go of the data and the graphs."""
        super().close()
        self.captured.clear()
