"""The page that a GPU run leaves: how each step ended, and the figures found in its output. Standard library alone."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.experiments.gpu.plan import Part, find_tool

AIMS = (
    ("wine-deep", "torch-cuda-graph", 15.0),
    ("wine-deep", "jax-cuda", 10.0),
    ("mlp", "torch-cuda-graph", 2.0),
    ("wide", "torch-cuda", 1.1),
    ("ensemble-4096", "cpp-tuned", 100.0),
)
"""How many times as long as cuda's another backend's step should take: workload, backend, least ratio."""
PEAK = ("wide", 0.85)  # or this share of the device's measured peak
_PROFILED = re.compile(
    r"^\s+(Duration|Elapsed Cycles|Compute \(SM\) Throughput|Memory Throughput|DRAM Throughput|Registers Per Thread|"
    r"Achieved Occupancy|Issue Slots Busy|No Eligible)\s+.*$",
    re.MULTILINE,
)
_SANITIZED = re.compile(r"^=+ ((?:ERROR|RACECHECK) SUMMARY: .*)$", re.MULTILINE)


def write_summary(folder: Path, parts: Sequence[Part]) -> Path:
    """Write summary.md of what there is so far, and return its path."""
    sections = [_head(), _steps(folder, parts), _parity(folder), _sanitizers(folder), _suite(folder)]
    crossover = folder / "crossover" / "crossover.md"
    sections.append("## Two ways to train\n\n" + crossover.read_text(encoding="utf-8") if crossover.exists() else "")
    sections.append(_profiles(folder))
    path = folder / "summary.md"
    path.write_text("\n".join(section for section in sections if section), encoding="utf-8")
    return path


def _head() -> str:
    smi = find_tool("nvidia-smi")
    words = "no nvidia-smi"
    if smi:
        query = [smi, "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
        try:
            words = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            words = f"nvidia-smi: {error}"
    return f"# GPU run\n\nDevice: {words}\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _log(folder: Path, name: str) -> str:
    path = folder / "logs" / f"{name}.txt"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _steps(folder: Path, parts: Sequence[Part]) -> str:
    ended = {(line["part"], line["step"]): line for line in _lines(folder / "steps.jsonl")}
    rows = ["| part | step | end | seconds | bound of the part | reason |", "|---|---|---|---|---|---|"]
    for part in parts:
        for step in part.steps:
            line = ended.get((part.name, step.name), {"status": "not run", "seconds": "", "reason": ""})
            reason = str(line["reason"]).replace("|", "/")[:300]
            cells = part.title, step.name, line["status"], line["seconds"], f"{part.seconds:.0f}", reason
            rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows) + "\n"


def _parity(folder: Path) -> str:
    lines = _lines(folder / "parity.jsonl")
    if not lines:
        return ""
    rows = ["## Parity", "", "| backend | passed | of |", "|---|---|---|"]
    for name in dict.fromkeys(line["backend"] for line in lines):
        own = [line["passed"] for line in lines if line["backend"] == name]
        rows.append(f"| {name} | {sum(own)} | {len(own)} |")
    wrong = [f"- {line['backend']}: {line['what']}: {line['why']}" for line in lines if not line["passed"]]
    return "\n".join([*rows, "", *wrong[:10]]) + "\n"


def _sanitizers(folder: Path) -> str:
    found = [
        f"- {tool}: {words}" for tool in ("memcheck", "racecheck") for words in _SANITIZED.findall(_log(folder, tool))
    ]
    return "\n".join(["## compute-sanitizer", "", *found]) + "\n" if found else ""


def _profiles(folder: Path) -> str:
    found = []
    for kernel in ("persistent_train", "multiply_tile"):
        lines = [match.group(0).rstrip() for match in _PROFILED.finditer(_log(folder, kernel))]
        if lines:
            found += [f"{kernel}:", "", "```text", *lines, "```", ""]
    return "\n".join(["## Nsight Compute", "", *found]) if found else ""


def _suite(folder: Path) -> str:
    path = folder / "suite" / "results.json"
    if not path.exists():
        journal = path.with_name("journal.jsonl").exists()
        return "## Suite\n\nIt was cut off: `python -m bench.plot suite` reads what there is.\n" if journal else ""
    cases = {case["workload"]: case for case in json.loads(path.read_text(encoding="utf-8"))["cases"]}
    rows = ["## Suite", "", "Tables and figures: suite/summary.md. A step's time, and its ratio to that of cuda:", ""]
    rows += ["| workload | backend | step | ratio | aim | |", "|---|---|---|---|---|---|"]
    for name, case in cases.items():
        times = {b["name"]: _step_seconds(b) for b in case["backends"] if b["instance"] == b["name"]}
        base = times.get(case["reference"])
        for backend, seconds in times.items():
            if seconds is None:
                (own,) = (b for b in case["backends"] if b["instance"] == backend)
                rows.append(f"| {name} | {backend} | {own['status']} | | | {str(own['reason'])[:120]} |")
                continue
            ratio = seconds / base if base else None
            aim = next((least for workload, other, least in AIMS if (workload, other) == (name, backend)), None)
            reached = "" if aim is None or ratio is None else ("reached" if ratio >= aim else "not reached")
            cells = name, backend, f"{seconds * 1e6:.4g} µs", f"{ratio:.3g}" if ratio else "", f"≥ {aim}" if aim else ""
            rows.append("| " + " | ".join([*cells, reached]) + " |")
        rows += _share(name, case)
    rows += ["", *(line for line in _log(folder, "suite").splitlines() if "left out" in line)]
    return "\n".join(rows) + "\n"


def _share(name: str, case: dict[str, Any]) -> list[str]:
    shares = [b.get("ceiling_share") for b in case["backends"] if b["instance"] == "cuda"]
    if name != PEAK[0] or not shares or shares[0] is None:
        return []
    share = f"{100 * shares[0]:.0f} % of the measured peak"
    reached = "reached" if shares[0] >= PEAK[1] else "not reached"
    return [f"| {name} | cuda | {share} | | ≥ {100 * PEAK[1]:.0f} % | {reached} |"]


def _step_seconds(backend: dict[str, Any]) -> float | None:
    """Return the time of a step: with one launch, which has no interval, the median of its blocks."""
    time, samples = backend.get("step_seconds"), backend["samples"]
    if time:
        return float(time["median"])
    return median(sample["seconds"] / sample["steps"] for sample in samples) if samples else None
