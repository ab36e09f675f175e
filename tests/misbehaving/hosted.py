"""Python-hosted backends with a planted bug each: rows of a backend.toml name these classes."""

from planted.model import PlantedBackend

from pyfnn.registry import Row


class Correct(PlantedBackend):
    def __init__(self, row: Row) -> None:
        super().__init__(None)
        del row


class Article(PlantedBackend):
    """The gradient as the article printed it."""

    def __init__(self, row: Row) -> None:
        super().__init__("article")
        del row


class Noisy(PlantedBackend):
    """Correct, but its host prints to stdout."""

    def __init__(self, row: Row) -> None:
        super().__init__("zeroed_bias_gradient")
        print("ok\tprotocol=7: this line must not reach the driver", flush=True)
        del row
