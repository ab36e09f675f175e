"""Claims about `fit`, with the NumPy backend. The parity tests check what backends compute."""

import gc
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pyfnn
from pyfnn import datasets
from pyfnn.errors import InvalidInput, PyfnnError
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.training import SGD, Adam, Constant, Cosine, Epoch, Momentum, Step, fit
from pyfnn.training.data import Data, generator
from pyfnn.validation import Array

MOONS = Network((2, 16, 16, 2), "tanh", "softmax_cross_entropy", l2=1e-4, dtype="float64")
Rows = tuple[Array, Array]


def make(theta: Array | None = None) -> Model:
    return pyfnn.load_backend("numpy").create(MOONS, initialize(MOONS, 1) if theta is None else theta)


@pytest.fixture
def model() -> Iterator[Model]:
    with make() as made:
        yield made


@pytest.fixture(scope="module")
def moons() -> tuple[Rows, Rows]:
    data = datasets.load("moons", seed=3, dtype="float64").standardized()
    return (data.x[data.train], data.y[data.train]), (data.x[data.validation], data.y[data.validation])


def quick(**changes: Any) -> dict[str, Any]:
    return {"epochs": 4, "batch_size": 32, "learning_rate": 0.1, "seed": 5, **changes}


def test_fit_learns_the_moons(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    history = fit(model, x, y, **quick(epochs=150, learning_rate=0.3, batch_size=16), validation=validation)
    table = history.table
    assert history.stopped == "epochs"
    np.testing.assert_array_equal(table["epoch"], np.arange(151))
    assert np.isnan(table["learning_rate"][0])
    assert (table["learning_rate"][1:] == 0.3).all()
    assert table["seconds"][0] == 0 < table["seconds"][1:].min()
    predicted = model.predict(validation[0]).argmax(axis=1)
    assert (predicted == validation[1].argmax(axis=1)).mean() > 0.95
    assert table["loss"][-1] < 0.2 * table["loss"][0]


def test_losses_equal_those_of_a_plain_loop_over_the_same_orders(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    history = fit(model, x, y, **quick(), validation=validation)
    with make() as other:
        for epoch in range(1, 5):
            other.load(x, y, generator(5, epoch).permutation(len(x)))
            other.train(0, len(x), 32, 0.1)
            assert other.loss_and_gradient(0, len(x))[0] == history.table["loss"][epoch]
        np.testing.assert_array_equal(other.theta(), history.last_theta)
        other.load(*validation, np.zeros(1, np.int64))
        assert other.loss(0, len(validation[0])) == history.table["validation_loss"][-1]


def test_every_epoch_uses_every_row_once_in_a_new_order_in_orders_of_bounded_length(
    model: Model, moons: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), validation = moons
    loaded: list[Array] = []
    load = model.load

    def spy(x: Array, y: Array, order: Array) -> None:
        loaded.append(order)
        load(x, y, order)

    monkeypatch.setattr(model, "load", spy)
    monkeypatch.setattr("pyfnn.training.epochs._ENTRIES", (3 * len(x), 3 * len(x)))
    several = fit(model, x, y, **quick(epochs=8), validation=validation)
    assert [len(order) for order in loaded] == [3 * len(x), 3 * len(x), 2 * len(x)]
    epochs = np.concatenate(loaded).reshape(8, len(x))
    assert (np.sort(epochs, axis=1) == np.arange(len(x))).all()
    assert len({order.tobytes() for order in epochs}) == 8
    monkeypatch.setattr("pyfnn.training.epochs._ENTRIES", (1, 1))
    np.testing.assert_array_equal(fit(model, x, y, **quick(epochs=8), validation=validation).theta, several.theta)


def test_a_training_that_ends_early_makes_few_orders_in_advance_and_a_long_one_loads_seldom(
    model: Model, moons: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), _ = moons
    loaded: list[int] = []
    load = model.load

    def noted(*data: Any) -> None:
        loaded.append(len(data[2]) // len(x))
        load(*data)

    monkeypatch.setattr(model, "load", noted)
    fit(model, x, y, **quick(epochs=1000, batch_size=len(x)), callbacks=[lambda epoch: epoch.number == 100])
    assert loaded == [8, 8, 16, 32, 64]


def test_the_orders_of_the_epochs_are_those_of_generators_that_numpy_jumps() -> None:
    data = Data.make(np.zeros((30, 1)), np.zeros((30, 1)), None, 0)
    epochs = data.orders(7, [1, 2, 9]).reshape(3, 30)
    for epoch, order in zip((1, 2, 9), epochs, strict=True):
        numpys = np.random.Generator(np.random.PCG64(7).jumped(epoch))
        np.testing.assert_array_equal(order, numpys.permutation(30))


def test_the_orders_of_a_long_training_take_little_memory(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    gc.collect()
    tracemalloc.start()
    fit(model, x, y, **quick(epochs=20_000), callbacks=[lambda _: True])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_the_same_seed_gives_the_same_history_and_another_seed_another(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    once, again, other = (fit(model, x, y, **quick(seed=seed), validation=validation) for seed in (5, 5, 6))
    for column in ("loss", "validation_loss"):
        np.testing.assert_array_equal(once.table[column], again.table[column])
    np.testing.assert_array_equal(once.theta, again.theta)
    assert once.table["loss"][0] == other.table["loss"][0]
    assert (once.table["loss"][1:] != other.table["loss"][1:]).all()


def noise() -> tuple[Rows, Rows]:
    """Return rows with nothing to learn: a lower training loss means a higher validation loss."""
    rng = np.random.default_rng(0)
    y = np.eye(2)[rng.integers(0, 2, 48)]
    return (rng.standard_normal((24, 2)), y[:24]), (rng.standard_normal((24, 2)), y[24:])


def test_early_stopping_stops_patience_epochs_after_the_best_and_restores_its_theta(model: Model) -> None:
    (x, y), validation = noise()
    settings = quick(batch_size=4, learning_rate=0.5, epochs=500)
    history = fit(model, x, y, **settings, validation=validation, patience=7)
    losses = history.table["validation_loss"]
    assert history.stopped == "patience"
    assert len(losses) - 1 == history.best_epoch + 7 < 500
    assert losses[history.best_epoch] == losses.min()
    np.testing.assert_array_equal(model.theta(), history.theta)
    assert model.loss(24, 24) == losses.min()
    assert (history.theta != history.last_theta).any()


def test_without_validation_rows_patience_watches_the_training_loss(model: Model) -> None:
    (x, y), _ = noise()
    settings = quick(epochs=3000, batch_size=4, learning_rate=Step(0.1, 5, 0.1))
    history = fit(model, x, y, **settings, patience=3, tolerance=1e-6)
    losses = history.table["loss"]
    assert history.stopped == "patience"
    assert len(losses) < 100
    assert np.isnan(history.table["validation_loss"]).all()
    assert (losses[-3:] >= losses[:-3].min() - 1e-6).all()
    assert losses[-4] < losses[:-4].min() - 1e-6


def test_without_the_training_loss_the_validation_loss_alone_is_recorded_and_decides(
    model: Model, moons: tuple[Rows, Rows]
) -> None:
    (x, y), validation = moons
    whole = fit(model, x, y, **quick(), validation=validation)
    history = fit(model, x, y, **quick(), validation=validation, training_loss=False)
    assert np.isnan(history.table["loss"]).all()
    np.testing.assert_array_equal(history.table["validation_loss"], whole.table["validation_loss"])
    np.testing.assert_array_equal(history.theta, whole.theta)
    with pytest.raises(InvalidInput, match="training_loss = False: needs validation rows"):
        fit(model, x, y, **quick(), training_loss=False)


def test_a_share_of_the_rows_is_split_off_for_validation(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    history = fit(model, x, y, **quick(), validation=0.25)
    held = round(0.25 * len(x))
    order = generator(5, 0).permutation(len(x))
    taken, kept = np.sort(order[:held]), np.sort(order[held:])
    again = fit(model, x[kept], y[kept], **quick(), validation=(x[taken], y[taken]))
    np.testing.assert_array_equal(history.theta, again.theta)
    np.testing.assert_array_equal(history.table["validation_loss"], again.table["validation_loss"])


def test_a_fit_starts_from_the_initial_theta_after_any_earlier_training(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    fresh = fit(model, x, y, **quick())
    model.train(0, len(x), 1, 0.1)
    np.testing.assert_array_equal(fit(model, x, y, **quick()).table["loss"], fresh.table["loss"])


def test_each_epoch_has_the_rate_of_the_schedule(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    rates = [0.3, 0.01, 0.2, 0.1]
    history = fit(model, x, y, **quick(learning_rate=lambda epoch: rates[epoch]))
    np.testing.assert_array_equal(history.table["learning_rate"][1:], rates)
    with make() as other:
        for epoch, rate in enumerate(rates, start=1):
            other.load(x, y, generator(5, epoch).permutation(len(x)))
            other.train(0, len(x), 32, rate)
        np.testing.assert_array_equal(other.theta(), history.last_theta)


@pytest.mark.parametrize("optimizer", [Momentum(0.0, nesterov=False), Momentum(0.0)], ids=repr)
def test_momentum_of_zero_is_gradient_descent(model: Model, moons: tuple[Rows, Rows], optimizer: Momentum) -> None:
    (x, y), validation = moons
    inside = fit(model, x, y, **quick(), validation=validation)
    outside = fit(model, x, y, **quick(optimizer=optimizer), validation=validation)
    np.testing.assert_allclose(outside.theta, inside.theta, rtol=1e-9)
    np.testing.assert_allclose(outside.table["validation_loss"], inside.table["validation_loss"], rtol=1e-9)


def test_callbacks_see_each_epoch_and_stop_the_training(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    seen: list[Epoch] = []

    def third(epoch: Epoch) -> bool:
        return epoch.number == 3

    history = fit(model, x, y, **quick(epochs=50), validation=validation, callbacks=[seen.append, third])
    assert history.stopped == "callback"
    assert [epoch.number for epoch in seen] == [1, 2, 3]
    for epoch, row in zip(seen, history.table[1:], strict=True):
        assert (epoch.learning_rate, epoch.loss, epoch.validation_loss, epoch.seconds) == row.tolist()[1:]
    np.testing.assert_array_equal(seen[-1].theta, history.last_theta)
    assert [epoch.number for epoch in seen if epoch.is_best][-1] == history.best_epoch


def test_a_callback_that_predicts_changes_nothing(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), validation = moons
    plain = fit(model, x, y, **quick())
    watched = fit(model, x, y, **quick(), callbacks=[lambda epoch: bool(epoch.model.predict(validation[0]).ndim == 0)])
    np.testing.assert_array_equal(plain.theta, watched.theta)


def test_a_progress_bar_shows_the_epochs_and_the_losses(
    model: Model, moons: tuple[Rows, Rows], capsys: pytest.CaptureFixture[str]
) -> None:
    (x, y), validation = moons
    history = fit(model, x, y, **quick(), validation=validation, progress=True)
    shown = capsys.readouterr().out
    assert "4/4" in shown
    assert f"loss {history.table['loss'][-1]:.4g}, validation {history.table['validation_loss'][-1]:.4g}" in shown


def test_a_progress_bar_without_rich_is_an_error_with_its_remedy(
    model: Model, moons: tuple[Rows, Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rich.progress", None)
    with pytest.raises(PyfnnError, match="pip install rich"):
        fit(model, *moons[0], **quick(progress=True))


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=repr)
def test_a_model_in_a_process_trains_as_the_same_model_in_this_process(
    model: Model, moons: tuple[Rows, Rows], optimizer: Any
) -> None:
    from pyfnn import registry
    from pyfnn.process.model import ProcessModel
    from pyfnn.process.program import command_of
    from pyfnn.process.worker import Worker

    (x, y), validation = moons
    settings = quick(batch_size=100, epochs=2, learning_rate=0.01, optimizer=optimizer)
    here = fit(model, x, y, **settings, validation=validation)
    with Worker(command_of(registry.find("numpy"))) as worker:
        there = ProcessModel(worker, MOONS, initialize(MOONS, 1))
        history = fit(there, x, y, **settings, validation=validation)
        np.testing.assert_array_equal(history.theta, here.theta)
        np.testing.assert_array_equal(there.theta(), here.theta)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"patience": 0}, "patience = 0"),
        ({"tolerance": -1.0}, "tolerance = -1.0"),
        ({"seed": -1}, "seed = -1"),
        ({"validation": 1.0}, "validation = 1.0"),
        ({"validation": 3}, "validation must be a pair"),
        ({"validation": (np.ones((1, 3)), np.ones((1, 2)))}, r"validation x has rows of shape \(3,\), not \(2,\)"),
        ({"validation": (np.ones((1, 2), "f4"), np.ones((1, 2)))}, "validation x is of float32, not of float64"),
        ({"validation": (np.ones((0, 2)), np.ones((0, 2)))}, "validation has 0 rows"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"learning_rate": 0.0}, "^learning_rate = 0.0"),
        ({"learning_rate": "a"}, "^learning_rate = 'a'"),
        ({"learning_rate": Constant}, "^learning_rate = <class"),
        ({"learning_rate": lambda _: -1.0}, "epoch 1: learning_rate = -1.0"),
        ({"learning_rate": lambda _: -1.0, "optimizer": Adam()}, "epoch 1: learning_rate = -1.0"),
        ({"learning_rate": lambda epoch: 0.1 if epoch < 2 else None}, "epoch 3: learning_rate = None"),
        ({"learning_rate": lambda _: "a"}, "epoch 1: learning_rate = 'a'"),
        ({"optimizer": Adam}, r"optimizer = <class .*>: must be an optimizer, such as Adam\(\)"),
        ({"state": 5}, "state = 5: must be a dict"),
        ({"callbacks": 5}, "callbacks = 5: must be"),
        ({"callbacks": [5]}, r"callbacks = \[5\]: must be"),
        ({"checkpoints": "a"}, r"checkpoints = 'a': must be Checkpoints\(path\)"),
        ({"progress": 1}, "progress = 1: must be True or False"),
    ],
)
def test_bad_settings_are_rejected_by_name(
    model: Model, moons: tuple[Rows, Rows], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        fit(model, *moons[0], **quick(**change))


def test_rows_that_do_not_suit_the_network_are_rejected(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    for wrong in ((x[:0], y), (x[:, :1].copy(), y), (x, y[:-1]), (x.astype("f4"), y), (list(x), y)):
        with pytest.raises(InvalidInput, match=r"^[xy] "):
            fit(model, *wrong, **quick())


def test_a_network_with_other_l2_trains_to_smaller_weights(moons: tuple[Rows, Rows]) -> None:
    norms = []
    for l2 in (0.0, 0.01, 0.1):
        network = replace(MOONS, l2=l2)
        with pyfnn.load_backend("numpy").create(network, initialize(network, 1)) as model:
            norms.append(
                np.linalg.norm(fit(model, *moons[0], **quick(epochs=40, learning_rate=Constant(0.3))).last_theta)
            )
    assert norms[0] > norms[1] > norms[2]


@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Adam()], ids=repr)
def test_a_training_in_parts_ends_with_the_bits_of_the_whole(
    model: Model, moons: tuple[Rows, Rows], optimizer: Any
) -> None:
    (x, y), _ = moons
    settings = quick(learning_rate=0.01, optimizer=optimizer, shuffle=False)
    whole = fit(model, x, y, **settings)
    state: dict[str, Array] | None = None
    for _ in range(4):
        part = fit(model, x, y, **{**settings, "epochs": 1}, state=state)
        model.set_theta(part.last_theta)
        state = part.state
    np.testing.assert_array_equal(part.last_theta, whole.last_theta)
    assert part.state.keys() == whole.state.keys() == optimizer.start(whole.theta).keys()
    for name, array in whole.state.items():
        np.testing.assert_array_equal(part.state[name], array)


def test_an_empty_state_continues_from_the_present_theta_with_a_new_optimizer(
    model: Model, moons: tuple[Rows, Rows]
) -> None:
    (x, y), _ = moons
    theta = fit(model, x, y, **quick()).theta
    history = fit(model, x, y, **quick(optimizer=Adam(), learning_rate=1e-9), state={})
    np.testing.assert_allclose(history.theta, theta, atol=1e-5)
    assert history.state["steps"] == 4 * -(-len(x) // 32)


def test_a_state_of_another_optimizer_or_network_is_refused(model: Model, moons: tuple[Rows, Rows]) -> None:
    history = fit(model, *moons[0], **quick(optimizer=Adam()))
    for wrong in (history.state, {"velocity": np.zeros(3)}):
        with pytest.raises(InvalidInput, match=r"^state"):
            fit(model, *moons[0], **quick(optimizer=Momentum()), state=wrong)
    with pytest.raises(InvalidInput, match=r"the arrays 'm, v, steps': Momentum\(.*\) needs velocity"):
        fit(model, *moons[0], **quick(optimizer=Momentum()), state=history.state)
    for name, odd in (("m", history.state["v"][:3]), ("v", [0.0]), ("steps", np.array([-1]))):
        with pytest.raises(InvalidInput, match=rf"^state\['{name}'\]"):
            fit(model, *moons[0], **quick(optimizer=Adam()), state=history.state | {name: odd})


@pytest.mark.parametrize("optimizer", [SGD(), Adam()], ids=repr)
def test_a_state_starts_a_training_of_its_own_from_the_first_epoch(
    model: Model, moons: tuple[Rows, Rows], optimizer: Any
) -> None:
    (x, y), _ = moons
    settings = quick(optimizer=optimizer, learning_rate=Step(0.01, 2))
    first = fit(model, x, y, **settings)
    model.set_theta(first.last_theta)
    second = fit(model, x, y, **settings | {"seed": 6}, state=first.state)
    np.testing.assert_array_equal(second.table["epoch"], np.arange(5))
    np.testing.assert_array_equal(second.table["learning_rate"], first.table["learning_rate"])
    with make(first.last_theta) as other:
        other.set_optimizer_state(optimizer, first.state)
        for epoch, rate in enumerate((0.01, 0.01, 0.005, 0.005), start=1):
            other.load(x, y, generator(6, epoch).permutation(len(x)))
            other.train(0, len(x), 32, rate, optimizer)
        np.testing.assert_array_equal(other.theta(), second.last_theta)


def test_a_schedule_that_ends_before_the_training_is_refused_before_the_first_step(
    model: Model, moons: tuple[Rows, Rows]
) -> None:
    (x, y), _ = moons
    seen: list[Epoch] = []
    with pytest.raises(InvalidInput, match=r"learning_rate = Cosine\(.*\): its rate is 0 after 3 epochs"):
        fit(model, x, y, **quick(learning_rate=Cosine(0.1, epochs=3)), callbacks=[seen.append])
    assert not seen
    for lasts in (Cosine(0.1, epochs=4), Cosine(0.1, epochs=3, final=0.01)):
        assert fit(model, x, y, **quick(learning_rate=lasts)).stopped == "epochs"


def test_without_shuffling_the_rows_are_taken_in_their_order(model: Model, moons: tuple[Rows, Rows]) -> None:
    (x, y), _ = moons
    history = fit(model, x, y, **quick(), shuffle=False)
    with make() as other:
        for _ in range(4):
            other.load(x, y, np.arange(len(x)))
            other.train(0, len(x), 32, 0.1)
        np.testing.assert_array_equal(other.theta(), history.last_theta)
