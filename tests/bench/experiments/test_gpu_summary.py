"""Claims about the page that a GPU run leaves: what it counts as reached, and that a cut-off file costs one section."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.experiments.gpu import summary
from bench.experiments.gpu.plan import Setting, plan


def backend(name: str, seconds: float | None, samples: list[Any] | None = None, status: str = "ok") -> dict[str, Any]:
    time = None if seconds is None else {"median": seconds}
    rest = {"samples": samples or [], "status": status, "reason": "", "ceiling_share": 0.5}
    return {"name": name, "instance": name, "step_seconds": time, **rest}


def page_of(folder: Path, cases: list[dict[str, Any]]) -> str:
    (folder / "suite").mkdir(exist_ok=True)
    (folder / "suite" / "results.json").write_text(json.dumps({"cases": cases}))
    return summary.write_summary(folder, []).read_text(encoding="utf-8")


def test_the_summary_shows_which_aims_are_reached(tmp_path: Path) -> None:
    once = backend("torch-cuda", None, [{"seconds": 3e-3, "steps": 2}])
    timed = [backend("cuda", 1e-6), backend("torch-cuda-graph", 2e-5), backend("jax-cuda", 9e-6)]
    cases = [
        {"workload": "wine-deep", "reference": "cuda", "backends": timed},
        {"workload": "wide", "reference": "cuda", "backends": [backend("cuda", 1e-3), once]},
    ]
    page = page_of(tmp_path, cases)
    assert "| wine-deep: torch-cuda-graph takes ≥ 15 × cuda's step | 20 | reached |" in page
    assert "| wine-deep: jax-cuda takes ≥ 10 × cuda's step | 9 | not reached |" in page
    assert "or cuda has ≥ 85 % of the peak | 1.5 ×, 50 % | reached |" in page
    assert "| mlp: torch-cuda-graph takes ≥ 2 × cuda's step | no results of mlp | not measured |" in page
    assert "| memcheck: clean | no result | not measured |" in page
    assert "| wine-deep | jax-cuda | 9 µs | 9 |" in page


def test_a_backend_that_failed_in_the_end_reaches_no_aim(tmp_path: Path) -> None:
    for failed in ("cuda", "torch-cuda-graph"):
        own = {"cuda": backend("cuda", 1e-6), "torch-cuda-graph": backend("torch-cuda-graph", 2e-5)}
        own[failed]["status"] = "wrong"
        page = page_of(tmp_path, [{"workload": "wine-deep", "reference": "c", "backends": list(own.values())}])
        assert f"takes ≥ 15 × cuda's step | {failed}: wrong | not measured |" in page
        assert f"| wine-deep | {failed} | wrong |" in page


@pytest.mark.parametrize(
    ("log", "end"),
    [
        ("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)\n", "reached"),
        ("========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)\n", "not reached"),
        ("========= Error: Device not supported\n", "not measured"),
    ],
)
def test_a_sanitizer_is_clean_by_its_own_summary_alone(tmp_path: Path, log: str, end: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "racecheck.txt").write_text(log)
    page = summary.write_summary(tmp_path, []).read_text(encoding="utf-8")
    assert re.search(rf"\| racecheck: clean \| .* \| {end} \|", page)


def test_examinations_that_a_crash_left_out_are_not_counted_as_passed(tmp_path: Path) -> None:
    lines = [{"backend": "cuda", "planned": 3}, {"backend": "cuda", "what": "x", "passed": True, "why": ""}]
    (tmp_path / "parity-cuda.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = summary.write_summary(tmp_path, []).read_text(encoding="utf-8")
    assert "| parity | 1 of 3 passed | not measured |" in page
    assert "| cuda | 1 | 3 |" in page


def test_the_summary_fits_a_page_where_everything_fails_at_length(tmp_path: Path) -> None:
    parts = plan(Setting(tmp_path))
    (tmp_path / "logs").mkdir()
    for each in parts:
        for step in each.steps:
            line = {"part": each.name, "step": step.name, "status": "failed", "seconds": 1, "reason": "long\n" * 999}
            with (tmp_path / "steps.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            (tmp_path / "logs" / f"{step.name}.txt").write_text("    Duration   us  1\n" * 99)
    wrong = {"backend": "cuda", "what": "x", "passed": False, "why": "long " * 999}
    planned = {"backend": "cuda", "planned": 99}
    (tmp_path / "parity-cuda.jsonl").write_text("".join(json.dumps(each) + "\n" for each in [planned, *[wrong] * 99]))
    (tmp_path / "crossover").mkdir()
    (tmp_path / "crossover" / "crossover.md").write_text("| row |\n" * 99)
    page = summary.write_summary(tmp_path, parts).read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 120
    assert max(map(len, page.splitlines())) <= 500


@pytest.mark.parametrize("broken", ["suite/results.json", "steps.jsonl", "parity-cuda.jsonl"])
def test_a_file_that_was_cut_off_costs_its_section_of_the_summary_alone(tmp_path: Path, broken: str) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / broken).write_text('{"cases": [}\n')
    page = summary.write_summary(tmp_path, []).read_text(encoding="utf-8")
    assert "A section could not be made: JSONDecodeError" in page


def test_a_report_of_nvidia_smi_that_is_no_table_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf 'NVIDIA H100, [N/A]\\nMIG \\377 1g.10gb\\n'; exit 9\n")
    smi.chmod(0o755)
    monkeypatch.setattr(summary, "find_tool", lambda _: str(smi))
    summary._device.cache_clear()
    assert summary._device() == "NVIDIA H100, [N/A]; MIG \N{REPLACEMENT CHARACTER} 1g.10gb"
    summary._device.cache_clear()


def test_the_summary_says_how_to_read_a_suite_that_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "journal.jsonl").write_text("")
    assert "python -m bench.plot suite" in summary.write_summary(tmp_path, []).read_text(encoding="utf-8")
