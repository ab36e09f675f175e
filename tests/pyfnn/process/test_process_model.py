"""Claims about models in a worker process, and about the Python worker that hosts a backend."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.processes import until
from support.rogue import heard, loaded

import pyfnn
from pyfnn import parity, registry
from pyfnn.errors import BackendUnavailable, ProtocolError, PyfnnError
from pyfnn.manifest import PACKAGE
from pyfnn.network import Network, initialize
from pyfnn.optimizers import Adam
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker


@pytest.fixture(scope="module")
def numpy_worker() -> Iterator[Worker]:
    with Worker(command_of(registry.find("numpy"))) as worker:
        yield worker


def test_a_worker_holds_the_model_that_was_loaded_last(numpy_worker: Worker) -> None:
    first = loaded(numpy_worker, 1)
    outputs = first.forward(0, 5)
    second = loaded(numpy_worker, 2)
    assert second.forward(0, 5).tobytes() != outputs.tobytes()
    for call in (
        lambda: first.forward(0, 1),
        first.theta,
        first.reset,
        lambda: first.train(0, 1, 1, 0.1),
        lambda: first.set_theta(second.theta()),
        lambda: first.predict(np.ones((1, 3), "f4")),
    ):
        with pytest.raises(PyfnnError, match="this model's worker has been loaded with another model since"):
            call()


def test_loading_again_after_training_keeps_theta_and_a_reset_still_brings_back_the_initial_one(
    numpy_worker: Worker,
) -> None:
    model = loaded(numpy_worker)
    start = model.theta()
    model.train(0, 5, 1, 0.1)
    moved = model.theta()
    assert moved.tobytes() != start.tobytes()
    model.load(np.ones((2, 3), "f4"), np.ones((2, 2), "f4"), np.arange(2))
    assert model.theta().tobytes() == moved.tobytes()
    model.reset()
    assert model.theta().tobytes() == start.tobytes()


def test_predictions_leave_the_workers_data_and_theta_as_they_were(numpy_worker: Worker) -> None:
    model = loaded(numpy_worker)
    model.train(0, 5, 1, 0.1)
    theta, outputs, gradient = model.theta(), model.forward(0, 5), model.loss_and_gradient(1, 3)[1]
    files = sorted(path.name for path in numpy_worker.workdir.iterdir())
    predicted = model.predict(np.full((3, 3), 0.5, "f4"))
    assert predicted.shape == (3, 2)
    assert (predicted == predicted[0]).all()
    assert sorted(path.name for path in numpy_worker.workdir.iterdir()) == files
    assert model.theta().tobytes() == theta.tobytes()
    assert model.forward(0, 5).tobytes() == outputs.tobytes()
    assert model.loss_and_gradient(1, 3)[1].tobytes() == gradient.tobytes()
    model.train(0, 5, 1, 0.1)
    model.reset()
    np.testing.assert_array_equal(model.theta(), model.initial_theta())


def test_the_drivers_wall_time_is_at_least_the_workers_seconds(numpy_worker: Worker) -> None:
    model = loaded(numpy_worker)
    seconds = model.train(0, 5, 1, 0.1)
    assert 0 < seconds <= model.call_wall_seconds
    seconds = model.time("gradient", 0, 5, 10)
    assert 0 < seconds <= model.call_wall_seconds


def test_only_calls_that_are_accounted_for_have_cpu_seconds(numpy_worker: Worker) -> None:
    model = loaded(numpy_worker)
    for model.accounts in (True, False):
        model.train(0, 5, 1, 0.1)
        assert math.isnan(model.call_cpu_seconds) is not model.accounts
        assert math.isnan(model.query_cpu_seconds) is not model.accounts


@pytest.mark.parametrize("steps", ["nan", "inf", "2.5"])
def test_a_number_of_steps_that_is_none_is_an_error_of_the_protocol(
    steps: str, numpy_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loaded(numpy_worker)
    model.train(0, 5, 1, 0.1, Adam())
    monkeypatch.setattr(model, "_ask", lambda *_: {"steps": steps})
    with pytest.raises(ProtocolError, match=f"steps={steps} of the optimizer's state: must be a whole number"):
        model.optimizer_state()


def test_a_worker_is_told_of_a_manifest_that_is_not_among_pyfnns_own(tmp_path: Path) -> None:
    assert "--backend" not in command_of(registry.find("numpy"))
    assert str((tmp_path / "backend.toml").resolve()) in hosting(tmp_path, LOCATED)


def hosting(folder: Path, module: str) -> list[str]:
    """Return the command line of a worker that hosts the class `Hosted` of this module text."""
    (folder / "hosted_here.py").write_text(module)
    (folder / "backend.toml").write_text(
        '[[backend]]\nname = "hosted"\nlanguage = "Python"\ndivision = "plain"\nhost = "hosted_here:Hosted"\n'
    )
    row = registry.find("hosted", [folder / "backend.toml"])
    places = [str(folder), str(Path(__file__).parents[2]), str(PACKAGE.parent)]
    return ["env", f"PYTHONPATH={os.pathsep.join(places)}", *command_of(row)]


CHATTY = """
import os
from planted.model import PlantedBackend
class Hosted(PlantedBackend):
    def __init__(self, row):
        super().__init__()
        print("made")
    def _create(self, *args):
        os.write(1, b"natively printed\\n"); os.system("echo from a child")
        return super()._create(*args)
"""


def test_output_of_a_hosted_backend_goes_to_stderr(tmp_path: Path) -> None:
    with Worker(hosting(tmp_path, CHATTY)) as worker:
        model = loaded(worker)
        assert np.isfinite(model.forward(0, 5)).all()
        assert until(lambda: "from a child" in heard(worker))
        assert "natively printed" in worker.stderr


LOCATED = """
from dataclasses import replace
import numpy as np
from planted.model import PlantedBackend
class Hosted(PlantedBackend):
    @property
    def description(self):
        return replace(super().description, flags=str(self.array.ctypes.data % 4096))
    def __init__(self, row):
        super().__init__()
        self.array = np.empty(5000)
"""


def test_each_host_process_has_its_own_memory_layout(tmp_path: Path) -> None:
    command = ["env", "PYTHONHASHSEED=0", *hosting(tmp_path, LOCATED)]
    places = set()
    for _ in range(4):
        with Worker(command) as worker:
            places.add(worker.description.flags)
    assert len(places) > 1  # of 256 possible offsets


def test_a_host_that_cannot_be_imported_is_unavailable_with_reason_and_remedy(tmp_path: Path) -> None:
    (tmp_path / "backend.toml").write_text(
        '[[backend]]\nname = "gone"\nlanguage = "Python"\ndivision = "plain"\nhost = "no_such_module:X"\n'
        'remedy = "pip install it"\n'
    )
    with pytest.raises(BackendUnavailable) as caught:
        Worker(command_of(registry.find("gone", [tmp_path / "backend.toml"])))
    assert "No module named 'no_such_module'" in caught.value.reason
    assert caught.value.remedy == "pip install it"


def test_a_hosted_backend_computes_the_same_as_in_this_process() -> None:
    network = Network((3, 5, 2), "tanh", "squared_error")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)).astype("f4"), rng.normal(size=(40, 2)).astype("f4")
    battery = parity.battery(network, initialize(network, 1), x, y, 4)
    with Worker(command_of(registry.find("numpy"))) as worker:
        evidence = parity.examine(lambda network, theta: ProcessModel(worker, network, theta), battery)
    assert evidence.passed, evidence.worst
    here = parity.examine(pyfnn.load_backend("numpy").create, battery)
    assert [check.error for check in evidence.checks] == [check.error for check in here.checks]
