"""Claims about workloads and suites: built-in ones are valid, a user's file is checked, problems are reproducible."""

from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import misbehaving
import numpy as np
import pytest

from bench.machine import cpus
from bench.suites import load
from bench.suites.load import cases_of, load_suite
from bench.suites.problem import MIN_ORDER, make_problem
from bench.suites.suite import CaseKey, Suite, Workload
from bench.terms import SweepAxis, SweepPoint
from pyfnn import datasets
from pyfnn.errors import InvalidInput, PyfnnError, UnknownName

TABLE = f"[workload.mine]{misbehaving.WORKLOAD}"
SUITE = '[suite]\nworkloads = ["mine"]\n'


def written(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def error_of(folder: Path, text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        load_suite(written(folder, text))
    return str(caught.value)


@pytest.mark.parametrize("name", load.built_in_suites())
def test_every_built_in_suite_is_valid_and_names_known_workloads(name: str) -> None:
    suite, workloads = load_suite(name)
    single = suite.model_copy(update={"threads": (1,)})
    keys = cases_of(single, workloads)
    operations = sum(1 if workloads[name].members > 1 else len(suite.operations) for name in suite.workloads)
    assert len(keys) == operations * len(suite.dtypes)


def test_the_default_suite_takes_less_than_a_minute() -> None:
    assert load_suite("quick")[0].budget < 60


# Sweeps --------------------------------------------------------------------------------------------------------------


def swept(folder: Path, lines: str, suite: str = "", workload: str = TABLE) -> list[CaseKey]:
    text = f"[suite]\n{suite}\n[suite.sweep]\n{lines}\n{workload}"
    return cases_of(*load_suite(written(folder, text)))


def test_a_sweep_varies_one_field_and_no_other(tmp_path: Path) -> None:
    deep = TABLE.replace("[4, 6, 2]", "[4, 6, 5, 2]")
    base = load_suite(written(tmp_path, SUITE + deep))[1]["mine"].model_dump()
    tried: tuple[tuple[SweepAxis, list[int], str, list[Any]], ...] = (
        ("batch", [1, 24], "batch", [1, 24]),
        ("width", [3, 8], "sizes", [(4, 3, 3, 2), (4, 8, 8, 2)]),
        ("depth", [1, 3], "sizes", [(4, 6, 2), (4, 6, 6, 6, 2)]),
    )
    for along, values, field, varied in tried:
        keys = swept(tmp_path, f'along = "{along}"\nworkload = "mine"\nvalues = {values}', workload=deep)
        assert [key.sweep for key in keys] == [SweepPoint(along=along, value=v, workload="mine") for v in values]
        for key, value, wanted in zip(keys, values, varied, strict=True):
            name = f"mine@{along}={value}"
            assert key.workload.model_dump() == {**base, "name": name, field: wanted}
            assert key.threads == 1


def test_a_sweep_along_threads_is_one_workload_at_every_power_of_two_up_to_all_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.suites.load.all_threads", lambda: 6)
    keys = swept(tmp_path, 'along = "threads"\nworkload = "mine"')
    assert [key.threads for key in keys] == [1, 2, 4, 6]
    assert {key.workload.name for key in keys} == {"mine"}
    assert [key.sweep.value for key in keys if key.sweep] == [1, 2, 4, 6]
    some = swept(tmp_path, 'along = "threads"\nworkload = "mine"\nvalues = [1, 5]')
    assert [key.threads for key in some] == [1, 5]
    with pytest.raises(InvalidInput, match="threads = 7: this process may use 6 CPUs"):
        swept(tmp_path, 'along = "threads"\nworkload = "mine"\nvalues = [1, 7]')


@pytest.mark.parametrize("most", [1, 2, 3, 8, 12])
def test_thread_counts_begin_with_one_end_with_all_and_at_most_double(most: int) -> None:
    counts = cpus.thread_counts(most)
    assert (counts[0], counts[-1]) == (1, most)
    assert all(one < other <= 2 * one for one, other in pairwise(counts))


def test_a_sweep_has_every_operation_dtype_and_thread_count_that_its_suite_has(tmp_path: Path) -> None:
    suite = 'operations = ["train", "forward"]\ndtypes = ["float32", "float64"]'
    keys = swept(tmp_path, 'along = "batch"\nworkload = "mine"\nvalues = [1, 2, 4]', suite)
    assert len(keys) == len(set(keys)) == 2 * 2 * 3
    assert {key.sweep.value for key in keys if key.sweep} == {1, 2, 4}


GOOD = 'along = "batch"\nworkload = "mine"\nvalues = [1, 4]'


@pytest.mark.parametrize(
    ("lines", "suite", "workload", "words"),
    [
        (GOOD.replace("batch", "colour"), "", TABLE, ("suite.sweep.along = 'colour'", "'batch', 'width', 'depth' or")),
        (GOOD.replace("[1, 4]", "[4]"), "", TABLE, ("suite.sweep.values = [4]", "at least 2")),
        (GOOD.replace("[1, 4]", "[4, 1]"), "", TABLE, ("suite.sweep.values", "4, 1", "more than the one before")),
        (GOOD.replace("[1, 4]", "[1, 4, 4]"), "", TABLE, ("suite.sweep.values", "more than the one before")),
        (GOOD.replace("[1, 4]", "[0, 4]"), "", TABLE, ("suite.sweep.values.0 = 0", "greater than or equal to 1")),
        (GOOD.replace("[1, 4]", "[1, 25]"), "", TABLE, ("suite.sweep.values: 25 is more than the 24 rows of mine",)),
        (GOOD.replace("values = [1, 4]", ""), "", TABLE, ("suite.sweep", "values: must be given along batch")),
        (GOOD.replace("[1, 4]", f"{list(range(1, 1_002))}"), "", TABLE, ("suite.sweep.values", "at most 1000 items")),
        (
            GOOD.replace("batch", "depth").replace("4]", "1_000_000_000]"),
            "",
            TABLE,
            ("suite.sweep.values: 1000000000", "at most 1000 hidden layers"),
        ),
        (GOOD + "\nstep = 2", "", TABLE, ("suite.sweep.step = 2", "not permitted")),
        (GOOD.replace("mine", "mien"), "", TABLE, ("suite.sweep.workload", "unknown workload 'mien'", "'mine'")),
        (GOOD, 'workloads = ["mine"]', TABLE, ("suite.workloads = ['mine']", "a sweep has its own")),
        (GOOD.replace("batch", "threads"), "threads = [1]", TABLE, ("suite.threads = [1]", "has its own")),
        (
            GOOD.replace("batch", "width"),
            "",
            TABLE.replace("[4, 6, 2]", "[4, 2]"),
            ("suite.sweep.workload = 'mine'", "must have a hidden layer"),
        ),
        (
            GOOD.replace("batch", "depth"),
            "",
            TABLE.replace('"tanh"', '["tanh"]'),
            ("suite.sweep.workload = 'mine'", "one activation for all hidden layers"),
        ),
        (
            GOOD,
            "",
            TABLE + TABLE.replace("[workload.mine]", '[workload."mine@batch=4"]'),
            ("suite.sweep: mine@batch=4 is a point of it",),
        ),
    ],
)
def test_an_error_in_a_sweeps_table_names_file_field_value_and_rule(
    lines: str, suite: str, workload: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    message = error_of(tmp_path, f"[suite]\n{suite}\n[suite.sweep]\n{lines}\n{workload}")
    assert message.startswith(str(tmp_path / "mine.toml"))
    for word in words:
        assert word in message
    swept(tmp_path, GOOD)  # the unchanged text is valid


def test_a_suite_names_workloads_or_sweeps_one(tmp_path: Path) -> None:
    assert "workloads: must be given, or a table [suite.sweep]" in error_of(tmp_path, "[suite]\n" + TABLE)


def test_there_is_a_suite_along_each_sweep_axis() -> None:
    for along in get_args(SweepAxis):
        suite, _ = load_suite(along)
        assert suite.sweep
        assert suite.sweep.along == along
    values = {along: sweep.values for along in get_args(SweepAxis) if (sweep := load_suite(along)[0].sweep)}
    assert values["batch"]
    assert (values["batch"][0], values["batch"][-1]) == (1, 1024)
    assert values["threads"] is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", load.built_in_workloads())
def test_every_workload_has_a_valid_network(name: str, dtype: str) -> None:
    assert load.built_in_workloads()[name].network(dtype).dtype == dtype


def test_an_unknown_name_is_an_error_with_the_nearest_match() -> None:
    with pytest.raises(UnknownName, match=r"unknown suite 'quik'; did you mean 'quick'\?"):
        load_suite("quik")
    suite, workloads = load_suite("quick")
    with pytest.raises(UnknownName, match=r"unknown workload 'wine-depe'; did you mean 'wine-deep'\?"):
        cases_of(suite.model_copy(update={"workloads": ("wine-depe",)}), workloads)


def test_a_users_file_adds_its_workloads_to_the_built_in_ones(tmp_path: Path) -> None:
    suite, workloads = load_suite(written(tmp_path, '[suite]\nworkloads = ["mine", "digits"]\n' + TABLE))
    assert [key.workload.name for key in cases_of(suite, workloads)] == ["mine", "digits"]
    assert workloads["mine"].network("float64").sizes == (4, 6, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (SUITE + TABLE.replace("batch = 4", "batch = 0"), ("workload.mine.batch", "= 0", "greater than or equal to 1")),
        (SUITE + TABLE + "members = 0\n", ("workload.mine.members", "= 0", "greater than or equal to 1")),
        (SUITE + TABLE.replace("batch = 4", "batch = 25"), ("workload.mine", "batch = 25", "at most rows = 24")),
        (SUITE + TABLE.replace("0.02", "inf"), ("workload.mine.learning_rate", "inf", "finite")),
        (SUITE + TABLE.replace("0.02", "-1.0"), ("workload.mine.learning_rate", "-1.0", "greater than 0")),
        (SUITE + TABLE.replace("tanh", "tahn"), ("workload.mine", "unknown activation 'tahn'", "'tanh'")),
        (SUITE + TABLE.replace("[4, 6, 2]", "[4]"), ("workload.mine", "sizes = (4,)", "at least two")),
        (SUITE + TABLE.replace("rows = 24", ""), ("workload.mine.rows", "required")),
        (SUITE + TABLE + "colour = 3\n", ("workload.mine.colour", "= 3", "not permitted")),
        (SUITE + TABLE.replace("mine", "digits"), ("workload.digits", "has a workload of that name")),
        ('[suite]\nworkloads = ["mine"]\ndtypes = ["float16"]\n' + TABLE, ("suite.dtypes.0", "'float16'", "'float32'")),
        ("[suite]\nworkloads = []\n", ("suite.workloads", "= []", "at least 1 item")),
        ('[suite]\nworkloads = ["mine"]\nthreads = [0]\n' + TABLE, ("suite.threads.0", "= 0")),
        ('[suite]\nworkloads = ["mine"]\nbudget = 0\n' + TABLE, ("suite.budget", "= 0", "greater than 0")),
        (TABLE, ("no [suite] table",)),
        ("workload = 3\n" + SUITE, ("workload", "must be a table")),
        ("[suite\n", ("line 1",)),
        (f"x = {'[' * 100_000}", ("recursion",)),
        (f"x = {'9' * 5000}", ("digits",)),
        (SUITE + TABLE.replace("rows = 24", f"rows = {10**300}"), ("workload.mine.rows", "9007199254740992")),
        (SUITE + TABLE.replace("[4, 6, 2]", f"[4, {10**300}, 2]"), ("workload.mine", "more than 2**53 parameters")),
        (SUITE + TABLE.replace("[4, 6, 2]", f"{[2] * 20_000}"), ("workload.mine.sizes", "at most 10000 items")),
    ],
)
def test_an_error_in_a_users_file_names_file_field_value_and_rule(
    text: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    message = error_of(tmp_path, text)
    assert message.startswith(str(tmp_path / "mine.toml"))
    for word in words:
        assert word in message


def test_an_absent_file_is_named() -> None:
    with pytest.raises(InvalidInput, match=r"nowhere\.toml: No such file"):
        load_suite("nowhere.toml")


def test_more_threads_than_cpus_are_refused() -> None:
    suite, workloads = load_suite("quick")
    many = cpus.all_threads() + 1
    with pytest.raises(InvalidInput, match=f"threads = {many}: this process may use {cpus.all_threads()} CPUs"):
        cases_of(suite.model_copy(update={"threads": (1, many)}), workloads)


def test_each_optimizer_is_a_case_of_training_with_a_rate_of_its_own() -> None:
    suite = Suite(
        workloads=("digits", "ensemble"),
        operations=("train", "forward"),
        optimizers=("sgd", "adam", "momentum(0.8)", "adam(0.9,0.999,1e-8)"),
    )
    keys = cases_of(suite, load.built_in_workloads())
    assert [(key.workload.name, key.work, key.learning_rate) for key in keys] == [
        ("digits", "train", 0.05),
        ("digits", "train with adam", 0.001),
        ("digits", "train with momentum(0.8)", pytest.approx(0.01)),
        ("digits", "forward", 0.05),
        ("ensemble", "train", 0.005),
    ]


@pytest.mark.parametrize(
    ("optimizers", "words"),
    [
        (("adma",), "unknown optimizer 'adma'; did you mean 'adam'"),
        (("adam(2)",), r"beta_1 = 2.0: must lie in \[0, 1\)"),
        (("adam",), "many networks at once, as in workload ensemble, train by sgd alone"),
    ],
)
def test_an_optimizer_that_cannot_be_measured_is_an_error(optimizers: tuple[str, ...], words: str) -> None:
    with pytest.raises(PyfnnError, match=words):
        cases_of(Suite(workloads=("ensemble",), optimizers=optimizers), load.built_in_workloads())


def test_every_combination_is_one_case_however_often_it_is_named() -> None:
    suite = Suite(
        workloads=("digits", "mlp", "digits"),
        operations=("train", "forward"),
        dtypes=("float32", "float64"),
        threads=(1, "all", cpus.all_threads()),
    )
    keys = cases_of(suite, load.built_in_workloads())
    threads = len({1, cpus.all_threads()})
    assert len(keys) == len(set(keys)) == 2 * 2 * 2 * threads


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["wine-deep", "digits"])
def test_a_problem_is_reproducible_of_its_dtype_and_contiguous(name: str, dtype: str) -> None:
    workload = load.built_in_workloads()[name]
    once, again = make_problem(workload, dtype), make_problem(workload, dtype)
    m_0, m_L = workload.sizes[0], workload.sizes[-1]
    shapes = {"theta": (once.network.n_parameters,), "x": (workload.rows, m_0), "y": (workload.rows, m_L)}
    for field, shape in shapes.items():
        array = getattr(once, field)
        assert array.dtype == np.dtype(dtype)
        assert array.shape == shape
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
        assert array.tobytes() == getattr(again, field).tobytes()
    assert once.order.dtype == np.int64
    assert once.order.tobytes() == again.order.tobytes()


def test_the_order_is_whole_epochs_each_a_shuffle_of_all_rows() -> None:
    workload = load.built_in_workloads()["wine-deep"]
    epochs = make_problem(workload, "float32").order.reshape(-1, workload.rows)
    assert epochs.size >= MIN_ORDER
    assert (np.sort(epochs, axis=1) == np.arange(workload.rows)).all()
    assert (epochs[0] != epochs[1]).any()


def test_a_problem_has_the_same_values_in_both_dtypes() -> None:
    workload = load.built_in_workloads()["wine-deep"]
    single, double = make_problem(workload, "float32"), make_problem(workload, "float64")
    assert single.order.tobytes() == double.order.tobytes()
    for field in ("theta", "x", "y"):
        np.testing.assert_allclose(getattr(single, field), getattr(double, field), rtol=1e-5, atol=1e-6)


def test_a_dataset_of_other_shapes_than_the_workload_is_refused() -> None:
    workload = load.built_in_workloads()["digits"].model_copy(update={"sizes": (63, 32, 10)})
    with pytest.raises(InvalidInput, match=r"digits has shapes .*64.* not .*63"):
        make_problem(workload, "float32")


def test_an_unknown_dataset_is_an_error_with_the_nearest_match() -> None:
    assert "digits" in datasets.LOADERS
    workload = Workload.model_validate({**load.built_in_workloads()["digits"].model_dump(), "data": "digit"})
    with pytest.raises(UnknownName, match="did you mean 'digits'"):
        make_problem(workload, "float32")


def test_a_network_too_large_for_this_machine_is_refused_before_anything_is_drawn() -> None:
    giant = load.built_in_workloads()["wide"].model_copy(update={"name": "giant", "sizes": (3_000_000, 8_000_000, 2)})
    with pytest.raises(InvalidInput, match=r"workload giant: θ and data take 9.6e\+04 GB: .* are free"):
        make_problem(giant, "float32")


def test_a_seed_or_a_budget_out_of_range_names_the_field(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[suite]\nworkloads = ["digits"]\nbudget = inf\n')
    with pytest.raises(InvalidInput, match=r"suite.budget = inf"):
        load_suite(str(path))
    path.write_text(
        '[suite]\nworkloads = ["mine"]\n[workload.mine]\nsizes = [2, 1]\nactivation = "tanh"\nloss = "squared_error"\n'
        "rows = 9\nbatch = 1\nlearning_rate = 0.1\nseed = -1\n"
    )
    with pytest.raises(InvalidInput, match=r"workload.mine.seed = -1"):
        load_suite(str(path))
