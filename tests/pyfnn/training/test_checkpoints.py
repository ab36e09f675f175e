"""Claims about checkpoints: a killed training continues with the same bits, and a foreign checkpoint is refused."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.killed_fit import EPOCHS, NETWORK, trained
from support.requirements import require

import pyfnn
from pyfnn import storage
from pyfnn.errors import InvalidInput
from pyfnn.network import initialize
from pyfnn.training import Adam, Checkpoints, CheckpointWarning, Constant, Epoch, FitDiverged, History, Step, fit
from pyfnn.validation import Array

KILLS = 20  # of trainings by one backend and optimizer, in the soak
SUPPORT = Path(__file__).parents[2]


def start(backend: str, optimizer: str, folder: Path, where: str = "nowhere", pause: float = 0.0) -> Any:
    command = [sys.executable, "-m", "support.killed_fit", backend, optimizer, str(folder), where, str(pause)]
    return subprocess.Popen(command, cwd=SUPPORT)


def check_end(folder: Path, whole: History) -> None:
    with np.load(folder / "end.npz") as end:
        np.testing.assert_array_equal(end["theta"], whole.theta)
        np.testing.assert_array_equal(end["last_theta"], whole.last_theta)
        for column in ("epoch", "learning_rate", "loss", "validation_loss"):
            np.testing.assert_array_equal(end["table"][column], whole.table[column])


@pytest.mark.parametrize(("backend", "optimizer"), [("numpy", "adam"), ("cpp-tuned", "sgd"), ("cpp-tuned", "adam")])
def test_a_fit_killed_between_epochs_and_while_it_writes_continues_with_the_same_bits(
    backend: str, optimizer: str, tmp_path: Path
) -> None:
    for where in ("epoch 5", "sync 5"):
        assert start(backend, optimizer, tmp_path, where).wait() == -signal.SIGKILL
        assert (tmp_path / "checkpoint.npz").exists()
    assert (tmp_path / "checkpoint.npz.tmp").exists()
    assert start(backend, optimizer, tmp_path).wait() == 0
    assert not (tmp_path / "checkpoint.npz.tmp").exists()
    check_end(tmp_path, trained(backend, optimizer))


@pytest.mark.soak
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("backend", ["numpy", "c", "cpp-tuned", "lua", "go"])
def test_a_fit_killed_at_random_moments_continues_with_the_same_bits(
    backend: str, optimizer: str, tmp_path: Path
) -> None:
    try:
        pyfnn.load_backend(backend)
    except pyfnn.BackendUnavailable as error:
        require(backend, False, str(error))
    pause, kills, trainings = 0.1, 0, 0
    whole = trained(backend, optimizer)
    while kills < KILLS:
        trainings += 1
        folder = tmp_path / str(trainings)
        folder.mkdir()
        for attempt in count():
            running = start(backend, optimizer, folder, pause=pause)
            if attempt < 5:
                time.sleep(0.5 + random.random() * pause * EPOCHS / 2)
                running.kill()
            if running.wait() == 0:
                break
            assert running.returncode == -signal.SIGKILL
            kills += 1
        check_end(folder, whole)


def checkpointed(folder: Path, **changes: Any) -> History:
    """Run three epochs, or those of `changes`, with a checkpoint."""
    rng = np.random.default_rng(0)
    x: Array = rng.standard_normal((20, 3)).astype("f4")
    y: Array = rng.standard_normal((20, 1)).astype("f4")
    network, theta = changes.pop("network", NETWORK), changes.pop("theta", initialize(NETWORK, 1))
    checkpoints = Checkpoints(folder / "c.npz", changes.pop("every_epochs", None))
    settings = {"epochs": 3, "batch_size": 4, "learning_rate": 0.01, "seed": 1, "x": x, "y": y, **changes}
    with pyfnn.load_backend("numpy").create(network, theta) as model:
        return fit(model, **settings, checkpoints=checkpoints)


def full_disk(folder: Path, epochs: Collection[int]) -> Callable[[Epoch], None]:
    """Return a callback after which the checkpoint of the next epoch finds no space, if that is one of these."""

    def fill(epoch: Epoch) -> None:
        if epoch.number + 1 in epochs:
            storage.partial(folder / "c.npz").symlink_to("/dev/full")

    return fill


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a device without space, is Linux's")
@pytest.mark.parametrize("full", [range(3, 6), range(3, 10)], ids=["for a while", "to the end"])  # 9: the last
def test_a_full_disk_warns_and_the_training_goes_on(tmp_path: Path, full: range) -> None:
    settings: dict[str, Any] = {"epochs": 8, "optimizer": Adam(), "validation": 0.25}
    (tmp_path / "whole").mkdir()
    whole = checkpointed(tmp_path / "whole", **settings)
    with pytest.warns(CheckpointWarning) as warned:
        found = checkpointed(tmp_path, every_epochs=1, callbacks=[full_disk(tmp_path, full)], **settings)
    lost = "" if full[-1] < 9 else f"{tmp_path / 'c.npz'} could not be written after epoch 8: No space left on device"
    assert [w.category for w in warned] == [CheckpointWarning] * len(full)
    assert str(warned[0].message) == (
        f"{tmp_path / 'c.npz'} could not be written after epoch {full[0]}: No space left on device. "
        "The file has an earlier epoch; the training goes on"
    )
    assert {w.filename for w in warned} == {__file__}
    assert found.checkpoint_error == lost
    assert not storage.partial(tmp_path / "c.npz").exists()
    same(found, whole)
    with np.load(tmp_path / "c.npz") as file:  # the last one that was written
        assert len(file["table"]) - 1 == (full[0] - 1 if lost else 8)
    same(checkpointed(tmp_path, **settings), whole)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a device without space, is Linux's")
def test_the_history_of_a_divergence_says_that_the_last_checkpoint_was_not_written(tmp_path: Path) -> None:
    rates = Step(0.01, every=2, factor=1e32)
    with pytest.warns(CheckpointWarning), pytest.raises(FitDiverged) as caught:
        checkpointed(
            tmp_path, every_epochs=1, callbacks=[full_disk(tmp_path, range(2, 3))], epochs=8, learning_rate=rates
        )
    assert caught.value.history.checkpoint_error.startswith(f"{tmp_path / 'c.npz'} could not be written after epoch 2")


def same(found: History, expected: History) -> None:
    np.testing.assert_array_equal(found.theta, expected.theta)
    np.testing.assert_array_equal(found.last_theta, expected.last_theta)
    np.testing.assert_array_equal(found.table["validation_loss"], expected.table["validation_loss"])
    assert found.best_epoch == expected.best_epoch


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a device without space, is Linux's")
def test_a_disk_that_was_full_from_the_first_epoch_on_leaves_the_model_at_the_best_theta(tmp_path: Path) -> None:
    storage.partial(tmp_path / "c.npz").symlink_to("/dev/full")
    theta = initialize(NETWORK, 1)
    x = np.random.default_rng(0).standard_normal((20, 3)).astype("f4")
    y = x[:, :1].copy()
    with pyfnn.load_backend("numpy").create(NETWORK, theta) as model:
        with pytest.warns(CheckpointWarning, match="after epoch 4: .*There is no checkpoint yet; the training goes on"):
            history = fit(
                model, x, y, epochs=4, batch_size=4, seed=1, checkpoints=Checkpoints(tmp_path / "c.npz"),
                learning_rate=lambda epoch: 0.05 if epoch < 2 else 2.0,
            )  # fmt: skip
        assert history.best_epoch < 4
        np.testing.assert_array_equal(model.theta(), history.theta)
    assert history.stopped == "epochs"


def test_a_finished_training_continues_for_more_epochs(tmp_path: Path) -> None:
    checkpointed(tmp_path, optimizer=Adam())
    longer = checkpointed(tmp_path, optimizer=Adam(), epochs=7)
    (tmp_path / "c.npz").unlink()
    whole = checkpointed(tmp_path, optimizer=Adam(), epochs=7)
    np.testing.assert_array_equal(longer.theta, whole.theta)
    np.testing.assert_array_equal(longer.table["loss"], whole.table["loss"])
    again = checkpointed(tmp_path, optimizer=Adam(), epochs=7)
    assert again.table.tobytes() == whole.table.tobytes()


def test_patience_counts_on_over_an_interruption(tmp_path: Path) -> None:
    def stop_at(number: int) -> Any:
        return [lambda epoch: epoch.number == number]

    settings: dict[str, Any] = {"epochs": 200, "patience": 6, "validation": 0.5, "learning_rate": 0.1}
    (tmp_path / "whole").mkdir()
    whole = checkpointed(tmp_path / "whole", **settings)
    assert whole.stopped == "patience"
    last = len(whole.table) - 1
    assert checkpointed(tmp_path, **settings, callbacks=stop_at(last - 3)).stopped == "callback"
    rest = checkpointed(tmp_path, **settings)
    assert rest.stopped == "patience"
    np.testing.assert_array_equal(rest.table["loss"], whole.table["loss"])
    np.testing.assert_array_equal(rest.theta, whole.theta)
    assert rest.best_epoch == whole.best_epoch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": replace(NETWORK, l2=0.5)}, "another training: its network is"),
        ({"theta": initialize(NETWORK, 2)}, "its initial_theta is"),
        ({"x": np.ones((20, 3), "f4")}, "its data is"),
        ({"validation": 0.1}, "its data is"),
        ({"batch_size": 5}, "its batch_size is 4, not 5"),
        ({"seed": 2}, "its seed is 1, not 2"),
        ({"optimizer": Adam()}, r"its optimizer is 'SGD\(\)', not 'Adam"),
        ({"training_loss": "running"}, "its training_loss is True, not 'running'"),
        ({"state": {}, "theta": initialize(NETWORK, 2)}, "its initial_theta is"),
        ({"epochs": 2}, "epochs = 2: the checkpoint has 3"),
        ({"learning_rate": Step(0.01, 2)}, "epoch 3 of the checkpoint had 0.01, not 0.005"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_by_name(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    checkpointed(tmp_path)
    before = (tmp_path / "c.npz").read_bytes()
    with pytest.raises(InvalidInput, match=message):
        checkpointed(tmp_path, **change)
    assert (tmp_path / "c.npz").read_bytes() == before
    checkpointed(tmp_path, learning_rate=Constant(0.01))


def test_a_checkpoint_from_another_state_of_the_optimizer_is_refused(tmp_path: Path) -> None:
    optimizer = Adam()
    state = optimizer.start(initialize(NETWORK, 1))
    checkpointed(tmp_path, optimizer=optimizer, state=state)
    checkpointed(tmp_path, optimizer=optimizer, state=state, epochs=4)
    with pytest.raises(InvalidInput, match="its initial_state is"):
        checkpointed(tmp_path, optimizer=optimizer, state=state | {"steps": np.array([5])}, epochs=4)


def test_patience_and_tolerance_count_over_the_epochs_of_the_checkpoint_as_over_those_of_a_whole_training(
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"validation": 0.5, "learning_rate": 0.1, "epochs": 200}
    (tmp_path / "whole").mkdir()
    whole = checkpointed(tmp_path / "whole", **settings, patience=6, tolerance=0.002)
    last = len(whole.table) - 1
    assert whole.stopped == "patience"
    checkpointed(tmp_path, **settings | {"epochs": last - 2}, patience=50)
    rest = checkpointed(tmp_path, **settings, patience=6, tolerance=0.002)
    np.testing.assert_array_equal(rest.table["loss"], whole.table["loss"])
    assert (rest.stopped, rest.best_epoch) == ("patience", whole.best_epoch)
    np.testing.assert_array_equal(rest.theta, whole.theta)
    with pytest.raises(InvalidInput, match=rf"patience = 1, .* ends after epoch \d+, and the checkpoint has {last}"):
        checkpointed(tmp_path, **settings, patience=1)


def test_a_file_of_an_older_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    from pyfnn import storage

    storage.write(tmp_path / "c.npz", "pyfnn-checkpoint/2", {}, {})
    with pytest.raises(InvalidInput, match=r"of pyfnn-checkpoint/2, not of .*/3\. Name another file, or delete"):
        checkpointed(tmp_path)


def test_a_place_that_takes_no_file_is_refused_before_the_first_epoch(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no folder .*absent\. Make it first"):
        checkpointed(tmp_path / "absent", callbacks=[lambda _: pytest.fail("trained")])
    (tmp_path / "c.npz").mkdir()
    with pytest.raises(InvalidInput, match=r"c\.npz cannot be written"):
        checkpointed(tmp_path, callbacks=[lambda _: pytest.fail("trained")])


@pytest.mark.parametrize("path", [None, "", ".", 5, "a\0b", b"a"])
def test_a_path_that_names_no_file_is_refused(path: Any) -> None:
    with pytest.raises(InvalidInput, match="path = "):
        Checkpoints(path)


def test_checkpoints_that_would_only_be_written_at_the_end_are_refused() -> None:
    with pytest.raises(InvalidInput, match="every_epochs = None, every_seconds = None"):
        Checkpoints("a", every_epochs=None, every_seconds=None)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    history = checkpointed(tmp_path)
    whole = (tmp_path / "c.npz").read_bytes()
    spoilt = bytearray(whole)
    spoilt[whole.index(history.theta.tobytes())] ^= 1
    for content in (b"", b"no archive", whole[: len(whole) // 2], bytes(spoilt)):
        (tmp_path / "c.npz").write_bytes(content)
        with pytest.raises(InvalidInput, match=r"c\.npz is not a file of pyfnn-checkpoint/3"):
            checkpointed(tmp_path)
    pyfnn.save(tmp_path / "c.npz", NETWORK, initialize(NETWORK, 1))
    with pytest.raises(InvalidInput, match="a file of pyfnn-network/1, not of pyfnn-checkpoint/3"):
        checkpointed(tmp_path)


def test_checkpoints_are_written_as_often_as_the_settings_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyfnn import storage

    written: list[int] = []
    write = storage.write

    def spy(path: Path, kind: str, header: Any, arrays: Any) -> None:
        written.append(len(arrays["table"]) - 1)
        write(path, kind, header, arrays)

    monkeypatch.setattr(storage, "write", spy)
    path = tmp_path / "c"
    cases = [
        (Checkpoints(path), [12]),
        (Checkpoints(path, every_epochs=1, every_seconds=None), [*range(1, 13), 12]),
        (Checkpoints(path, every_epochs=5), [5, 10, 12]),
        (Checkpoints(path, every_seconds=1000), [12]),
        (Checkpoints(path, every_seconds=1e-9), [*range(1, 13), 12]),
    ]
    for checkpoints, epochs in cases:
        written.clear()
        path.unlink(missing_ok=True)
        trained("numpy", "sgd", checkpoints=checkpoints)
        assert written == epochs
    for wrong in ({"every_epochs": 0}, {"every_seconds": 0.0}):
        with pytest.raises(InvalidInput, match="every_"):
            Checkpoints(path, **wrong)
