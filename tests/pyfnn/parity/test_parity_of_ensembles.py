"""Claims about the proof of ensembles: correct ones are accepted, and every planted bug between members is rejected."""

import math
from dataclasses import replace

import numpy as np
import pytest
from planted.ensemble import BUGS, PlantedMany
from support.ensembles import ensemble_battery

import pyfnn
from pyfnn import oracle, parity


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_correct_ensembles_are_accepted(activation: str, loss: str, dtype: str) -> None:
    trials = ensemble_battery(dtype, activation, loss)
    for make in (PlantedMany().create_many, *(pyfnn.load_backend(name).create_many for name in ("numpy", "cpp", "c"))):
        evidence = parity.examine_many(make, trials)
        assert evidence.passed, evidence.worst


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bug", BUGS)
def test_each_planted_bug_between_members_is_rejected(bug: str, dtype: str) -> None:
    evidence = parity.examine_many(PlantedMany(bug).create_many, ensemble_battery(dtype))
    assert not evidence.passed, BUGS[bug]
    if bug == "last_left_out":
        assert all(
            "of member 5 of the own" in str(c) or "of member 4 of the small" in str(c) for c in evidence.failures
        )


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_every_member_is_proven_even_if_some_share_a_trajectory(
    bug: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyfnn.parity.ensembles._MANY_DISTINCT", 4)
    trials = ensemble_battery("float32")
    own = trials[0]
    assert (len(own.thetas), len({theta.tobytes() for theta in own.thetas})) == (6, 4)
    assert len({id(trajectory) for trajectory in own.trajectories}) == 4
    evidence = parity.examine_many(PlantedMany(bug).create_many if bug else PlantedMany().create_many, trials)
    assert evidence.passed == (bug is None)


def test_a_nondeterministic_ensemble_need_not_repeat_its_bits() -> None:
    make, trials = PlantedMany("nondeterministic").create_many, ensemble_battery("float32")
    assert parity.examine_many(make, trials, deterministic=False).passed


def test_the_bound_of_a_member_is_far_below_the_effect_of_its_neighbours_rate_or_l2() -> None:
    (own, _) = ensemble_battery("float32")
    x, y, trajectories = own.x, own.y, own.trajectories
    for k, trajectory in enumerate(trajectories):
        other = (k + 1) % len(trajectories)
        order = own.orders[k, own.first : own.first + trajectory.count]
        theta = own.thetas[k].astype("longdouble")
        for l2, rate in ((own.l2[other], own.rates[k]), (own.l2[k], own.rates[other])):
            end = oracle.train(
                replace(own.network, l2=float(l2)), theta, x, y, order, trajectory.batch_size, float(rate)
            )
            deviation = np.linalg.norm((end - trajectory.theta).astype(float))
            assert deviation > 3 * math.hypot(*trajectory.bound.values())
