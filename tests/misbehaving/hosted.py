"""Python-hosted backends for a backend.toml: with a planted bug, printing where they should not, or taking threads."""

from planted.model import PlantedBackend, PlantedModel
from threadpoolctl import threadpool_limits

from pyfnn.manifest import Row
from pyfnn.model import Model, Operation
from pyfnn.network import Network
from pyfnn.validation import Array


class Article(PlantedBackend):
    """The gradient as the article printed it."""

    def __init__(self, row: Row) -> None:
        super().__init__("article")
        del row


class Noisy(PlantedBackend):
    """Correct, but prints as it is made."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        print("ok\tprotocol=7: this line must not reach the driver", flush=True)
        del row


class Greedy(PlantedBackend):
    """Correct, and says that it keeps to its threads; but its BLAS does not."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        threadpool_limits(2)
        del row


class _LazyModel(PlantedModel):
    """Does a tenth of what a long call asks for."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        return super()._train(first, count // 10 if count > 500 else count, batch_size, learning_rate)

    def _time(self, operation: Operation, first: int, count: int, repeats: int) -> tuple[float, float]:
        return super()._time(operation, first, count, repeats // 10 if repeats > 100 else repeats)


class Lazy(PlantedBackend):
    """Correct in every call as short as a proof's; cheats in long ones, always in the same way."""

    def __init__(self, row: Row) -> None:
        super().__init__(None)
        del row

    def _create(self, network: Network, theta: Array, threads: int) -> Model:
        del threads
        return _LazyModel(network, theta)
