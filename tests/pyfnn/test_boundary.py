"""Claims about any argument at the public boundary: an error of pyfnn or a right result, and the model as it was."""

import copy
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.odd_values import ANY, NETWORK, ODD, ORDER, ROWS, STATE, THETA, X, Y, attempt
from support.requirements import require

from pyfnn import load_backend
from pyfnn.backend import Backend
from pyfnn.datasets.teacher import teacher
from pyfnn.errors import BackendUnavailable, Diverged, PyfnnError
from pyfnn.model import Model
from pyfnn.network import Network, initialize
from pyfnn.optimizers import Adam, Momentum
from pyfnn.training import Checkpoints, Constant, Cosine, Diagnostics, InverseTime, Step, diagnose, fit, minimize
from pyfnn.validation import Array, is_whole

IN_PROCESS = ("numpy", "c", "cpp", "cpp-tuned", "cpp-blas", "cpp-xsmm")

# A valid call of each function: odd arguments take the place of one or two of these.
CALLS: Mapping[str, tuple[Any, ...]] = {
    "load": (X, Y, ORDER),
    "forward": (0, 9),
    "loss": (1, 3),
    "loss_and_gradient": (0, 4),
    "predict": (X,),
    "train": (0, 9, 2, 0.01, None),
    "time": ("forward", 0, 4, 2, np.array([0, 3])),
    "set_theta": (THETA,),
    "set_optimizer_state": (Adam(), STATE),
}
CHANGES_THETA = ("train", "set_theta")


SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@cache
def backend(name: str) -> Backend:
    return load_backend(name)


@pytest.fixture(params=IN_PROCESS)
def made(request: pytest.FixtureRequest) -> Iterator[Model]:
    try:
        maker = backend(request.param)
    except BackendUnavailable as error:
        require(request.param, False, str(error))
        raise
    with maker.create(NETWORK, THETA) as model:
        model.load(X, Y, ORDER)
        yield model


@st.composite
def spoiled(draw: st.DrawFn, valid: tuple[Any, ...]) -> list[Any]:
    """Draw the arguments of a call with one or two of them replaced."""
    arguments = list(valid)
    for at in draw(st.sets(st.integers(0, len(valid) - 1), min_size=1, max_size=2)):
        arguments[at] = draw(ANY)
    return arguments


def outputs(model: Model) -> bytes:
    return model.forward(0, ROWS).tobytes() + model.theta().tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_a_call_with_odd_arguments_is_right_or_refused_and_changes_nothing_else(name: str, made: Model) -> None:
    @SETTINGS
    @given(spoiled(CALLS[name]))
    def check(arguments: list[Any]) -> None:
        if name == "time":
            assume(not (isinstance(arguments[3], (int, np.integer)) and arguments[3] > 1000))  # it takes long: no error
        made.reset()
        made.load(X, Y, ORDER)
        before = outputs(made)
        accepted = attempt(lambda: getattr(made, name)(*arguments))
        if not accepted and name == "train":
            made.reset()  # it may have diverged
        if not accepted or name not in (*CHANGES_THETA, "load"):
            assert outputs(made) == before

    check()


def test_a_training_that_diverges_says_so_and_a_reset_undoes_it(made: Model) -> None:
    before = outputs(made)
    with pytest.raises(Diverged), np.errstate(all="ignore"):
        made.train(0, 9, 1, np.float64(1e308))
    made.reset()
    assert outputs(made) == before


@SETTINGS
@given(spoiled((NETWORK, THETA, 1)), st.sampled_from(IN_PROCESS))
def test_a_model_is_made_of_right_arguments_alone(arguments: list[Any], name: str) -> None:
    try:
        maker = backend(name)
    except BackendUnavailable:
        assume(False)
    assume(
        not (isinstance(arguments[2], (int, np.integer)) and 8 < arguments[2] <= 4096)
    )  # as many threads are started
    made: list[Model] = []
    if attempt(lambda: made.append(maker.create(*arguments))):
        with made[0] as model:
            assert model.theta().tobytes() == np.asarray(arguments[1]).tobytes()


@settings(SETTINGS, max_examples=600)
@given(spoiled(((3, 4, 2), "tanh", "squared_error", 0.01, "identity", "float32")))
def test_a_network_is_refused_or_sound(arguments: list[Any]) -> None:
    made: list[Network] = []
    if attempt(lambda: made.append(Network(*arguments))):
        (network,) = made
        assert pickle.loads(pickle.dumps(network)) == copy.deepcopy(network) == network
        assert hash(network) == hash(replace(network, sizes=(*network.sizes,)))
        assert all(type(size) is int for size in network.sizes)
        assert type(network.dtype) is type(network.loss) is type(network.output_activation) is str
        if network.n_parameters < 10**5:
            assert np.isfinite(initialize(network, 0)).all()


@pytest.mark.parametrize("at", range(6))
def test_each_odd_value_in_each_field_of_a_network_is_refused_or_sound(at: int) -> None:
    for loss, output in (("squared_error", "identity"), ("softmax_cross_entropy", None)):
        for odd in ODD:
            for value in (odd, [odd], (odd, odd)):
                arguments: list[Any] = [(3, 4, 2), "tanh", loss, 0.01, output, "float32"]
                arguments[at] = value
                made: list[Network] = []
                if attempt(lambda: made.append(Network(*arguments))):  # noqa: B023 (called at once)
                    assert pickle.loads(pickle.dumps(made[0])) == made[0]


# A valid value of each argument of `fit`, and of each setting of a schedule.
FIT: dict[str, Any] = {
    "x": X,
    "y": Y,
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.01,
    "seed": 1,
    "optimizer": Momentum(0.5),
    "shuffle": True,
    "validation": (X, Y),
    "patience": 2,
    "tolerance": 0.0,
    "training_loss": True,
    "state": {"velocity": np.zeros_like(THETA)},
    "callbacks": (),
    "progress": False,
    "checkpoints": None,
}
MINIMIZE: dict[str, Any] = {"iterations": 2, "method": "CG", "options": {"gtol": 1e-3}}
MINIMIZE |= {name: FIT[name] for name in ("x", "y", "seed", "validation", "patience", "tolerance")}
MINIMIZE |= {name: FIT[name] for name in ("callbacks", "progress")}


@pytest.mark.parametrize("name", FIT)
def test_each_odd_argument_of_a_training_is_right_or_refused(name: str) -> None:
    with backend("numpy").create(NETWORK, THETA) as model:
        for odd in ODD:
            if name == "epochs" and is_whole(odd) and odd > 1000:
                continue
            if name == "learning_rate" and callable(odd):  # a schedule of the user's: its errors are the user's
                continue
            for value in (odd, (odd, odd)) if name == "validation" else (odd,):
                model.reset()
                attempt(lambda: fit(model, **FIT | {name: value}))  # noqa: B023 (called at once)


@pytest.mark.parametrize("name", MINIMIZE)
@pytest.mark.filterwarnings("ignore:Unknown solver options", "ignore:Method CG does not use")
def test_each_odd_argument_of_a_minimization_is_right_or_refused(name: str) -> None:
    with backend("numpy").create(NETWORK, THETA) as model:
        for odd in ODD:
            if name == "iterations" and is_whole(odd) and odd > 1000:
                continue
            for value in (odd, (odd, odd)) if name == "validation" else (odd,):
                attempt(lambda: minimize(model, **MINIMIZE | {name: value}))  # noqa: B023 (called at once)


@pytest.mark.parametrize("rate", ODD, ids=lambda odd: type(odd).__name__)
def test_a_schedule_that_returns_an_odd_rate_is_right_or_refused(rate: Any) -> None:
    with backend("numpy").create(NETWORK, THETA) as model:
        attempt(lambda: fit(model, **FIT | {"learning_rate": lambda _: rate}))


@pytest.mark.parametrize("name", ["network", "theta", "x", "y", "initial"])
def test_each_odd_argument_of_a_diagnosis_is_right_or_refused(name: str) -> None:
    valid: dict[str, Any] = {"network": NETWORK, "theta": THETA, "x": X, "y": Y, "initial": THETA}
    for odd in ODD:
        tables: list[Array] = []
        if attempt(lambda: tables.append(diagnose(**valid | {name: odd}))):  # noqa: B023 (called at once)
            assert tables[0].shape == (2,)


@pytest.mark.parametrize("name", ["x", "y", "epochs"])
def test_each_odd_argument_of_diagnostics_is_right_or_refused(name: str) -> None:
    valid: dict[str, Any] = {"x": X, "y": Y, "epochs": {1}}
    with backend("numpy").create(NETWORK, THETA) as model:
        for odd in ODD:
            made: list[Any] = []
            if attempt(lambda: made.append(Diagnostics(**valid | {name: odd}))):  # noqa: B023 (called at once)
                attempt(lambda: fit(model, **FIT | {"callbacks": made}))  # noqa: B023 (called at once)


@pytest.mark.parametrize("name", ["path", "every_epochs", "every_seconds"])
def test_each_odd_setting_of_checkpoints_is_right_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with backend("numpy").create(NETWORK, THETA) as model:
        for odd in ODD:
            made: list[Checkpoints] = []
            valid: dict[str, Any] = {"path": "c", "every_epochs": 1, "every_seconds": 1.0}
            if attempt(lambda: made.append(Checkpoints(**valid | {name: odd}))):  # noqa: B023 (called at once)
                attempt(lambda: fit(model, **FIT | {"checkpoints": made[0]}))  # noqa: B023 (called at once)


@pytest.mark.parametrize("schedule", [Constant, Step, Cosine, InverseTime])
def test_each_odd_setting_of_a_schedule_is_right_or_refused(schedule: type[Any]) -> None:
    valid = {"rate": 0.1, "every": 2, "factor": 0.5, "epochs": 5, "final": 0.0, "decay": 0.1}
    own = {field.name: valid[field.name] for field in fields(schedule)}
    for name in own:
        for odd in ODD:
            made: list[Any] = []
            if attempt(lambda: made.append(schedule(**own | {name: odd}))):  # noqa: B023 (called at once)
                assert all(made[0](epoch) >= 0 for epoch in (0, 1, 10**6))


@pytest.mark.parametrize("name", ["rows", "seed", "noise"])
def test_each_odd_argument_of_synthetic_data_is_right_or_refused(name: str) -> None:
    for odd in ODD:
        if name == "rows" and is_whole(odd) and odd > 1000:
            continue
        arguments: dict[str, Any] = {"network": NETWORK, "rows": 9, "seed": 1, "noise": 0.1}
        attempt(lambda: teacher(**arguments | {name: odd}))  # noqa: B023 (called at once)


@SETTINGS
@given(spoiled((NETWORK, 3, "fan_in")))
def test_parameters_are_drawn_from_a_whole_seed_alone(arguments: list[Any]) -> None:
    assume(isinstance(arguments[0], Network))
    attempt(lambda: initialize(*arguments))


@SETTINGS
@given(ANY)
def test_a_backend_is_loaded_by_its_name_alone(name: Any) -> None:
    attempt(lambda: load_backend(name))


@SETTINGS
@given(st.lists(ANY, min_size=1, max_size=3))
def test_an_optimizer_is_refused_or_has_settings_in_range(arguments: list[Any]) -> None:
    made: list[Adam | Momentum] = []
    attempt(lambda: made.append(Adam(*arguments)))
    attempt(lambda: made.append(Momentum(arguments[0])))
    attempt(lambda: made.append(Momentum(0.5, arguments[0])))
    for one in made:
        assert all(0 <= value < math.inf for value in one.settings)


def test_data_that_are_not_aligned_are_refused_by_name(made: Model) -> None:
    raw: Array = np.zeros(X.nbytes + 1, np.uint8)
    shifted = np.frombuffer(raw.data, X.dtype, X.size, 1).reshape(X.shape)
    with pytest.raises(PyfnnError, match=r"x is not aligned in memory: pass x\.copy\(\)"):
        made.load(shifted, Y, ORDER)
