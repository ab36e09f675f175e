"""Claims about the cost of a crossing: its arithmetic, the same work on both sides, and runs with real backends."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from planted.model import PlantedBackend, PlantedModel
from scipy.stats import t as student_t
from support.requirements import require

from bench.experiments.crossing import __main__ as crossing
from bench.experiments.crossing import drivers as drivers_module
from bench.experiments.crossing.__main__ import (
    _LEAST,
    TimedPair,
    _caption,
    available_transports,
    block_lengths,
    crossing_costs,
    interval,
    main,
    plain_programs,
)
from bench.experiments.crossing.drivers import (
    HOSTED,
    TINY,
    CrossingPlan,
    Driver,
    Level,
    Passing,
    Public,
    Route,
    Transport,
    drivers,
)
from bench.experiments.new_process import in_new_process
from bench.statistics.intervals import Estimate
from bench.suites import load
from bench.suites.problem import make_problem
from pyfnn import parity, registry
from pyfnn.errors import BackendUnavailable, PyfnnError, WorkerDied
from pyfnn.manifest import Row
from pyfnn.model import Model
from pyfnn.network import Network
from pyfnn.validation import Array

BATCHES = (TINY, TINY.model_copy(update={"name": "tiny-batch", "batch": 3}))
ROUTE = Route("tiny", "cffi", "binding", "nothing")
PASSINGS: tuple[Passing, ...] = ("nothing", "arrays")
TRANSPORTS: tuple[Transport, ...] = ("pybind11", "cffi", "pipe")


def sample(crossing_ns: float, launch: int, turn: int, level: Level = "binding") -> TimedPair:
    """Return a pair of 101 steps of 1 µs each, in which each of the 100 further calls costs `crossing_ns`."""
    batched = 101 * 1e-6
    return TimedPair(ROUTE._replace(level=level), launch, turn, 101, batched, batched + 100 * crossing_ns * 1e-9)


def test_a_crossing_is_the_mean_cost_of_the_further_calls() -> None:
    assert sample(250, 0, 0).crossing == pytest.approx(250e-9)
    assert TimedPair(ROUTE, 0, 0, 11, 2.0, 1.0).crossing == pytest.approx(-0.1)


def test_the_contract_is_the_difference_of_public_method_and_binding_in_the_same_rounds() -> None:
    slow = [0, 40, 10, 70, 30]  # ns by launch, the same for both
    below = [sample(200 + slow[launch], launch, turn) for launch in range(5) for turn in range(3)]
    above = [sample(3200 + slow[launch], launch, turn, "public") for launch in range(5) for turn in range(3)]
    (line,) = crossing_costs([*above, *below])
    assert [n.median for n in (line.binding, line.contract, line.public, line.step)] == pytest.approx(
        [230e-9, 3000e-9, 3230e-9, 1e-6]
    )
    assert line.contract.high - line.contract.low == pytest.approx(0, abs=1e-15)
    assert line.binding.low < 230e-9 - 20e-9 < 230e-9 + 20e-9 < line.binding.high
    assert line.steps == (101, 101)


def test_a_round_disturbed_by_another_process_does_not_change_its_launch() -> None:
    quiet = [sample(200, launch, turn, level) for launch in range(5) for turn in range(3) for level in LEVELS]
    disturbed = [sample(1e6, s.launch, s.round, s.route.level) if s.round == s.launch % 3 else s for s in quiet]
    assert crossing_costs(disturbed)[0].binding.median == pytest.approx(200e-9)


LEVELS: tuple[Level, ...] = ("binding", "public")


@pytest.mark.parametrize("values", [[1e-7, 2e-7, 4e-7], [-3.0, 5.0, 1.0, 0.5], [0.0, 0.0], [-1e9, 1e9]])
def test_an_interval_is_students_on_a_linear_scale_for_any_sign(values: list[float]) -> None:
    margin = student_t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    wanted = (fmean(values), fmean(values) - margin, fmean(values) + margin)
    assert astuple(interval(values)) == pytest.approx(wanted, rel=1e-9, abs=1e-12 * max(map(abs, values)))


def test_one_launch_has_no_interval() -> None:
    with pytest.raises(PyfnnError, match="two launches"):
        interval([1.0])


@pytest.mark.parametrize(
    ("estimate", "caption"),
    [
        (Estimate(250e-9, 240e-9, 260e-9), "250 [240, 260]"),
        (Estimate(250e-9, -10e-9, 510e-9), "below 510"),
        (Estimate(-9e-9, -10e-9, -8e-9), "none shown"),
    ],
)
def test_an_estimate_whose_interval_includes_0_shows_only_its_bound(estimate: Estimate, caption: str) -> None:
    assert _caption(estimate) == caption


def test_cheap_routes_have_full_blocks_and_dear_ones_share_the_remaining_time() -> None:
    cheap, dear, dearest = (ROUTE._replace(workload=name) for name in ("cheap", "dear", "dearest"))
    seconds = {dearest: 4e-3, cheap: 1e-7, dear: 1e-3}
    found = block_lengths(seconds, 10.0, 10_000)
    assert found[cheap] == 10_000
    assert found[dear] / found[dearest] == pytest.approx(4, rel=0.01)
    assert sum(found[route] * seconds[route] for route in found) < 10.0
    assert set(block_lengths(seconds, 1e9, 10_000).values()) == {10_000}
    assert set(block_lengths(seconds, 0.0, 10_000).values()) == {_LEAST}


class DropsLastRow(PlantedModel):
    """A model that is correct, except that it leaves out the last row of a long call."""

    def _train(self, first: int, count: int, batch_size: int, learning_rate: float) -> float:
        return super()._train(first, count - 1 if count > 30 else count, batch_size, learning_rate)


def public(make: Callable[[Network, Array], Model]) -> Driver:
    return Public(make_problem(TINY, "float32"), TINY, make)


@pytest.mark.parametrize("passing", PASSINGS)
def test_steps_that_end_at_another_theta_than_one_call_are_an_error(passing: Passing) -> None:
    route = ROUTE._replace(level="public", passing=passing)
    with pytest.raises(PyfnnError, match=f"tiny, cffi, public, {passing} passed: 40 steps .* at another theta"):
        public(lambda network, theta: DropsLastRow(network, theta)).turn(route, 40, random.Random(0))
    batched, one_call_each = public(PlantedBackend().create).turn(route, 40, random.Random(0))
    assert min(batched, one_call_each) > 0


def test_a_model_that_ignores_its_order_is_caught_by_the_arrays_passed_to_it() -> None:
    planted = public(PlantedBackend("sequential_order").create)
    with pytest.raises(PyfnnError, match="at another theta"):
        planted.turn(ROUTE._replace(passing="arrays"), 40, random.Random(0))


def test_a_backend_that_fails_parity_is_not_driven() -> None:
    network = load.built_in_workloads()["wine-deep"].network("float32")
    trial = parity.small_variant(network, np.random.default_rng(0))
    drivers_module._prove("right", PlantedBackend().create, trial)
    with pytest.raises(PyfnnError, match="article: dW_"):
        drivers_module._prove("article", PlantedBackend("article").create, trial)


def need(*names: str) -> None:
    for name in names:
        try:
            registry.load_backend(name)
        except BackendUnavailable as error:
            require(name, False, str(error))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_all_routes_of_a_transport_do_the_same_steps_bit_for_bit(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = HOSTED.get(transport, "c")
    need(name)
    monkeypatch.setattr(drivers_module, "cpus", lambda: ((), ()))  # this process runs other tests
    with drivers(CrossingPlan(BATCHES, {transport: name})) as every:
        assert len(every) == len(BATCHES) * len(LEVELS) * len(PASSINGS)
        wanted: dict[str, bytes] = {}
        for route, driver in every.items():
            batched, one_call_each = driver.turn(route, 50, random.Random(0))
            assert min(batched, one_call_each) > 0
            theta = driver.block(50, route.passing)[1].tobytes()
            assert theta == wanted.setdefault(route.workload, theta)
            assert theta != driver.problem.theta.tobytes()


def pair_of(entry: dict[str, Any]) -> TimedPair:
    way = entry["way"]
    route = Route(way["workload"], way["route"], way["level"], way["passing"])
    return TimedPair(route, entry["launch"], entry["round"], entry["steps"], entry["whole"], entry["single"])


def test_more_steps_than_the_order_holds_are_refused() -> None:
    driver = public(PlantedBackend().create)
    with pytest.raises(PyfnnError, match="the order holds"):
        driver.block(len(driver.problem.order) + 1, None)


def test_the_command_prints_a_table_and_writes_samples_facts_and_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cpp", "c")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(crossing, "_LEAST", 20)
    brief = ["--steps", "20", "--launches", "2", "--seconds", "1", "--program", "c"]
    assert main([*brief, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for words in ("pybind11 (cpp)", "cffi (c)", "pipe (c)", "tiny", "wine-deep", "x, y"):
        assert words in printed
    content = json.loads((tmp_path / "crossing.json").read_text(encoding="utf-8"))
    assert content["routes"] == {"pybind11": "cpp", "cffi": "c", "pipe": "c"}
    assert content["host"]["python"]
    samples = [pair_of(s) for s in content["samples"]]
    assert {s.launch for s in samples} == {0, 1}
    assert len({s.route for s in samples}) == 2 * 3 * len(LEVELS) * len(PASSINGS) == 2 * len(content["lines"])
    assert {s.steps for s in samples} == {20}
    again = {(n.workload, n.transport, n.passing): n.public for n in crossing_costs(samples)}
    for line in content["lines"]:
        found = Estimate(**line["public"])
        assert found == pytest.approx(again[line["workload"], line["route"], line["passing"]])
    pipe, bound = (  # the least time of single calls: a pause of the machine makes a round longer, never shorter
        min(s.one_call_each for s in samples if s.route == route)
        for route in (Route("tiny", "pipe", "public", "nothing"), Route("tiny", "cffi", "binding", "nothing"))
    )
    assert pipe > bound
    assert (tmp_path / "crossing.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("finished", [1, 2])
@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (WorkerDied("killed"), 2)])
def test_an_error_loses_only_the_unfinished_launch(
    error: BaseException, status: int, finished: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("cpp", "c")
    monkeypatch.setattr(crossing, "_LEAST", 20)
    workloads = ("tiny", "wine-deep")
    routes = [
        Route(w, t, level, passing) for w in workloads for t in TRANSPORTS for level in LEVELS for passing in PASSINGS
    ]

    def in_this_process(function: Callable[..., Any], *arguments: Any) -> Any:
        if function is crossing.call_costs:
            return dict.fromkeys(routes, 1e-6)
        assert function is crossing.run_launch
        number = arguments[1]
        if number == finished:
            raise error
        return [TimedPair(route, number, 0, 20, 20e-6, 40e-6) for route in routes]

    monkeypatch.setattr(crossing, "in_new_process", in_this_process)
    brief = ["--steps", "20", "--launches", "3", "--seconds", "1", "--program", "c"]
    assert main([*brief, "--out", str(tmp_path)]) == status
    if finished == 1:  # no interval
        assert not (tmp_path / "crossing.json").exists()
        return
    content = json.loads((tmp_path / "crossing.json").read_text(encoding="utf-8"))
    assert content["cut_short"]
    assert {s["launch"] for s in content["samples"]} == {0, 1}


def test_an_absent_transport_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *_: object) -> None:
        raise BackendUnavailable(f"no {name} here", "get it")

    monkeypatch.setattr(registry, "load_backend", absent)
    monkeypatch.setattr(crossing, "command_of", lambda row: absent(row.name))
    name = plain_programs()[0]
    transports, why = available_transports(name)
    assert transports == {}
    assert why == {n: f"no {n} here (get it)" for n in ("cpp", "c", name)}
    assert main(["--program", name]) == 2


def test_the_first_available_program_is_behind_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_, last = plain_programs()

    def all_but_the_first(row: Row) -> list[str]:
        if row.name == first:
            raise BackendUnavailable(f"no {first} here")
        return [row.name]

    monkeypatch.setattr(registry, "load_backend", lambda name: name)
    monkeypatch.setattr(crossing, "command_of", all_but_the_first)
    transports, why = available_transports(None)
    assert transports["pipe"] == second
    assert why == {first: f"no {first} here"}
    assert last == "c"  # hosted by Python, so available if cffi's transport is


@pytest.mark.parametrize("option", ["--steps=99", "--launches=1", "--seconds=0.5", "--program=absent"])
def test_invalid_arguments_are_refused_by_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([option]) == 2
    assert option.split("=")[1] in capsys.readouterr().err


def test_an_error_in_the_measuring_process_is_raised_here() -> None:
    with pytest.raises(PyfnnError, match="two launches"):
        in_new_process(partial(interval, [1.0]))
