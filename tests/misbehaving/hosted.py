"""Python-hosted backends for a backend.toml: with a planted bug, or printing where they should not."""

from planted.model import PlantedBackend

from pyfnn.manifest import Row


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
