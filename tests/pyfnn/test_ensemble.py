"""Claims about the contract of an ensemble, which trains many networks at once.

Each claim holds for an ensemble in this process, for one call to a worker, and for one call a member.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planted.model import PlantedBackend
from support.ensembles import L2, NETWORK, RATES, THETAS, K, N, data

import pyfnn
from pyfnn import registry
from pyfnn.ensemble import Ensemble
from pyfnn.errors import Diverged, InvalidInput, PyfnnError, Unsupported
from pyfnn.network import Network
from pyfnn.process.ensemble import MemberByMember, ProcessEnsemble, open_ensemble
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array

Make = Callable[..., Ensemble]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(command_of(registry.find("numpy"))) as worker:
        yield worker


@pytest.fixture(params=["in this process", "by one call", "member by member"])
def make(request: pytest.FixtureRequest, worker: Worker) -> Make:
    def create(network: Network = NETWORK, thetas: Any = THETAS, l2: Any = L2, threads: int = 1) -> Ensemble:
        if request.param == "in this process":
            return pyfnn.load_backend("numpy").create_many(network, thetas, l2, threads)
        cls = ProcessEnsemble if request.param == "by one call" else MemberByMember
        return cls(worker, network, thetas, l2, threads)

    return create


@pytest.fixture
def many(make: Make) -> Iterator[Ensemble]:
    with make() as many:
        many.load(*data())
        yield many


@pytest.mark.parametrize("name", ["numpy", "cpp", "c"])
def test_each_member_ends_at_the_same_bits_as_a_model_of_its_own(name: str) -> None:
    backend, (x, y, orders) = pyfnn.load_backend(name), data()
    with Worker(command_of(registry.find(name))) as worker:
        for many in (
            backend.create_many(NETWORK, THETAS, L2),
            open_ensemble(worker, NETWORK, THETAS, L2),
            MemberByMember(worker, NETWORK, THETAS, L2),
        ):
            many.load(x, y, orders)
            assert many.train(2, 11, 4, RATES) > 0
            for k, theta in enumerate(many.thetas()):
                with backend.create(replace(NETWORK, l2=float(L2[k])), THETAS[k]) as model:
                    model.load(x, y, orders[k])
                    model.train(2, 11, 4, float(RATES[k]))
                    assert theta.tobytes() == model.theta().tobytes(), f"{type(many).__name__}, member {k}"
            many.close()


def test_a_training_cut_into_calls_ends_at_the_same_bits(many: Ensemble) -> None:
    many.train(0, 12, 4, RATES)
    once = many.thetas()
    many.reset()
    many.train(0, 4, 4, RATES)
    many.train(4, 8, 4, RATES)
    assert many.thetas().tobytes() == once.tobytes()


def test_one_rate_and_one_l2_apply_to_all_members(make: Make) -> None:
    ends = []
    for l2, rates in ((None, 0.1), (np.full(K, NETWORK.l2), np.full(K, 0.1))):
        with make(l2=l2) as many:
            assert many.l2.tolist() == [NETWORK.l2] * K
            many.load(*data())
            many.train(0, N, 2, rates)
            ends.append(many.thetas())
    assert ends[0].tobytes() == ends[1].tobytes()


@pytest.mark.parametrize(
    ("thetas", "l2", "words"),
    [
        (THETAS[0], L2, "thetas is 26 of float32: expected rows×26 of float32"),
        (THETAS[:, :-1].copy(), L2, "thetas is 4×25 of float32: expected 4×26 of float32"),
        (THETAS.astype("f8"), L2, "thetas is 4×26 of float64: expected 4×26 of float32"),
        (np.asfortranarray(THETAS), L2, r"thetas is not C-contiguous"),
        (np.full_like(THETAS, math.nan), L2, r"thetas\[0, 0\] = nan: every value must be finite"),
        (THETAS[:0], L2, "thetas is empty: at least one member is needed"),
        (THETAS.tolist(), L2, "thetas is a list: expected a NumPy array"),
        (THETAS, L2[:3].copy(), "l2 is 3 of float64: expected 4 of float64"),
        (THETAS, [0.1] * K, "l2 is a list: expected a NumPy array, 4 of float64"),
        (THETAS, np.array([0.0, 0.0, -1.0, 0.0]), r"l2\[2\] = -1.0: must not be negative"),
        (THETAS, np.array([0.0, math.inf, 0.0, 0.0]), r"l2\[1\] = inf: every value must be finite"),
    ],
)
def test_bad_members_are_refused_by_name(make: Make, thetas: Any, l2: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        make(thetas=thetas, l2=l2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda o: o[:3].copy(), "orders is 3×15 of int64: expected 4×15 of int64"),
        (lambda o: o[0], "orders is 15 of int64: expected 4×rows of int64"),
        (lambda o: o.astype("i4"), "orders is 4×15 of int32"),
        (lambda o: o[:, :0], "orders is empty: at least one row number is needed"),
        (lambda o: np.where(np.arange(N) == 3, 9, o), r"orders\[0, 3\] = 9: row numbers lie in \[0, 9\)"),
        (lambda o: np.asfortranarray(o), "orders is not C-contiguous"),
    ],
)
def test_bad_orders_are_refused_by_name_and_leave_the_ensemble_unchanged(
    many: Ensemble, change: Callable[[Array], Array], words: str
) -> None:
    x, y, orders = data()
    with pytest.raises(InvalidInput, match=words):
        many.load(x, y, change(orders))
    many.train(0, N, 4, RATES)
    once = many.thetas()
    many.reset()
    many.load(x, y, orders)
    many.train(0, N, 4, RATES)
    assert many.thetas().tobytes() == once.tobytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 16, 1, RATES), "first = 0, count = 16: must lie within the 15 entries of each order"),
        ((0, 0, 1, RATES), "count = 0: must be a whole number, at least 1"),
        ((0, 2, 0, RATES), "batch_size = 0: must be a whole number, at least 1"),
        ((0, 2, 1, RATES[:2].copy()), "learning_rates is 2 of float64: expected 4 of float64"),
        ((0, 2, 1, RATES.astype("f4")), "learning_rates is 4 of float32: expected 4 of float64"),
        ((0, 2, 1, np.array([0.1, 0.1, 0.0, 0.1])), r"learning_rates\[2\] = 0.0: must be above 0"),
        ((0, 2, 1, np.array([0.1, math.nan, 0.1, 0.1])), r"learning_rates\[1\] = nan: every value must be finite"),
        ((0, 2, 1, -0.1), "learning_rates = -0.1: must be finite and above 0"),
        ((0, 2, 1, [0.1] * K), r"learning_rates = \[0.1, .*\]: must be finite and above 0"),
    ],
)
def test_bad_training_arguments_are_refused_and_leave_theta_unchanged(
    many: Ensemble, arguments: Any, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        many.train(*arguments)
    assert many.thetas().tobytes() == THETAS.tobytes()


def test_members_that_diverge_are_named_and_the_others_trained(make: Make) -> None:
    network = replace(NETWORK, activation="relu")
    rates = np.array([0.01, 1e30, 0.01, 1e30])
    with make(network) as many:
        many.load(*data())
        for _ in range(2):  # diverged members stay so
            with pytest.raises(
                Diverged, match=r"not finite after 15 steps of member 1 \(learning_rate = 1e\+30\), 3 \("
            ):
                many.train(0, N, 1, rates)
        assert np.isfinite(many.thetas()).all(axis=1).tolist() == [True, False, True, False]
        assert (many.thetas()[[0, 2]] != THETAS[[0, 2]]).any(axis=1).all()
        many.reset()
        assert many.thetas().tobytes() == THETAS.tobytes()
        many.train(0, N, 1, 0.01)


def test_arrays_are_copied_in_and_out(make: Make) -> None:
    thetas, l2, (x, y, orders) = THETAS.copy(), L2.copy(), data()
    with make(thetas=thetas, l2=l2) as many:
        thetas[:], l2[:] = 7, 7
        many.load(x, y, orders)
        x[:], y[:], orders[:] = 7, 7, 0
        many.thetas()[:] = 7
        assert many.thetas().tobytes() == THETAS.tobytes()
        assert many.l2.tolist() == L2.tolist()
        many.train(0, N, 4, RATES)
        once = many.thetas()
    with make() as many:
        many.load(*data())
        many.train(0, N, 4, RATES)
        assert many.thetas().tobytes() == once.tobytes()


def test_without_data_an_ensemble_returns_its_thetas_and_refuses_training_naming_load(make: Make) -> None:
    with make() as many:
        many.reset()
        assert many.thetas().tobytes() == THETAS.tobytes()
        with pytest.raises(PyfnnError, match="this ensemble has no data yet: call load first"):
            many.train(0, 1, 1, RATES)


@pytest.mark.parametrize(
    "call", [lambda m: m.train(0, 1, 1, 0.1), lambda m: m.thetas(), lambda m: m.reset(), lambda m: m.load(*data())]
)
def test_a_closed_ensemble_raises_and_can_be_closed_again(many: Ensemble, call: Callable[[Ensemble], Any]) -> None:
    many.close()
    with pytest.raises(PyfnnError, match="this ensemble is closed"):
        call(many)
    many.close()


def test_a_missing_activation_is_refused_by_name(make: Make, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    less = replace(worker.description, activations=("identity", "tanh"))
    monkeypatch.setattr(worker, "description", less)
    monkeypatch.setattr("pyfnn.backends.numpy.Plain.description", less)
    with pytest.raises(Unsupported, match="numpy has no activation 'softplus'"):
        make(replace(NETWORK, activation="softplus"))


def test_threads_below_1_are_refused(make: Make) -> None:
    with pytest.raises(InvalidInput, match="threads = 0: must be a whole number, at least 1"):
        make(threads=0)


def test_members_are_closed_if_a_later_one_cannot_be_created() -> None:
    opened: list[Any] = []

    class Failing(PlantedBackend):
        def _create(self, network: Network, theta: Array, threads: int) -> Any:
            if len(opened) == 2:
                raise MemoryError
            opened.append(super()._create(network, theta, threads))
            return opened[-1]

    with pytest.raises(MemoryError):
        Failing().create_many(NETWORK, THETAS)
    assert [model._closed for model in opened] == [True, True]


def test_loading_again_after_training_keeps_theta_and_a_reset_still_brings_back_the_initial_one(many: Ensemble) -> None:
    begun = many.thetas()
    many.train(0, N, 4, RATES)
    moved = many.thetas()
    assert moved.tobytes() != begun.tobytes()
    many.load(*data())
    assert many.thetas().tobytes() == moved.tobytes()
    many.train(0, N, 4, RATES)
    further = many.thetas()
    assert further.tobytes() != moved.tobytes()
    many.reset()
    assert many.thetas().tobytes() == begun.tobytes()
    for _ in range(2):
        many.train(0, N, 4, RATES)
    assert many.thetas().tobytes() == further.tobytes()
    many.reset()
    assert many.thetas().tobytes() == begun.tobytes()
