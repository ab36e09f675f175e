"""Claims about the warnings: each appears for its own cause only, and has a remedy.

The facts are made up; tests of reading facts are in test_doctor.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import misbehaving
import numpy as np
import pytest
from support.reports import summary_of
from support.runs import SHORT
from support.sample_results import events, results_of, sample_results

from bench import run, stages
from bench.advice import subnormals
from bench.advice.advice import Advice
from bench.advice.machine import MACHINE_CHECKS, MachineFacts, advice_on_machine
from bench.advice.run import RunFacts, advice_on_run
from bench.advice.subnormals import greatest_subnormal_share
from bench.machine.blas import NumpyBlas, Throughput
from bench.results.derive import timing_summary
from bench.results.schema import Ceilings, Estimate, Pair, Pool, Results, Warned
from bench.results.store import load_results
from bench.suites.load import load_suite
from bench.suites.problem import make_problem
from bench.suites.suite import CaseKey
from pyfnn.errors import InvalidInput

GIB = 2**30
WELL = MachineFacts(
    governors=("performance",),
    others=0.02,
    steal=0.0,
    build_type="Release",
    blas=NumpyBlas("OpenBLAS 0.3.30", "SkylakeX"),
    openmp={"torch": ("/a/libgomp.so.1",), "numpy": ()},
    memory_bytes=16 * GIB,
    memory_available_bytes=8 * GIB,
    cpus=8,
    quota=8.0,
    cores=8,
)
OLD = NumpyBlas(
    "OpenBLAS 0.3.30", "Haswell", "SkylakeX", Throughput("Haswell", 125.0, 256.0), Throughput("SkylakeX", 232.0, 256.0)
)
WRONG: dict[str, tuple[dict[str, Any], str]] = {  # name: (changed facts, words of the message)
    "governor": ({"governors": ("performance", "powersave")}, "governor is powersave"),
    "load": ({"others": 1.4}, "1.4 CPUs busy"),
    "steal": ({"steal": 0.062}, "6.2 %"),
    "build": ({"build_type": "Debug"}, "a Debug build"),
    "interpreter": ({"python_debug": True}, "debug build"),
    "blas": ({"blas": OLD}, "uses Haswell kernels"),
    "openmp": ({"openmp": {"torch": ("/a/libgomp.so.1", "/b/libiomp5.so")}}, "torch: libgomp.so.1, libiomp5.so"),
    "memory": ({"memory_available_bytes": GIB}, "only 1024 of 16384 MiB of memory are free"),
    "cpu quota": ({"quota": 1.5}, "the time of 1.50 CPUs on 8 CPUs"),
    "cores": ({"cores": 4, "threads": 8}, "8 threads run on 4 cores"),
}


def test_a_fit_machine_has_no_warning() -> None:
    assert advice_on_machine(WELL) == ()


def test_facts_that_cannot_be_read_cause_no_warning() -> None:
    assert advice_on_machine(MachineFacts()) == ()


@pytest.mark.parametrize("name", WRONG)
def test_a_single_problem_is_named_alone_with_its_remedy(name: str) -> None:
    changes, words = WRONG[name]
    (found,) = advice_on_machine(replace(WELL, **changes))
    assert found.name == name
    assert words in found.message
    assert found.remedy


def test_every_check_of_the_machine_is_tested_here() -> None:
    worst = replace(WELL, **{key: value for changes, _ in WRONG.values() for key, value in changes.items()})
    assert [one.name for one in advice_on_machine(worst)] == list(WRONG)
    assert len(MACHINE_CHECKS) == len(WRONG)


def test_a_warning_of_old_kernels_has_their_share_of_the_peak_the_factor_and_the_setting() -> None:
    (found,) = advice_on_machine(replace(WELL, blas=OLD))
    assert found.message.endswith(
        ": 125 GFLOP/s (49 % of the multiply-add peak) in float32 on one thread; "
        "with OPENBLAS_CORETYPE=SkylakeX 1.86 times that, 232 GFLOP/s (91 % of the multiply-add peak)"
    )
    assert found.remedy.startswith("export OPENBLAS_CORETYPE=SkylakeX")


def test_a_warning_of_old_kernels_says_where_newer_ones_are_not_faster() -> None:
    (found,) = advice_on_machine(replace(WELL, blas=replace(OLD, with_fix=Throughput("SkylakeX", 128.0, 256.0))))
    assert "1.02 times that" in found.message
    assert found.remedy.startswith("nothing: ")


def test_a_warning_of_old_kernels_says_where_the_library_ignores_the_setting() -> None:
    (found,) = advice_on_machine(replace(WELL, blas=replace(OLD, with_fix=OLD.now)))
    assert "ignores OPENBLAS_CORETYPE" in found.remedy


@pytest.mark.parametrize("now", [None, OLD.now])
def test_a_warning_of_old_kernels_says_where_they_could_not_be_measured(now: Throughput | None) -> None:
    (found,) = advice_on_machine(replace(WELL, blas=replace(OLD, now=now, with_fix=None)))
    assert "could not be measured" in found.message
    assert "times that" not in found.message


# After a run ---------------------------------------------------------------------------------------------------------


def changed(results: Results, **fields: Any) -> Results:
    """Return the results with changed fields in every case."""
    return results.model_copy(update={"cases": [case.model_copy(update=fields) for case in results.cases]})


def resampled(results: Results, factor: float, **of_wall: float) -> Results:
    """Return the results with blocks longer by a factor, and with fields that are shares of the wall time."""
    cases = []
    for case in results.cases:
        backends = []
        for b in case.backends:
            samples = [
                s.model_copy(
                    update={
                        "seconds": factor * s.seconds,
                        **{name: share * s.wall_seconds for name, share in of_wall.items()},
                    }
                )
                for s in b.samples
            ]
            backends.append(b.model_copy(update={"samples": samples, "timing_summary": timing_summary(samples)}))
        cases.append(case.model_copy(update={"backends": backends}))
    return results.model_copy(update={"cases": cases})


@pytest.fixture(scope="module")
def quiet() -> Results:
    """Return a run without any cause for a warning."""
    made = sample_results(("numpy", "cpp"), ("wine-deep", "mlp"), noise=0.001)
    host = {**made.host, "memory_bytes": 16 * GIB}
    return resampled(made, 1.2).model_copy(update={"host": host})


def names(facts: RunFacts) -> list[str]:
    return [one.name for one in advice_on_run(facts)]


def test_a_quiet_run_has_no_warning(quiet: Results) -> None:
    assert advice_on_run(RunFacts(quiet, steal=0.001, subnormals={"wine-deep": 0.0})) == ()


def test_more_a_a_intervals_that_miss_than_chance_explains_are_reported(quiet: Results) -> None:
    def with_a_a(missed: int, count: int) -> Results:
        low = [1.01] * missed + [0.99] * (count - missed)
        pairs = [Pair(backend="numpy@2", than="numpy", ratio=Estimate(1.015, bound, 1.02)) for bound in low]
        return changed(quiet, a_a_pairs=pairs)

    (found,) = advice_on_run(RunFacts(with_a_a(2, 4)))  # in each of two cases
    assert found.name == "A/A"
    assert "4 of 8 intervals" in found.message
    assert names(RunFacts(with_a_a(1, 8))) == []
    assert names(RunFacts(changed(quiet, a_a_pairs=[]))) == []


def test_a_ceiling_that_changed_by_more_than_5_percent_is_reported_with_the_change(quiet: Results) -> None:
    def probed(when: str, v4: float, v3: float, copy: float) -> Ceilings:
        peaks = [
            {"level": level, "dtype": "float32", "threads": 1, "gflops": gflops}
            for level, gflops in (("v3", v3), ("v4", v4))
        ]
        copies = [{"traffic": "copy", "threads": 2, "bytes": 2**28, "gigabytes_per_second": copy}]
        return Ceilings.model_validate({"when": when, "peaks": peaks, "bandwidths": copies})

    def after(*values: float) -> RunFacts:
        return RunFacts(
            quiet.model_copy(update={"ceilings": [probed("before", 200, 100, 20), probed("after", *values)]})
        )

    (found,) = advice_on_run(after(180, 178, 21.2))
    assert found.name == "drift"
    assert "(multiply-adds, float32, 1 thread: -10 %; memory, copy, 2 threads: +6 %)" in found.message
    assert names(after(192, 10, 19.2)) == []  # only the best level counts
    assert names(RunFacts(quiet.model_copy(update={"ceilings": [probed("before", 200, 100, 20)]}))) == []


def test_launches_that_a_budget_left_out_are_reported_with_the_budget_that_suffices(quiet: Results) -> None:
    settings = {**quiet.settings, "bounded": True, "budget": 3.0, "min_launches": 5}
    launches = max(b.timing_summary.launches for b in quiet.cases[0].backends if b.timing_summary)
    timed = changed(quiet, measured_seconds=3.0 * launches)
    short = timed.model_copy(update={"settings": {**settings, "min_launches": launches + 1}})
    (found,) = advice_on_run(RunFacts(short))
    assert found.name == "budget"
    assert found.message.startswith(f"--budget 3 left out launches: fewer than {launches + 1} (wine-deep")
    assert f"--budget {6 * (launches + 1)} is about enough" in found.remedy
    assert names(RunFacts(timed.model_copy(update={"settings": {**settings, "min_launches": launches}}))) == []
    assert names(RunFacts(short.model_copy(update={"finished": None}))) == []


def test_samples_shorter_than_a_block_are_reported_with_their_length(quiet: Results) -> None:
    (found,) = advice_on_run(RunFacts(resampled(quiet, 0.5)))
    assert found.name == "samples too short"
    assert "numpy in wine-deep" in found.message
    assert "of 50 ms" in found.message
    assert "and 3 more" in found.message  # six instances, of which the message names three


@pytest.mark.parametrize(("clock", "least"), [("cpu", 0.01), ("wall", 0.05)])
def test_a_block_must_last_as_long_as_its_clock_asks(quiet: Results, clock: str, least: float) -> None:
    results = quiet.model_copy(update={"settings": {**quiet.settings, "block_seconds": 0.01}})
    results = changed(results, clock=clock)
    factor = least / 0.06  # the samples last 60 ms
    assert names(RunFacts(resampled(results, 1.01 * factor))) == []
    assert names(RunFacts(resampled(results, 0.8 * factor))) == ["samples too short"]


def test_blocks_whose_process_was_kept_off_the_cpu_are_reported(quiet: Results) -> None:
    kept_waiting = resampled(quiet, 1.0, cpu_seconds=0.8)
    (found,) = advice_on_run(RunFacts(kept_waiting))
    assert found.name == "load"
    assert "20 %" in found.message
    assert names(RunFacts(changed(kept_waiting, threads=2))) == []
    assert "load" not in names(
        RunFacts(changed(kept_waiting, members=8))
    )  # one call per network, with gaps between calls


def test_blocks_of_many_networks_must_be_longer(quiet: Results) -> None:
    (found,) = advice_on_run(RunFacts(changed(quiet, members=8)))
    assert found.name == "samples too short"
    assert "of 200 ms" in found.message
    assert names(RunFacts(changed(resampled(quiet, 4.0), members=8))) == []


def test_several_openmp_runtimes_in_a_timed_process_are_reported_unless_an_earlier_warning_names_them(
    quiet: Results,
) -> None:
    pools = [
        Pool(kind="openmp", library="openmp", threads=1, file="libgomp.so.1"),
        Pool(kind="openmp", library="openmp", threads=1, file="libiomp5.so"),
    ]
    first, *others = quiet.cases[0].backends
    one = changed(quiet, backends=[first.model_copy(update={"pools": pools[:1]}), *others])
    both = changed(quiet, backends=[first.model_copy(update={"pools": pools}), *others])
    assert names(RunFacts(one)) == []
    (found,) = advice_on_run(RunFacts(both))
    assert found.name == "openmp"
    assert f"({first.name}: libgomp.so.1, libiomp5.so)" in found.message
    for named, silent in ((first.name, True), ("torch", False)):
        before = Warned(when="before", name="openmp", message=f"several ({named}: a, b)", remedy="one")
        assert (names(RunFacts(both.model_copy(update={"warnings": [before]}))) == []) == silent


def test_steal_over_the_run_is_reported(quiet: Results) -> None:
    (found,) = advice_on_run(RunFacts(quiet, steal=0.03))
    assert (found.name, "over the whole run" in found.message) == ("steal", True)


def test_subnormals_are_reported_with_their_share(quiet: Results) -> None:
    (found,) = advice_on_run(RunFacts(quiet, subnormals={"wine-deep · train": 0.25, "mlp · train": 0.0}))
    assert found.name == "subnormals"
    assert "wine-deep · train: 25 %" in found.message
    assert "mlp" not in found.message


def test_memory_near_the_smaller_of_two_limits_is_reported(quiet: Results) -> None:
    assert names(RunFacts(quiet)) == []
    tight = quiet.model_copy(update={"host": {**quiet.host, "memory_limit_bytes": 300 * 2**20}})
    (found,) = advice_on_run(RunFacts(tight))
    assert found.name == "memory"
    assert "used 270 of 300 MiB of memory together" in found.message


def test_checking_a_run_does_not_change_its_results(quiet: Results) -> None:
    before = quiet.model_dump_json()
    advice_on_run(RunFacts(resampled(quiet, 0.1), steal=1.0))
    assert quiet.model_dump_json() == before


# Subnormals, really counted ------------------------------------------------------------------------------------------


def test_subnormals_are_counted_and_zeros_are_not() -> None:
    assert subnormals.share(np.array([0.0, 1e-40, -1e-39, 1.0], np.float32)) == 0.5
    assert subnormals.share(np.array([0.0, 1e-40, -1e-310, 1.0])) == 0.25
    assert subnormals.share(np.array([], np.float32)) == 0.0


def test_a_theta_that_decays_into_subnormals_during_training_is_found_and_a_sound_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, workloads = load_suite("quick")
    sound = workloads["wine-shallow"].model_copy(update={"activation": "relu", "rows": 64})
    decaying = sound.model_copy(update={"learning_rate": 0.01, "l2": 50.0})  # each step halves W
    assert greatest_subnormal_share(CaseKey(sound, "train", "float32", 1), 500) == 0.0

    problem = make_problem(decaying, "float32")
    (_, b_1), _ = problem.network.layers(problem.theta)
    b_1[:] = -100.0  # no unit is ever active, so only λ changes W
    monkeypatch.setattr("bench.advice.subnormals.make_problem", lambda *_: problem)
    assert greatest_subnormal_share(CaseKey(decaying, "train", "float32", 1), 500, seconds=60.0) > 0.5
    assert greatest_subnormal_share(CaseKey(decaying, "forward", "float32", 1), 500) == 0.0  # θ does not change


# Stored and shown ----------------------------------------------------------------------------------------------------

WARNED: Mapping[str, str] = {
    "when": "before",
    "name": "governor",
    "message": "it is powersave | slow",
    "remedy": "use cpupower",
}


def test_warnings_are_built_from_the_journal_and_the_summary_shows_them_before_the_numbers() -> None:
    lines = list(events(("numpy",), ("wine-deep",), {}))
    lines.insert(1, {"event": "warning", **WARNED})
    results = results_of(lines)
    assert [one.model_dump() for one in results.warnings] == [WARNED]
    text = summary_of(results)
    assert "- **governor**, before measuring: it is powersave \\| slow. To do: use cpupower" in text
    assert text.index("## Warnings") < text.index("wine-deep · train")


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run numpy briefly and return the folder of the results."""
    monkeypatch.setattr(stages, "Settings", SHORT)
    monkeypatch.setattr(stages, "_probe", lambda *_: None)
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 13)
    suite = misbehaving.suite(folder / "tiny.toml", budget=30.0)
    out = folder / "out"
    assert run.main(["--suite", str(suite), "--backends", "numpy", "--precision", "1000", "--out", str(out)]) == 0
    return out


def test_a_run_prints_warnings_before_and_after_measuring_and_adds_them_to_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checked: list[RunFacts] = []

    def of_run(facts: RunFacts) -> tuple[Advice, ...]:
        checked.append(facts)
        return (Advice("noise floor", "it was [high]", "measure again"),)

    monkeypatch.setattr("bench.stages.advice_on_machine", lambda _: (Advice("governor", "it is slow", "use cpupower"),))
    monkeypatch.setattr("bench.stages.advice_on_run", of_run)
    out = measured(tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    before = printed.index("warning: governor: it is slow. To do: use cpupower")
    assert before < printed.index("tiny · train") < printed.index("warning: noise floor: it was [high].")
    kept = load_results(out)
    assert [(one.when, one.name) for one in kept.warnings] == [("before", "governor"), ("after", "noise floor")]
    (facts,) = checked
    assert facts.results.cases[0].backends[0].samples
    assert facts.subnormals == {kept.cases[0].title: 0.0}
    assert "## Warnings" in (out / "summary.md").read_text()
    assert [state.when for state in kept.host_states] == ["before", "after"]


def test_a_failed_check_after_a_run_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> float:
        raise InvalidInput("no memory for θ")

    monkeypatch.setattr("bench.stages.greatest_subnormal_share", fails)
    out = measured(tmp_path, monkeypatch)
    assert "θ was not checked for subnormals: no memory for θ" in capsys.readouterr().out
    assert load_results(out).cases[0].backends[0].samples


def test_results_without_the_field_warnings_can_be_read_and_show_no_such_section() -> None:
    old = sample_results().model_dump(by_alias=True)
    del old["warnings"]
    assert Results.model_validate(old).warnings == []
    assert "## Warnings" not in summary_of(Results.model_validate(old))


def test_a_warning_reads_as_a_sentence_and_a_remedy() -> None:
    assert str(Advice("x", "it is so", "mend it")) == "x: it is so. To do: mend it"
