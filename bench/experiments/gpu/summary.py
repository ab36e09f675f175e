"""The page that a GPU run leaves: how each step ended, and the figures found in its output. Standard library alone."""

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from bench.experiments.gpu.plan import Part, find_tool

AIMS = (
    ("wine-deep", "torch-cuda-graph", 15.0),
    ("wine-deep", "jax-cuda", 10.0),
    ("mlp", "torch-cuda-graph", 2.0),
    ("ensemble-4096", "cpp-tuned", 100.0),
)
"""How many times as long as cuda's another backend's step should take: workload, backend, least ratio."""
WIDE = ("wide", "torch-cuda", 1.1, 0.85)  # likewise, or else this share of the device's measured peak
_TOOLS = {"memcheck": "ERROR SUMMARY: 0 errors", "racecheck": "RACECHECK SUMMARY: 0 hazards"}
_MOST_LINES = 18  # of the crossover's tables
_MOST_REASON = 160  # characters
_PROFILED = re.compile(
    r"^\s+(Duration|Elapsed Cycles|Compute \(SM\) Throughput|Memory Throughput|DRAM Throughput|Registers Per Thread|"
    r"Achieved Occupancy|Issue Slots Busy|No Eligible)\s+.*$",
    re.MULTILINE,
)
_SANITIZED = re.compile(r"^=+ ((?:ERROR|RACECHECK) SUMMARY: .*)$", re.MULTILINE)


def write_summary(folder: Path, parts: Sequence[Part]) -> Path:
    """Write summary.md of what there is so far, and return its path. What cannot be read is named in its place."""
    makers: list[Callable[[], str]] = [
        lambda: _aims(folder),
        lambda: _steps(folder, parts),
        lambda: _parity(folder),
        lambda: _sanitizers(folder),
        lambda: _suite(folder),
        lambda: _crossover(folder),
        lambda: _profiles(folder),
    ]
    sections = [f"# GPU run\n\nDevice: {_device()}\n"]
    for make in makers:
        try:
            sections.append(make())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:  # a file was cut off
            sections.append(f"A section could not be made: {type(error).__name__}: {error}\n")
    path, partial = folder / "summary.md", folder / "summary.part"
    partial.write_text("\n".join(section for section in sections if section), encoding="utf-8")
    partial.replace(path)
    return path


@cache
def _device() -> str:
    smi = find_tool("nvidia-smi")
    if smi is None:
        return "no nvidia-smi"
    query = [smi, "--query-gpu=name,driver_version,memory.total,clocks.max.sm", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi: {error}"
    lines = (done.stdout + done.stderr).decode(errors="replace").split("\n")
    return "; ".join(line.strip() for line in lines if line.strip())[:300] or "nvidia-smi prints nothing"


def _aims(folder: Path) -> str:
    """Return what the run should show, and whether it did."""
    rows = ["## Aims", "", "| aim | found | |", "|---|---|---|"]
    cases, why = _cases(folder), ""
    for workload, other, least in AIMS:
        ratio, why = _ratio(cases, workload, other)
        reached = None if ratio is None else ratio >= least
        rows.append(
            _aim(f"{workload}: {other} takes ≥ {least:g} × cuda's step", f"{ratio:.3g}" if ratio else why, reached)
        )
    workload, other, least, least_share = WIDE
    (ratio, why), share = _ratio(cases, workload, other), _share(cases, workload)
    found = [f"{ratio:.3g} ×" if ratio else why, f"{100 * share:.0f} %" if share else "no measured peak"]
    reached = (ratio or 0) >= least or (share or 0) >= least_share or (None if None in (ratio, share) else False)
    aim = f"{workload}: {other} takes ≥ {least:g} × cuda's step, or cuda has ≥ {100 * least_share:.0f} % of the peak"
    rows.append(_aim(aim, ", ".join(found), reached))
    for tool, clean in _TOOLS.items():
        log = _SANITIZED.findall(_log(folder, tool))
        rows.append(
            _aim(f"{tool}: clean", "; ".join(log) or "no result", all(clean in line for line in log) if log else None)
        )
    planned, made, passed = _examined(folder)
    rows.append(
        _aim("parity", f"{passed} of {planned} passed", None if made < planned or not planned else passed == planned)
    )
    return "\n".join(rows) + "\n"


def _aim(aim: str, found: str, reached: bool | None) -> str:
    end = {None: "not measured", True: "reached", False: "not reached"}[reached]
    return f"| {aim} | {found.replace('|', '/')[:_MOST_REASON]} | {end} |"


def _cases(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / "suite" / "results.json"
    if not path.exists():
        return {}
    return {case["workload"]: case for case in json.loads(path.read_text(encoding="utf-8"))["cases"]}


def _backends(case: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {b["name"]: b for b in case["backends"] if b["instance"] == b["name"]}


def _ratio(cases: dict[str, dict[str, Any]], workload: str, other: str) -> tuple[float | None, str]:
    """Return the ratio of a backend's step time to that of cuda, or None and the reason."""
    if workload not in cases:
        return None, f"no results of {workload}"
    backends, times = _backends(cases[workload]), list[float]()
    for name in (other, "cuda"):
        seconds = _step_seconds(backends[name]) if name in backends else None
        if seconds is None:
            return None, f"{name}: {_why(backends[name]) if name in backends else 'not in the results'}"
        times.append(seconds)
    return times[0] / times[1], ""


def _why(backend: dict[str, Any]) -> str:
    return f"{backend['status']} {backend['reason']}".strip()[:_MOST_REASON]


def _share(cases: dict[str, dict[str, Any]], workload: str) -> float | None:
    backend = _backends(cases[workload]).get("cuda") if workload in cases else None
    share = backend.get("ceiling_share") if backend and backend["status"] == "ok" else None
    return None if share is None else float(share)


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
        for step in (*part.steps, *([part.prepared] if part.prepared else [])):
            line = ended.get((part.name, step.name), {"status": "not finished", "seconds": "", "reason": ""})
            reason = str(line["reason"]).replace("|", "/").replace("\n", " ")[:300]
            cells = part.title, step.name, line["status"], line["seconds"], f"{part.seconds:.0f}", reason
            rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows) + "\n"


def _examinations(folder: Path) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """Return the number of examinations planned for each backend, and those that were made."""
    lines = [line for path in sorted(folder.glob("parity-*.jsonl")) for line in _lines(path)]
    planned = {line["backend"]: line["planned"] for line in lines if "planned" in line}
    return planned, [line for line in lines if "what" in line]


def _examined(folder: Path) -> tuple[int, int, int]:
    planned, lines = _examinations(folder)
    return sum(planned.values()), len(lines), sum(line["passed"] for line in lines)


def _parity(folder: Path) -> str:
    planned, lines = _examinations(folder)
    if not planned:
        return ""
    rows = ["## Parity", "", "| backend | passed | of |", "|---|---|---|"]
    for name, number in planned.items():
        rows.append(f"| {name} | {sum(line['passed'] for line in lines if line['backend'] == name)} | {number} |")
    wrong = [
        f"- {line['backend']}: {line['what']}: {line['why'][:_MOST_REASON]}" for line in lines if not line["passed"]
    ]
    return "\n".join([*rows, "", *wrong[:5]]) + "\n"


def _sanitizers(folder: Path) -> str:
    found = [f"- {tool}: {words}" for tool in _TOOLS for words in _SANITIZED.findall(_log(folder, tool))]
    return "\n".join(["## compute-sanitizer", "", *found]) + "\n" if found else ""


def _crossover(folder: Path) -> str:
    path = folder / "crossover" / "crossover.md"
    if not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    more = ["", f"{len(lines) - _MOST_LINES} more lines: crossover/crossover.md"] if len(lines) > _MOST_LINES else []
    return "\n".join(["## Two ways to train", "", *lines[:_MOST_LINES], *more]) + "\n"


def _profiles(folder: Path) -> str:
    found = []
    for kernel in ("persistent_train", "multiply_tile"):
        lines = [match.group(0).rstrip() for match in _PROFILED.finditer(_log(folder, kernel))]
        if lines:
            found += [f"{kernel}:", "", "```text", *lines[:10], "```", ""]
    return "\n".join(["## Nsight Compute", "", *found]) if found else ""


def _suite(folder: Path) -> str:
    cases = _cases(folder)
    if not cases:
        journal = (folder / "suite" / "journal.jsonl").exists()
        return "## Suite\n\nIt was cut off: `python -m bench.plot suite` reads what there is.\n" if journal else ""
    rows = ["## Suite", "", "Tables and figures: suite/summary.md. A step's time, and its ratio to that of cuda:", ""]
    rows += ["| workload | backend | step | ratio |", "|---|---|---|---|"]
    for workload, case in cases.items():
        for name, backend in _backends(case).items():
            seconds, (ratio, _) = _step_seconds(backend), _ratio(cases, workload, name)
            time = _why(backend).replace("|", "/") if seconds is None else f"{seconds * 1e6:.4g} µs"
            rows.append(f"| {workload} | {name} | {time} | {f'{ratio:.3g}' if ratio else ''} |")
    rows += ["", *(line for line in _log(folder, "suite").splitlines() if "left out" in line)]
    return "\n".join(rows) + "\n"


def _step_seconds(backend: dict[str, Any]) -> float | None:
    """Return the time of a step; with one launch, which has no interval, the median of its blocks.

    None of a backend that failed in the end: its samples are not proven.
    """
    if backend["status"] != "ok":
        return None
    time, samples = backend.get("step_seconds"), backend["samples"]
    if time:
        return float(time["median"])
    return median(sample["seconds"] / sample["steps"] for sample in samples) if samples else None
