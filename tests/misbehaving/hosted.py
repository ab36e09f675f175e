"""Python-hosted backends that misbehave: with a planted bug, with output on stdout, or with too many threads."""

from dataclasses import replace

from planted.model import PlantedBackend, PlantedModel
from threadpoolctl import threadpool_limits

from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array, Order


class Article(PlantedBackend):
    """A backend with the gradient as the article printed it."""

    def __init__(self, row: Row) -> None:
        super().__init__("article")
        del row


class Unsteady(PlantedBackend):
    """A correct backend whose last bits differ from call to call, and whose description says so."""

    def __init__(self, row: Row) -> None:
        super().__init__("nondeterministic")
        self._description = replace(self.description, name=row.name, deterministic=False)


class Noisy(PlantedBackend):
    """A correct backend that prints to stdout when it is made."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        print("ok\tprotocol=7: this line must not reach the driver", flush=True)
        del row


class Greedy(PlantedBackend):
    """A correct backend whose BLAS uses more threads than it reports."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        threadpool_limits(2)
        del row


class _LazyModel(PlantedModel):
    """A model that does a tenth of the work of a long call."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        return super()._train(first, count // 10 if count > 500 else count, batch_size, learning_rate)

    def _time(self, operation: Operation, first: int, count: int, repeats: int, probes: Order) -> tuple[float, float]:
        return super()._time(operation, first, count, repeats // 10 if repeats > 100 else repeats, probes)


class Lazy(PlantedBackend):
    """A backend that is correct in calls as short as those of a proof, and does less in longer ones."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        del row

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return _LazyModel(network, theta)
