"""Claims about the results of backends on a device: their ceilings, clocks, sensors, roofline and suite."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.reports import summary_of
from support.sample_results import ceilings_line, events, results_of

from bench import format
from bench.arguments import chosen_rows, chosen_suite, parser
from bench.report import figures, tables, views
from bench.report.drawing import ROOF
from bench.report.run_view import run_view
from bench.results import derive
from bench.results.schema import BackendResult, Results, ResultsError
from bench.results.store import load_results, save_results
from bench.suites import load
from bench.suites.load import load_suite
from bench.suites.problem import bytes_moved
from bench.suites.suite import CaseKey
from pyfnn import registry

ON_DEVICE = [row.name for row in registry.rows().values() if row.device == "cuda"]


def results_with_device(*further: dict[str, Any], share: float | None = None, device: str = "cuda") -> Results:
    """Return a made-up run in which cpp-tuned is on a device, whose clock saw `share` of each block."""

    def with_device() -> Iterator[dict[str, Any]]:
        for event in events(("numpy", "cpp-tuned"), ("wine-deep", "mlp"), {}):
            if event["event"] == "run":
                yield event
                yield from further
            elif event["event"] == "case":
                yield {**event, "bytes_per_step": event["flops_per_step"] / 2, "ceiling_gflops": None}
            elif event.get("name") == "cpp-tuned":
                yield {**event, "device": device}
            elif event["event"] == "sample" and event["instance"].startswith("cpp-tuned") and share:
                yield {**event, "device_seconds": share * event["seconds"]}
            else:
                yield event

    return results_of(with_device())


def backend(outcome: Results, name: str = "cpp-tuned") -> BackendResult:
    return next(b for b in outcome.cases[0].backends if b.instance == name)


def test_the_ceiling_of_a_backend_is_that_of_its_device() -> None:
    speed = backend(results_with_device()).gflops
    assert speed is not None
    for device, status in (("cuda", "ok"), ("cpu", "implausible")):
        low = {**ceilings_line(10 * speed), "peaks": [{**p, "gflops": speed / 2} for p in ceilings_line(None)["peaks"]]}
        low["peaks"].append({**ceilings_line(10 * speed)["peaks"][1]})
        assert backend(results_with_device(low, device=device)).status == status
    ours = backend(results_with_device(ceilings_line(10 * speed)))
    assert ours.ceiling_share == pytest.approx(0.1)
    too_fast = backend(results_with_device(ceilings_line(speed / 2)))
    assert too_fast.status == "implausible"
    assert "2.00 of the best multiply-add probe of cuda" in too_fast.reason


def test_without_a_probe_of_the_device_there_is_no_share_of_the_peak_and_a_note_says_so() -> None:
    outcome = results_with_device(ceilings_line(None))
    assert backend(outcome).ceiling_share is None
    assert backend(outcome, "numpy").ceiling_share is not None
    assert "cuda was not probed, so its backends have no share of a peak" in summary_of(outcome)


def test_the_table_shows_the_devices_time_beside_the_wall_time_where_there_is_one() -> None:
    (case, _) = views.case_views(results_with_device(share=0.99))
    table = tables.rates_table(case)
    column = table.columns.index(f"by the device's clock, {case.unit.name} [95 %]")
    cells = {row[0]: row[column] for _, group in table.sections for row in group}
    assert cells["numpy"] == ""
    step, on_device = (
        backend(results_with_device(share=0.99)).step_seconds,
        backend(results_with_device(share=0.99)).device_step_seconds,
    )
    assert step is not None
    assert on_device is not None
    assert on_device.median == pytest.approx(0.99 * step.median)
    assert cells["cpp-tuned"].startswith(format.number(on_device.median / case.unit.seconds)[:3])
    assert not any(
        "device" in column for column in tables.rates_table(views.case_views(results_with_device())[0]).columns
    )


def test_a_note_names_backends_whose_device_time_is_far_below_the_wall_time() -> None:
    words = "cpp-tuned kept its device busy for only 90 % of its step time."
    assert words in summary_of(results_with_device(share=0.9))
    assert "busy for only" not in summary_of(results_with_device(share=0.96))


def test_a_backend_has_no_device_time_if_one_sample_lacks_it() -> None:
    outcome = results_with_device(share=0.9)
    samples = backend(outcome).samples
    assert derive._on_device_clock(samples) != []
    assert derive._on_device_clock([*samples[1:], samples[0].model_copy(update={"device_seconds": None})]) == []


def test_the_results_of_a_device_are_read_as_saved_and_an_edit_is_found(tmp_path: Path) -> None:
    state = {"event": "device_state", "case": 0, "launch": 0, "round": 1, "sm_mhz": 1980, "held_down": ["power cap"]}
    outcome = results_with_device(ceilings_line(9e4), state, share=0.9)
    path = save_results(outcome, tmp_path)
    assert load_results(tmp_path) == outcome
    for place, value in ((("device_ceilings", "cuda"), 8e4), (("backends", 2, "device_step_seconds", "median"), 1.0)):
        data = json.loads(path.read_text())
        at = data["cases"][0]
        names: Sequence[Any] = place
        for name in names[:-1]:
            at = at[name]
        at[names[-1]] = value
        (tmp_path / "edited").mkdir(exist_ok=True)
        (tmp_path / "edited" / "results.json").write_text(json.dumps(data))
        with pytest.raises(ResultsError, match="does not follow from the samples"):
            load_results(tmp_path / "edited")


def test_the_roofline_has_a_roof_for_each_device_and_a_point_for_each_backend() -> None:
    outcome = results_with_device(ceilings_line(9e4))
    drawn = dict(figures.figures(run_view(outcome)))
    (axes,) = drawn["roofline_train_float32_1t"].axes
    roofs = [line for line in axes.lines if line.get_gid() == ROOF]
    assert [line.get_label() for line in roofs] == ["memory 12.5 GB/s", "cuda memory 4000 GB/s"]
    x, y = (np.asarray(values) for values in roofs[1].get_data())
    assert y.max() == 9e4
    assert x[1] == pytest.approx(9e4 / 4000)
    points = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert len(points) == 4
    hollow = [line for line in points if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 2
    assert {float(np.asarray(line.get_xdata())[0]) for line in points} == {2.0}
    assert "roofline_train_float32_1t" not in dict(figures.figures(run_view(results_with_device())))


def test_every_point_of_the_roofline_is_in_the_legend_with_its_own_look() -> None:
    (figure,) = (
        drawn
        for stem, drawn in figures.figures(run_view(results_with_device(ceilings_line(9e4))))
        if stem.startswith("roofline")
    )
    (axes,) = figure.axes
    points = {str(line.get_label()): line for line in axes.lines if line.get_marker() not in ("None", "")}
    (legend,) = figure.legends
    named = {text.get_text() for text in legend.get_texts()}
    lines = {"memory 12.5 GB/s", "cuda memory 4000 GB/s"}
    assert set(points) == named - lines == {b.name for b in results_with_device().cases[0].backends}
    assert len({(line.get_marker(), line.get_markeredgecolor()) for line in points.values()}) == len(points) >= 2


def test_the_roofline_has_a_line_for_each_cache_that_was_probed_and_all_meet_the_peak() -> None:
    ceilings = ceilings_line(None)
    (memory,) = ceilings["bandwidths"]
    speeds = {"L1": 400.0, "L2": 100.0}
    ceilings["bandwidths"] += [{**memory, "cache": cache, "gigabytes_per_second": gb} for cache, gb in speeds.items()]
    drawn = dict(figures.figures(run_view(results_with_device(ceilings))))
    (axes,) = drawn["roofline_train_float32_1t"].axes
    roofs = {str(line.get_label()): line for line in axes.lines if line.get_gid() == ROOF}
    assert list(roofs) == ["memory 12.5 GB/s", "L1 400 GB/s", "L2 100 GB/s"]
    assert len({line.get_linestyle() for line in roofs.values()}) == 3
    for line, bandwidth in zip(roofs.values(), (12.5, 400.0, 100.0), strict=True):
        x, y = (np.asarray(values) for values in line.get_data())
        assert y.tolist() == pytest.approx([min(250.0, bandwidth * intensity) for intensity in x])
        assert 250 / bandwidth in x


def test_the_intensity_is_operations_over_the_bytes_of_theta_and_rows() -> None:
    workload = load.built_in_workloads()["wine-shallow"]
    key = CaseKey(workload, "train", "float64", 1)
    n = 11 * 10 + 10 + 10 + 1
    assert bytes_moved(key, workload.network("float64")) == 8 * (2 * n + 11 + 1)
    key = CaseKey(workload, "forward", "float64", 1)
    assert bytes_moved(key, workload.network("float64")) == 8 * (n + 11 + 1)


def test_a_warning_counts_the_readings_with_a_limited_clock() -> None:
    state = {"event": "device_state", "sm_mhz": 1980.0, "watts": 650.0, "celsius": 60}
    outcome = results_with_device(state, {**state, "held_down": ["power cap"], "sm_mhz": 1500.0})
    text = summary_of(outcome)
    assert "the clocks of the device were limited (power cap) in 1 of 2 readings" in text
    assert "| SM clock, MHz | 1980 | 1500 | 1980 | 1500 |" in text
    assert views.device_warnings(results_with_device(state)) == ()


def test_a_warning_says_that_a_device_was_timed_without_readings() -> None:
    assert views.device_warnings(results_with_device()) == (
        "the clocks, power and temperature of the device were not recorded: no reading",
    )
    assert views.device_warnings(results_with_device(device="cpu")) == ()


def test_only_the_gpu_suite_names_backends_on_a_device() -> None:
    def chosen(name: str, *further: str) -> list[str]:
        arguments = parser().parse_args(["--suite", name, *further])
        return [row.name for row in chosen_rows(arguments, chosen_suite(arguments)[0])]

    assert chosen("gpu") == list(load_suite("gpu")[0].backends)
    assert set(ON_DEVICE) <= set(chosen("gpu"))
    assert chosen("gpu", "--backends", "numpy,c") == ["numpy", "c"]
    for name in load.built_in_suites():
        if name != "gpu":
            assert not set(chosen(name)) & set(ON_DEVICE)


def test_the_gpu_suite_takes_less_than_eight_minutes() -> None:
    assert load_suite("gpu")[0].budget < 480
