"""Claims about ceilings: the probes' figures are plausible, a case has its share of them, an absence has its reason."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.ceilings import measured_until
from support.reports import summary_of
from support.requirements import require
from support.sample_results import events, results_of, sample_results

from bench.ceilings import main as command
from bench.machine import ceilings, description, probe
from bench.machine.cpus import choose_cpus
from bench.machine.sweep_size import cache_sizes
from bench.report import tables
from bench.results.schema import BackendResult, Ceilings, Results, ResultsError
from bench.results.store import load_results, save_results
from pyfnn import compiled, isa, launch
from pyfnn.errors import BackendUnavailable

SECONDS = 0.05
MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def probed() -> Ceilings:
    """Ceilings of every level, dtype and traffic on one thread, measured as the harness does."""

    def plausible(found: Ceilings) -> bool:
        return lanes_count(found) and throughput_limits(found) and (not description.caches() or cache_is_faster(found))

    found = measured_until(plausible, lambda: ceilings.measure_ceilings("before", ("float32", "float64"), [1], SECONDS))
    require("probe", not found.absent, found.absent)
    return found


def gflops(probed: Ceilings) -> dict[tuple[str, str], float]:
    return {(peak.level, peak.dtype): peak.gflops for peak in probed.peaks}


def test_every_level_of_the_cpu_is_probed_in_every_dtype(probed: Ceilings) -> None:
    levels = isa.levels_of("_probe")
    assert list(gflops(probed)) == [(level, dtype) for level in levels for dtype in ("float32", "float64")]
    caches = ["", *(f"L{level}" for level in description.caches())]
    assert [(b.cache, b.traffic) for b in probed.bandwidths] == [(c, t) for c in caches for t in probe.TRAFFICS]
    assert all(0 < b.bytes <= 2**30 for b in probed.bandwidths)


# On an idle machine the levels differ by a factor of 2 to 4; the margins leave room for a busy one.
def lanes_count(probed: Ceilings) -> bool:
    found, levels = gflops(probed), isa.levels_of("_probe")
    wider = [(found[level, "float32"], found[level, "float64"]) for level in levels]
    if {"v2", "v3"} <= set(levels):
        wider.append((found["v3", "float32"], found["v2", "float32"]))
    return all(more > 1.3 * less for more, less in wider)


def throughput_limits(probed: Ceilings) -> bool:
    """Return True for more operations than a chain of scalar additions does, and than numbers come from memory."""
    peak = max(gflops(probed).values())
    return peak > 4 and peak > max(b.gigabytes_per_second for b in probed.bandwidths) / 8


def cache_is_faster(probed: Ceilings) -> bool:
    """Return True where the first cache is clearly faster than memory: on an idle machine 5 to 20 times as fast."""
    speeds = {b.cache: b.gigabytes_per_second for b in probed.bandwidths if b.traffic == "read"}
    return speeds["L1"] > 1.5 * speeds[""]


def test_twice_the_vector_lanes_do_more_operations(probed: Ceilings) -> None:
    assert lanes_count(probed), gflops(probed)


def test_the_peak_is_limited_by_throughput_not_by_latency_or_memory(probed: Ceilings) -> None:
    assert throughput_limits(probed), (gflops(probed), probed.bandwidths)


def test_the_first_cache_is_faster_than_memory(probed: Ceilings) -> None:
    require("caches", bool(description.caches()), "the system reports no caches")
    assert cache_is_faster(probed), probed.bandwidths


def test_the_arrays_of_a_cache_do_not_fit_the_one_above_it_and_leave_room_in_it() -> None:
    caches = {"1": 2**15, "2": 2**20, "3": 2**25}
    assert cache_sizes(caches, 1) == {"L1": 2**14, "L2": int(2**17.5), "L3": int(2**22.5)}
    assert cache_sizes(caches, 4) == {"L1": 2**16, "L2": int(2**19.5), "L3": int(2**23.5)}
    assert list(cache_sizes(caches, 32)) == ["L1", "L2"]  # the third level holds no more than the second ones together
    assert cache_sizes({}, 1) == {}


@pytest.mark.usefixtures("probed")
def test_the_probe_runs_only_on_the_cpus_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    require("affinity", hasattr(os, "sched_getaffinity"), "pinning is Linux's")
    code = "import json, os; print(json.dumps({'absent': str(sorted(os.sched_getaffinity(0)))}))"
    monkeypatch.setattr(launch, "python", lambda *_: [sys.executable, "-c", code])
    (cpu,) = choose_cpus(1)
    assert ceilings.measure_ceilings("after", ("float32",), [1]).absent == f"[{cpu}]"


def test_the_loop_of_a_level_has_one_packed_multiply_add_a_chain_on_registers_alone() -> None:
    objdump = subprocess.run(["which", "objdump"], capture_output=True, text=True, check=False).stdout.strip()
    require("objdump", bool(objdump), "install binutils")
    require("x86-64-v3", "_probe_v3" in compiled.build_info().SOURCES, "a compiler for x86-64-v3")
    if "-O0" in compiled.build_info().CXX_FLAGS or "sanitize" in compiled.build_info().CXX_FLAGS:
        pytest.skip("not an optimised build")
    for level, register, chains in (("v3", "%ymm", 12), ("v4", "%zmm", 24)):
        if f"_probe_{level}" not in compiled.build_info().SOURCES:
            continue
        module = next(compiled.folder(f"_probe_{level}").glob(f"_probe_{level}*"))
        command = [objdump, "-d", "--no-show-raw-insn", str(module)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        for kind in ("ps", "pd"):
            fused = [line for line in lines if "vfmadd" in line and f"{kind} " in line and register in line]
            assert len(fused) == chains
            assert not any("(" in line for line in fused), "an operand is in memory"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.peak("float16", 1, 0.01), "dtype = 'float16': must be float32 or float64"),
        (lambda m: m.peak("float32", 0, 0.01), "threads = 0: must be at least 1"),
        (lambda m: m.bandwidth("write", 1, MEBIBYTE, 0.01), "traffic = 'write': must be read, copy or triad"),
        (lambda m: m.bandwidth("read", 0, MEBIBYTE, 0.01), "threads = 0: must be at least 1"),
    ],
)
def test_a_probe_refuses_invalid_arguments(probed: Ceilings, call: Any, words: str) -> None:
    del probed
    with pytest.raises(ValueError, match=words):
        call(probe._module(isa.best()))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_probe_without_enough_memory_is_an_error_and_ends_no_process(probed: Ceilings, threads: int) -> None:
    del probed
    module = probe._module(isa.best())
    with pytest.raises(RuntimeError, match="alloc"):
        module.bandwidth("triad", threads, 2**60, 0.01)
    assert module.bandwidth("triad", threads, MEBIBYTE, 0.01) > 0


def test_a_probe_with_more_threads_than_cpus_ends(probed: Ceilings) -> None:
    del probed
    assert probe._module(isa.best()).peak("float32", 4, 0.01) > 0
    assert probe._module(isa.best()).bandwidth("triad", 3, MEBIBYTE, 0.01) > 0


def test_without_native_parts_the_probe_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> tuple[str, ...]:
        raise BackendUnavailable("nothing is compiled", "compile it")

    monkeypatch.setattr(isa, "levels_of", absent)
    assert probe.answer(["float32"], 1, 0.01, MEBIBYTE) == {"absent": "nothing is compiled (compile it)"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('no such thing')", "the probe ended with status 1: no such thing"),
        ("import os; os.abort()", "the probe ended with status -6: no output"),
        ("import time; time.sleep(60)", "the probe gave no answer within 1 s"),
        ('print(\'{"peaks": [{}], "bandwidths": []}\')', "the probe gave an invalid answer: Field required"),
    ],
)
def test_a_failed_probe_is_reported_and_raises_no_error(code: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "python", lambda *_: [sys.executable, "-c", code])
    if "sleep" in code:
        monkeypatch.setattr(ceilings, "_PATIENCE", 1.0)
    found = ceilings.measure_ceilings("before", ("float32",), [1])
    assert (found.absent, found.peaks) == (words, [])


def test_the_command_prints_every_probe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = Ceilings.model_validate(probe_event("before", 250.0))
    monkeypatch.setattr("bench.ceilings.measure_ceilings", lambda *_, **__: made_up)
    assert command([]) == 0
    assert "multiply-adds, float32, v4" in capsys.readouterr().out
    monkeypatch.setattr(
        "bench.ceilings.measure_ceilings", lambda *_, **__: Ceilings(when="before", absent="no compiler")
    )
    assert command([]) == 1
    assert "no probe: no compiler" in capsys.readouterr().out


# Shares of the ceiling in results -------------------------------------------------------------------------------------


def probe_event(when: str, gflops: float, dtype: str = "float32", threads: int = 1) -> dict[str, Any]:
    return {
        "when": when,
        "peaks": [
            {"level": "v3", "dtype": dtype, "threads": threads, "gflops": gflops / 2},
            {"level": "v4", "dtype": dtype, "threads": threads, "gflops": gflops},
        ],
        "bandwidths": [{"traffic": "triad", "threads": 1, "bytes": 2**30, "gigabytes_per_second": 12.5}],
    }


def run_with(*probes: dict[str, Any]) -> Results:
    """Return the results of a simulated run with these probes."""
    run, *rest = events(("numpy", "cpp", "cpp-tuned"), ("wine-deep",), {})
    return results_of([run, *({"event": "ceilings", **probe} for probe in probes), *rest])


def by_name(outcome: Results) -> dict[str, BackendResult]:
    return {b.instance: b for b in outcome.cases[0].backends}


def test_the_ceiling_of_a_case_is_the_higher_of_before_and_after_for_its_dtype_and_threads() -> None:
    others = (probe_event("before", 900.0, dtype="float64"), probe_event("after", 800.0, threads=2))
    assert run_with(probe_event("before", 100.0), probe_event("after", 120.0), *others).cases[0].ceiling_gflops == 120
    assert run_with(probe_event("before", 130.0), probe_event("after", 120.0), *others).cases[0].ceiling_gflops == 130


def test_the_share_is_the_steps_operations_over_time_and_ceiling() -> None:
    outcome = run_with(probe_event("before", 100.0))
    for b in outcome.cases[0].backends:
        assert b.gflops is not None
        assert b.ceiling_share == pytest.approx(b.gflops / 100)


def test_a_backend_above_the_ceiling_is_implausible_and_has_no_time_and_no_ratio() -> None:
    fast = by_name(run_with(probe_event("before", 1000.0)))["cpp-tuned"].gflops
    assert fast is not None
    assert by_name(run_with(probe_event("before", fast / 1.04)))["cpp-tuned"].status == "ok"
    outcome = run_with(probe_event("before", fast / 1.2))
    backend = by_name(outcome)["cpp-tuned"]
    assert backend.status == "implausible"
    assert "1.20 of the best multiply-add probe" in backend.reason
    assert (backend.step_seconds, backend.ratio, backend.gflops, backend.ceiling_share) == (None,) * 4
    assert backend.samples, "raw samples are kept"
    assert by_name(outcome)["cpp"].status == "ok"
    assert "implausible" in summary_of(outcome)


def test_a_case_of_implausible_backends_has_no_reference() -> None:
    outcome = run_with(probe_event("before", 1e-3))
    assert {b.status for b in outcome.cases[0].backends} == {"implausible"}
    assert outcome.cases[0].reference is None


def test_results_with_ceilings_load_as_saved_and_an_edit_is_detected(tmp_path: Path) -> None:
    outcome = run_with(probe_event("before", 100.0), probe_event("after", 110.0))
    path = save_results(outcome, tmp_path)
    assert load_results(tmp_path) == outcome
    data = json.loads(path.read_text())
    data["cases"][0]["ceiling_gflops"] = 300.0
    path.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=r"cases\.0\.ceiling_gflops does not follow"):
        load_results(tmp_path)
    data["cases"][0]["ceiling_gflops"] = 110.0
    data["cases"][0]["backends"][0]["ceiling_share"] = 0.99
    path.write_text(json.dumps(data))
    with pytest.raises(ResultsError, match=r"ceiling_share does not follow"):
        load_results(tmp_path)


def test_both_probes_are_in_the_summary_with_their_bandwidth() -> None:
    text = summary_of(run_with(probe_event("before", 100.0), probe_event("after", 110.0)))
    assert "| multiply-adds, float32, v4 | 1 | GFLOP/s | 100 | 110 |" in text
    assert "| memory, triad over 1024 MiB | 1 | GB/s | 12.5 | 12.5 |" in text
    assert "of peak" in text
    assert "Peak: 110 GFLOP/s, the best multiply-add probe of float32 on 1 thread." in text


def test_a_run_cut_short_shows_only_the_first_probe() -> None:
    text = summary_of(run_with(probe_event("before", 100.0)))
    assert "| multiply-adds, float32, v4 | 1 | GFLOP/s | 100 |\n" in text


def test_a_run_without_probes_shows_the_reason_and_has_no_share() -> None:
    run, *rest = (e for e in events(("numpy", "cpp"), ("wine-deep",), {}))
    bare = [{k: v for k, v in event.items() if k != "ceiling_gflops"} for event in rest]
    why = {"event": "ceilings", "when": "before", "absent": "nothing is compiled"}
    outcome = results_of([run, why, *bare])
    assert outcome.cases[0].ceiling_gflops is None
    assert {b.ceiling_share for b in outcome.cases[0].backends} == {None}
    assert "Not probed before the measurement: nothing is compiled" in summary_of(outcome)
    assert tables.ceilings_table(outcome.ceilings) is None


def test_known_facts_of_the_machines_state_are_kept_and_shown() -> None:
    run, *rest = events(("numpy", "cpp"), ("wine-deep",), {})
    before = {"event": "host_state", "when": "before", "busy_cpus": 0.25, "steal": 0.011, "load_1min": 0.52}
    after = {"event": "host_state", "when": "after", "busy_cpus": 1.5, "memory_available_bytes": 2**30}
    outcome = results_of([run, before, *rest, after])
    assert [(state.when, state.steal) for state in outcome.host_states] == [("before", 0.011), ("after", None)]
    text = summary_of(outcome)
    assert "| busy CPUs | 0.25 | 1.5 |\n| steal, % | 1.1 |  |\n| load, 1 minute | 0.52 |  |\n" in text
    assert "| available memory, MiB |  | 1024 |" in text
    assert "temperature" not in text


def test_the_sample_results_have_no_probes() -> None:
    assert sample_results().ceilings == []


def test_importing_the_harness_loads_no_probe() -> None:
    code = "import sys, bench.run; sys.exit(any('._probe_' in name for name in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("package", ["matplotlib", "scipy.stats"])
def test_a_command_starts_without_what_takes_half_a_second_to_import(package: str) -> None:
    code = f"import sys, bench.run; sys.exit({package!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
