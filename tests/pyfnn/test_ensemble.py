"""Claims about many networks at once: the contract, its three implementations here, their proof, their case.

Each contract claim holds in this process, by one call at the other end of a worker, and member by member there.
"""

import math
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import misbehaving
import numpy as np
import pytest
from planted.ensemble import BUGS, PlantedMany
from planted.model import PlantedBackend
from support.requirements import require
from support.sample_results import events, results_of

import pyfnn
from bench import format
from bench.measure import gate
from bench.measure.arm import Settings
from bench.measure.case import CaseRun
from bench.measure.errors import Implausible, ParityFailed
from bench.measure.networks import ManyNetworks, networks_of
from bench.measure.session import Block, Session
from bench.report import figures, rows, tables
from bench.results.events import RunEvent
from bench.results.journal import Journal, now
from bench.results.schema import SCHEMA, Case, Results
from bench.results.store import load_results, save_results
from bench.suites import load
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import Problem, make_problem
from bench.suites.suite import CaseKey
from bench.terms import OPERATIONS
from pyfnn import oracle, parity, registry
from pyfnn.backend import Backend
from pyfnn.ensemble import Ensemble
from pyfnn.errors import Diverged, InvalidInput, ProtocolError, PyfnnError, Unsupported
from pyfnn.network import Network, initialize
from pyfnn.process import protocol
from pyfnn.process.ensemble import MemberByMember, ProcessEnsemble, open_ensemble
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker
from pyfnn.validation import Array
from pyfnn.worker import Host

TESTS = Path(__file__).parents[1]
NETWORK = Network((3, 4, 2), "tanh", "squared_error", l2=0.01)
K, ROWS, N = 4, 9, 15
THETAS = np.stack([initialize(NETWORK, seed) for seed in range(K)])
L2 = np.array([0.0, 0.1, 0.2, 0.01])
RATES = np.array([0.1, 0.05, 0.2, 0.02])
Make = Callable[..., Ensemble]


def _data(network: Network = NETWORK) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, network.sizes[0])), rng.normal(size=(ROWS, network.sizes[-1]))
    return x.astype(network.dtype), y.astype(network.dtype), rng.integers(ROWS, size=(K, N))


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
        many.load(*_data())
        yield many


# The contract ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["numpy", "cpp", "c"])
def test_each_member_ends_where_a_model_of_its_own_would_bit_for_bit(name: str) -> None:
    backend, (x, y, orders) = pyfnn.load_backend(name), _data()
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


def test_one_rate_and_one_l2_serve_all(make: Make) -> None:
    ends = []
    for l2, rates in ((None, 0.1), (np.full(K, NETWORK.l2), np.full(K, 0.1))):
        with make(l2=l2) as many:
            assert many.l2.tolist() == [NETWORK.l2] * K
            many.load(*_data())
            many.train(0, N, 2, rates)
            ends.append(many.thetas())
    assert ends[0].tobytes() == ends[1].tobytes()


@pytest.mark.parametrize(
    ("thetas", "l2", "words"),
    [
        (THETAS[0], L2, "thetas is 26 of float32: wanted rows×26 of float32"),
        (THETAS[:, :-1].copy(), L2, "thetas is 4×25 of float32: wanted 4×26 of float32"),
        (THETAS.astype("f8"), L2, "thetas is 4×26 of float64: wanted 4×26 of float32"),
        (np.asfortranarray(THETAS), L2, r"thetas is not C-contiguous"),
        (np.full_like(THETAS, math.nan), L2, r"thetas\[0, 0\] = nan: every value must be finite"),
        (THETAS[:0], L2, "thetas is empty: at least one member is needed"),
        (THETAS.tolist(), L2, "thetas is a list: wanted a NumPy array"),
        (THETAS, L2[:3].copy(), "l2 is 3 of float64: wanted 4 of float64"),
        (THETAS, [0.1] * K, "l2 is a list: wanted a NumPy array, 4 of float64"),
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
        (lambda o: o[:3].copy(), "orders is 3×15 of int64: wanted 4×15 of int64"),
        (lambda o: o[0], "orders is 15 of int64: wanted 4×rows of int64"),
        (lambda o: o.astype("i4"), "orders is 4×15 of int32"),
        (lambda o: o[:, :0], "orders is empty: at least one row number is needed"),
        (lambda o: np.where(np.arange(N) == 3, 9, o), r"orders\[0, 3\] = 9: row numbers lie in \[0, 9\)"),
        (lambda o: np.asfortranarray(o), "orders is not C-contiguous"),
    ],
)
def test_bad_orders_are_refused_by_name_and_nothing_has_changed(
    many: Ensemble, change: Callable[[Array], Array], words: str
) -> None:
    x, y, orders = _data()
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
        ((0, 2, 1, RATES[:2].copy()), "learning_rates is 2 of float64: wanted 4 of float64"),
        ((0, 2, 1, RATES.astype("f4")), "learning_rates is 4 of float32: wanted 4 of float64"),
        ((0, 2, 1, np.array([0.1, 0.1, 0.0, 0.1])), r"learning_rates\[2\] = 0.0: must be above 0"),
        ((0, 2, 1, np.array([0.1, math.nan, 0.1, 0.1])), r"learning_rates\[1\] = nan: every value must be finite"),
        ((0, 2, 1, -0.1), "learning_rates = -0.1: must be finite and above 0"),
        ((0, 2, 1, [0.1] * K), r"learning_rates = \[0.1, .*\]: must be finite and above 0"),
    ],
)
def test_bad_training_arguments_are_refused_and_no_theta_has_moved(many: Ensemble, arguments: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        many.train(*arguments)
    assert many.thetas().tobytes() == THETAS.tobytes()


def test_members_that_diverge_are_named_and_the_others_trained(make: Make) -> None:
    network = replace(NETWORK, activation="relu")
    rates = np.array([0.01, 1e30, 0.01, 1e30])
    with make(network) as many:
        many.load(*_data())
        for _ in range(2):  # they stay as they became
            with pytest.raises(
                Diverged, match=r"not finite after 15 steps of member 1 \(learning_rate = 1e\+30\), 3 \("
            ):
                many.train(0, N, 1, rates)
        assert np.isfinite(many.thetas()).all(axis=1).tolist() == [True, False, True, False]
        assert (many.thetas()[[0, 2]] != THETAS[[0, 2]]).any(axis=1).all()
        many.reset()
        assert many.thetas().tobytes() == THETAS.tobytes()
        many.train(0, N, 1, 0.01)


def test_what_goes_in_and_out_is_a_copy(make: Make) -> None:
    thetas, l2, (x, y, orders) = THETAS.copy(), L2.copy(), _data()
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
        many.load(*_data())
        many.train(0, N, 4, RATES)
        assert many.thetas().tobytes() == once.tobytes()


def test_without_data_it_knows_its_thetas_and_says_what_is_missing(make: Make) -> None:
    with make() as many:
        many.reset()
        assert many.thetas().tobytes() == THETAS.tobytes()
        with pytest.raises(PyfnnError, match="this ensemble has no data yet: call load first"):
            many.train(0, 1, 1, RATES)


@pytest.mark.parametrize(
    "call", [lambda m: m.train(0, 1, 1, 0.1), lambda m: m.thetas(), lambda m: m.reset(), lambda m: m.load(*_data())]
)
def test_closed_it_says_so_and_closes_again_in_peace(many: Ensemble, call: Callable[[Ensemble], Any]) -> None:
    many.close()
    with pytest.raises(PyfnnError, match="this ensemble is closed"):
        call(many)
    many.close()


def test_what_a_backend_lacks_is_refused_by_name(make: Make) -> None:
    network = replace(NETWORK, activation="softplus")
    with pytest.raises(Unsupported, match="numpy has no activation 'softplus'"):
        make(network)


def test_threads_below_1_are_refused(make: Make) -> None:
    with pytest.raises(InvalidInput, match="threads = 0: must be a whole number, at least 1"):
        make(threads=0)


def test_a_member_that_cannot_be_made_leaves_none_open() -> None:
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


# The proof ------------------------------------------------------------------------------------------------------------


def battery(dtype: str, activation: str = "tanh", loss: str = "squared_error") -> list[parity.ManyTrial]:
    network, rng = Network((5, 7, 4, 3), activation, loss, dtype=dtype), np.random.default_rng(1)
    thetas = np.stack([initialize(network, seed) for seed in range(6)])
    x, y = rng.normal(size=(60, 5)).astype(dtype), np.eye(3, dtype=dtype)[rng.integers(3, size=60)]
    return parity.many_battery(network, thetas, 10.0 ** rng.uniform(-4, -2, 6), x, y, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_correct_ensembles_are_accepted(activation: str, loss: str, dtype: str) -> None:
    trials = battery(dtype, activation, loss)
    for make in (PlantedMany().create_many, *(pyfnn.load_backend(name).create_many for name in ("numpy", "cpp", "c"))):
        evidence = parity.examine_many(make, trials)
        assert evidence.passed, evidence.worst


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bug", BUGS)
def test_each_planted_bug_between_members_is_rejected(bug: str, dtype: str) -> None:
    evidence = parity.examine_many(PlantedMany(bug).create_many, battery(dtype))
    assert not evidence.passed, BUGS[bug]
    if bug == "last_left_out":
        assert all("of member 5 of the own" in str(c) or "of member 4 of the sib" in str(c) for c in evidence.failures)


@pytest.mark.parametrize("bug", [None, *BUGS])
def test_of_more_members_than_are_walked_each_is_still_proven(bug: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyfnn.parity.ensembles._MANY_WALKED", 4)
    trials = battery("float32")
    own = trials[0]
    assert (len(own.thetas), len({theta.tobytes() for theta in own.thetas})) == (6, 4)
    assert len({id(walk) for walk in own.walks}) == 4
    evidence = parity.examine_many(PlantedMany(bug).create_many if bug else PlantedMany().create_many, trials)
    assert evidence.passed == (bug is None)


def test_who_does_not_claim_to_be_deterministic_is_not_held_to_it() -> None:
    make, trials = PlantedMany("nondeterministic").create_many, battery("float32")
    assert parity.examine_many(make, trials, deterministic=False).passed


def test_the_bound_on_a_member_is_far_below_what_its_neighbours_rate_or_l2_would_change() -> None:
    (own, _) = battery("float32")
    x, y, walks = own.x, own.y, own.walks
    for k, walk in enumerate(walks):
        other = (k + 1) % len(walks)
        order = own.orders[k, own.first : own.first + walk.count]
        theta = own.thetas[k].astype("longdouble")
        for l2, rate in ((own.l2[other], own.rates[k]), (own.l2[k], own.rates[other])):
            end = oracle.train(replace(own.network, l2=float(l2)), theta, x, y, order, walk.batch_size, float(rate))
            strayed = np.linalg.norm((end - walk.theta).astype(float))
            assert strayed > 3 * math.hypot(*walk.bound.values())


# The protocol ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(PlantedBackend(), tmp_path)


def _hand_over(folder: Path, members: int | None = K) -> None:
    x, y, orders = _data()
    (folder / "network.txt").write_text(protocol.format_setup(protocol.Setup(NETWORK, ROWS, N, 1, members)))
    arrays = {"theta": THETAS, "x": x, "y": y, "order": orders, "l2": L2, "rates": RATES}
    for name, array in arrays.items():
        protocol.write_array(folder / f"{name}.bin", array)


def test_every_host_says_that_it_takes_many_and_a_program_that_says_nothing_does_not(host: Host) -> None:
    fields = protocol.parse_reply(host.answer("hello"))[1]
    assert protocol.parse_description(fields).many
    assert not protocol.parse_description({key: value for key, value in fields.items() if key != "many"}).many
    assert not protocol.parse_description({**fields, "many": "no"}).many
    with pytest.raises(ProtocolError, match="many=some: must be yes or no"):
        protocol.parse_description({**fields, "many": "some"})


def test_how_many_members_there_are_survives_network_txt() -> None:
    for members in (None, 1, 256):
        setup = protocol.Setup(NETWORK, 5, 7, 2, members)
        assert protocol.parse_setup(protocol.format_setup(setup)).members == members


def test_the_host_answers_with_every_members_theta(host: Host, tmp_path: Path) -> None:
    _hand_over(tmp_path)
    assert host.answer("init_many").startswith("ok\tthreads=1")
    assert host.answer("train_many 0 15 4").startswith("ok\tseconds=")
    assert host.answer("theta") == "ok\n"
    ends = protocol.read_array(tmp_path / "theta_out.bin", THETAS.shape, "float32")
    assert (ends != THETAS).any(axis=1).all()
    assert host.answer("reset") == "ok\n"
    host.answer("theta")
    assert (tmp_path / "theta_out.bin").read_bytes() == THETAS.tobytes()


@pytest.mark.parametrize(
    ("before", "line", "words"),
    [
        ("hello", "train_many 0 1 1", "no ensemble yet: init_many comes first"),
        ("init_many", "train 0 1 1 0.1", "no model yet: init comes first"),
        ("init_many", "forward 0 1", "no model yet: init comes first"),
        ("init_many", "train_many 0 1 1 0.1", "the command is 'train_many FIRST COUNT BATCH'"),
        ("init_many", "train_many 0 99 1", "must lie within the 15 entries of each order"),
        ("hello", "theta", "no model yet"),
        ("hello", "reset", "no model yet"),
    ],
)
def test_a_command_out_of_place_is_answered_and_the_host_lives_on(
    before: str, line: str, words: str, host: Host, tmp_path: Path
) -> None:
    _hand_over(tmp_path)
    host.answer(before)
    status, fields = protocol.parse_reply(host.answer(line))
    assert status == "error"
    assert words in fields["message"]
    assert host.answer("hello").startswith("ok\t")


def test_members_missing_from_network_txt_or_from_a_file_are_named(host: Host, tmp_path: Path) -> None:
    _hand_over(tmp_path, members=None)
    assert "network.txt has no line 'members'" in host.answer("init_many")
    _hand_over(tmp_path, members=K + 1)
    assert "theta.bin has 416 bytes: (5, 26) of float32 takes 520" in host.answer("init_many")
    _hand_over(tmp_path)
    host.answer("init_many")
    (tmp_path / "rates.bin").write_bytes(b"12345678")
    assert "rates.bin has 8 bytes: (4,) of float64 takes 32" in host.answer("train_many 0 1 1")


# Workers --------------------------------------------------------------------------------------------------------------

HELLO = protocol.format_reply("ok", protocol.describe(replace(PlantedBackend().description, many=True)))
ROGUE = """
import sys
for line in sys.stdin:
    word = line.split()[0]
    if word == "quit":
        break
    sys.stdout.write({{"hello": {hello!r}, "init_many": "ok\\tthreads=1\\n"}}.get(word, {reply!r}))
    sys.stdout.flush()
"""


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("ok\n", "the reply lacks seconds"),
        ("ok\tseconds=-1\n", "seconds=-1: must be finite and not negative"),
        ("ok\tseconds=1\n", r"theta_out\.bin: No such file"),
        ("trained\n", "starts with neither ok nor error"),
    ],
)
def test_a_worker_that_answers_train_many_with_rubbish_is_not_the_protocol(reply: str, words: str) -> None:
    script = ROGUE.format(hello=HELLO, reply=reply)
    with Worker([sys.executable, "-I", "-S", "-c", script], timeout=20.0) as rogue:
        many = open_ensemble(rogue, NETWORK, THETAS)
        assert type(many) is ProcessEnsemble
        many.load(*_data())
        with pytest.raises(ProtocolError, match=words):
            many.train(0, 1, 1, RATES)


def test_a_worker_that_takes_many_only_by_its_word_costs_itself_alone() -> None:
    script = ROGUE.format(hello=HELLO, reply="").replace('"ok\\tthreads=1\\n"', '"error\\tmessage=unknown command\\n"')
    with Worker([sys.executable, "-I", "-S", "-c", script], timeout=20.0) as rogue:
        many = open_ensemble(rogue, NETWORK, THETAS)
        with pytest.raises(PyfnnError, match="unknown command"):
            many.load(*_data())


def test_a_worker_holds_what_was_loaded_last(worker: Worker) -> None:
    many = open_ensemble(worker, NETWORK, THETAS, L2)
    many.load(*_data())
    x, y, orders = _data()
    ProcessModel(worker, NETWORK, THETAS[0]).load(x, y, orders[0])
    for call in (many.thetas, many.reset, lambda: many.train(0, 1, 1, RATES)):
        with pytest.raises(PyfnnError, match="this ensemble's worker has been loaded with another model since"):
            call()


def test_loading_again_after_training_keeps_theta_or_wants_a_reset(many: Ensemble) -> None:
    many.train(0, N, 4, RATES)
    moved = many.thetas()
    if type(many) is ProcessEnsemble:
        with pytest.raises(PyfnnError, match="theta has moved, and loading would start the worker over"):
            many.load(*_data())
    else:
        many.load(*_data())
    assert many.thetas().tobytes() == moved.tobytes()


@pytest.fixture(scope="module")
def foreign() -> Backend:
    require("perl", shutil.which("perl") is not None, "install Perl 5.22 or later")
    return pyfnn.load_backend("foreign", [TESTS / "foreign" / "backend.toml"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_program_that_knows_of_one_network_only_trains_many_in_one_process(foreign: Backend, dtype: str) -> None:
    assert not foreign.description.many
    with foreign.create_many(NETWORK, THETAS, L2) as many:
        assert isinstance(many, MemberByMember)
    evidence = parity.examine_many(foreign.create_many, battery(dtype))
    assert evidence.passed, evidence.worst


def test_times_of_members_one_after_the_other_are_sums_over_their_training_alone(worker: Worker) -> None:
    many = MemberByMember(worker, NETWORK, THETAS, L2)
    many.load(*_data())
    seconds = many.train(0, N, 1, RATES)
    assert 0 < seconds <= many.call_wall_seconds
    assert many.call_cpu_seconds > 0


# The harness ----------------------------------------------------------------------------------------------------------

MEMBERS = 3
SHORT = Settings(reference="steady", precision=1e3, rounds=2, min_launches=2, block_seconds=0.002, burst_seconds=0.001)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[CaseKey, Problem]:
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)
    path = misbehaving.suite(tmp_path / "tiny.toml")
    path.write_text(path.read_text() + f"members = {MEMBERS}\n")
    (key,) = cases_of(*load_suite(str(path)))
    return key, make_problem(key.workload, key.dtype)


def session(folder: Path, case: tuple[CaseKey, Problem], deed: str = "", host: str = "") -> Session:
    deeds, hosts = ({"one": deed}, {}) if deed else ({}, {"one": host})
    row = registry.find("one", [misbehaving.manifest(folder / "backend.toml", deeds, hosts)])
    return Session(row, *case, timeout=60.0)


def battery(case: tuple[CaseKey, Problem]) -> gate.Battery:
    return gate.battery(case[1], case[0].workload.batch)


def test_members_have_seeds_orders_rates_and_l2s_of_their_own(case: tuple[CaseKey, Problem]) -> None:
    problem, workload = case[1], case[0].workload
    own = problem.members
    assert own is not None
    assert own.thetas[0].tobytes() == problem.theta.tobytes()
    for array in (own.thetas, own.orders, own.rates, own.l2):
        assert len(np.unique(array, axis=0)) == len(array) == MEMBERS
    assert (abs(np.log2(own.rates / workload.learning_rate)) <= 1).all()
    assert (abs(np.log10(own.l2 / workload.l2)) <= 1).all()
    assert (np.sort(own.orders.reshape(MEMBERS, -1, workload.rows)) == np.arange(workload.rows)).all()
    assert problem.n_order == own.orders.shape[1]


def test_a_single_network_has_no_members() -> None:
    problem = make_problem(load.built_in_workloads()["wine-deep"], "float32")
    assert problem.members is None
    assert networks_of(problem).ensemble_trials(problem, 1) == []


def test_many_networks_have_a_case_for_training_alone() -> None:
    suite, workloads = load_suite("full")
    wanted = suite.model_copy(update={"workloads": ("ensemble", "digits"), "threads": (1,), "dtypes": ("float32",)})
    cases = [(key.workload.name, key.operation) for key in cases_of(wanted, workloads)]
    assert cases == [("ensemble", "train"), *(("digits", operation) for operation in OPERATIONS)]
    with pytest.raises(InvalidInput, match=r"operations = forward: many networks at once, as in workload ensemble"):
        cases_of(wanted.model_copy(update={"operations": ("forward",)}), workloads)


def test_a_bug_between_members_is_found_through_the_process_and_a_member_named(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with session(tmp_path, case, host='host = "planted.ensemble:Neighbour"') as planted:
        assert gate.prove(planted, replace(battery(case), ensembles=[])).passed
        with pytest.raises(ParityFailed, match=r"of W_1 after 6 steps of member 0 of the own ensemble's network"):
            gate.prove(planted, battery(case))


@pytest.mark.parametrize("name", ["numpy", "cpp", "c"])
def test_what_was_proven_passes_the_replay(name: str, case: tuple[CaseKey, Problem]) -> None:
    with Session(registry.find(name), *case, timeout=60.0) as correct:
        assert gate.prove(correct, battery(case)).passed
        correct.load_workload()
        for steps in (1, 2, 30):
            gate.replay(correct, 2, correct.turn(2, steps))


def test_a_program_in_double_whose_theta_is_rounded_between_calls_passes_the_replay(
    tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as steady:
        assert gate.prove(steady, battery(case)).passed
        steady.load_workload()
        assert not steady.repeatable
        block = steady.turn(2, 30)
        assert block.calls == MEMBERS
        gate.replay(steady, 2, block)


def test_who_does_less_in_a_long_call_passes_the_battery_and_fails_the_replay(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with session(tmp_path, case, host='host = "planted.ensemble:Lazy"') as lazy:
        assert gate.prove(lazy, battery(case)).passed
        lazy.load_workload()
        with pytest.raises(ParityFailed, match="ended at another θ"):
            gate.replay(lazy, 2, lazy.turn(2, 100))


@pytest.mark.parametrize("calls", [1, 256])
def test_a_block_of_several_calls_is_granted_their_way(
    calls: int, tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    with session(tmp_path, case, misbehaving.STEADY) as steady:
        steady.load_workload()
        monkeypatch.setattr(steady, "run", lambda _: Block(9, 0.3, 0.4, 0.3, 0, calls=calls))
        if calls == 1:
            with pytest.raises(Implausible, match="claims only"):
                steady.turn(1, 9)
        else:
            assert steady.turn(1, 9).seconds == 0.3


def measured(folder: Path, case: tuple[CaseKey, Problem], deeds: dict[str, str]) -> Case:
    class Watch:
        def progress(self, text: str, share: float) -> None:
            assert text
            assert share >= 0

        def verdict(self, instance: str, status: str, reason: str) -> None:
            assert instance
            assert status
            assert reason

    manifest = misbehaving.manifest(folder / "backend.toml", deeds)
    chosen = [registry.find(name, [manifest]) for name in (*deeds, "c")]
    with Journal(folder / "run") as journal:
        journal.write(RunEvent(schema=SCHEMA, created=now(), settings=vars(SHORT)))
        CaseRun(0, *case, chosen, SHORT, 60.0, journal, Watch()).run()
    return load_results(folder / "run").cases[0]


def test_a_case_of_many_networks_counts_the_steps_of_each(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: set[int] = set()

    class Counted(Session):
        def turn(self, burst: int, steps: int) -> Block:
            block = super().turn(burst, steps)
            blocks.add(block.steps)
            return block

    monkeypatch.setattr("bench.measure.case.Session", Counted)
    measured_case = measured(tmp_path, case, {"steady": misbehaving.STEADY, "tiring": "tires train 1"})
    status = {b.name: b.status for b in measured_case.backends}
    assert status == {"steady": "ok", "tiring": "ok", "c": "ok"}  # too little for one member to tire
    assert measured_case.members == MEMBERS
    assert measured_case.title.endswith("1 thread · 3 networks")
    for backend in measured_case.backends:
        assert backend.curve is None
        assert {sample.steps for sample in backend.samples} <= {MEMBERS * steps for steps in blocks}
        assert backend.parity["checks"] > 2 * MEMBERS


def test_a_training_of_many_that_cannot_be_repeated_has_failed_the_proof(
    tmp_path: Path, case: tuple[CaseKey, Problem]
) -> None:
    measured_case = measured(tmp_path, case, {"steady": misbehaving.STEADY, "drifting": "drifts train 1"})
    status = {b.name: b.status for b in measured_case.backends}
    assert status == {"steady": "ok", "drifting": "parity_failed", "c": "ok"}


def test_what_cannot_fit_the_budget_is_too_slow(
    tmp_path: Path, case: tuple[CaseKey, Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManyNetworks, "block_factor", 10**6)
    assert {b.status for b in measured(tmp_path, case, {}).backends} == {"too_slow"}


def told(members: int) -> Results:
    made = list(events(("numpy", "cpp"), ("wine-deep",), {}))
    for event in made:
        if event["event"] == "case" and members > 1:
            event["members"] = members
    return results_of(made)


def test_steps_a_second_are_told_of_many_networks_and_of_them_alone() -> None:
    for members in (1, 256):
        (shown,) = rows.case_views(told(members))
        table = tables.case_table(shown)
        drawn = [text.get_text() for _, figure in figures.figures(told(members)) for text in figure.findobj(match=None)
                 if hasattr(text, "get_text")]  # fmt: skip
        assert ("network-steps/s" in table.columns) == (members > 1)
        assert any("256 networks at once" in note for note in table.notes) == (members > 1)
        assert any(text.endswith("M/s") for text in drawn) == (members > 1)
        assert any(text.startswith("Network-step time") for text in drawn) == (members > 1)
        for row in shown.rows:
            assert row.step is not None
            assert row.rate == (format.rate_text(1 / row.step.value) if members > 1 else "")
        assert {len(cells) for _, section in table.sections for cells in section} == {len(table.columns)}


@pytest.mark.parametrize(
    ("rate", "text"), [(0.5, "0.500"), (840.0, "840"), (18_900.0, "18.9 k"), (1.1e6, "1.10 M"), (2.5e9, "2.50 G")]
)
def test_a_rate_has_three_digits_and_a_prefix(rate: float, text: str) -> None:
    assert format.rate_text(rate) == text


def test_results_of_before_there_were_members_are_of_single_networks(tmp_path: Path) -> None:
    path = save_results(told(1), tmp_path)
    text = path.read_text()
    assert text.count('"members": 1,') == 1
    path.write_text(text.replace('"members": 1,', ""))
    assert load_results(tmp_path) == told(1)
