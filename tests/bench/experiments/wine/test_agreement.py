"""Claims about the agreement of backends on the wine setting: they follow the oracle; a wrong gradient does not."""

from planted.model import PlantedBackend
from support.fnn_libraries import load_c
from support.wine_rows import small_split

from bench.experiments.wine import agreement
from bench.experiments.wine.treatments import network
from pyfnn.registry import load_backend

NET = network(agreement.HIDDEN, agreement.ACTIVATION, agreement.L2)


def test_the_backends_follow_the_oracle_over_the_first_epochs_within_the_parity_bound() -> None:
    load_c()
    backends = {name: load_backend(name) for name in agreement.BACKENDS}
    found = agreement.trajectories(backends, NET, small_split(), 0, agreement.RATE, 2)
    assert list(found) == ["numpy", "cpp", "c", "cpp-tuned"]
    for each in found.values():
        assert max(each["of_bound"]) < 1
        assert max(each["allowed"]) < 1e-10


def test_the_articles_gradient_leaves_the_trajectory_in_the_first_epoch() -> None:
    found = agreement.trajectories({"article": PlantedBackend("article")}, NET, small_split(), 0, agreement.RATE, 1)
    assert found["article"]["of_bound"][0] > 1e6
