"""Results for tests of the page: hostile in every text, with every status, and as large as the full suite."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from bench.report.page import Source, write_page
from bench.report.run_view import run_view
from bench.results.schema import Results
from support.reports import ALL_BACKENDS, STATUS_OF
from support.sample_results import sample_results

FIXED = {
    "schema",
    "status",
    "verdict",
    "when",
    "clock",
    "along",
    "created",
    "finished",
    "begun",
}  # texts that the schema restricts
HOSTILE = (
    '"\'><img src=x onerror="pwned=1"></script><script>pwned=1</script></style></title><!-- {{ 7*7 }} ]]> '
    "javascript:pwned=1 \\u003cscript>pwned=1 \u2028 \u202e onload=pwned=1"
)


def hostile(results: Results) -> Results:
    """Return the results with markup and script in every text and in every key that a user chooses."""
    return Results.model_validate(_spoilt(results.model_dump(mode="json", by_alias=True)))


def _spoilt(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        free = key in ("host", "settings", "build", "packages", "parity", "memory")
        return {
            f"{name}{HOSTILE}" if free and name not in PARITY else name: _spoilt(v, name) for name, v in value.items()
        }
    if isinstance(value, list):
        return [_spoilt(one, key) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) and key not in FIXED else value


PARITY = {"passed", "checks", "c", "worst", "failures"}  # keys that the page reads


def proven(results: Results) -> Results:
    """Return the results with evidence of a proof for every backend that is ok or was rejected."""

    def parity(status: str) -> dict[str, Any]:
        worst = {"trial": "small", "what": "dW_2", "error": 1e-7, "bound": 1e-5, "share": 0.0312}
        failures = ["dW_2 of the small network: error 0.031, allowed 4e-06"] if status == "parity_failed" else []
        known = status in ("ok", "parity_failed")
        return {"passed": status == "ok", "checks": 133, "worst": worst, "failures": failures} if known else {}

    cases = [
        case.model_copy(update={"backends": [b.model_copy(update={"parity": parity(b.status)}) for b in case.backends]})
        for case in results.cases
    ]
    return results.model_copy(update={"cases": cases})


def every_status() -> Results:
    """Return the results of a run in which backends have each status."""
    return proven(sample_results(ALL_BACKENDS, ["wine-deep", "wine-batch"], STATUS_OF))


def usual() -> Results:
    """Return the results of a run of four cases, one backend failing."""
    backends = ("numpy", "cpp", "c", "go", "java", "octave", "lua", "cpp-tuned", "torch")
    failures = {"java": "parity_failed"}
    return proven(sample_results(backends, ["wine-deep", "wine-batch"], failures, dtypes=["float32", "float64"]))


@cache
def full_suite(cases: int = 76, backends: int = 20) -> Results:
    """Return the results of a run of this size; its cases differ in their names alone."""
    results = proven(sample_results(ALL_BACKENDS, rounds=15))
    (case,) = results.cases
    firsts = [b for b in case.backends if b.instance == b.name]
    more = [
        firsts[i % len(firsts)].model_copy(update={"name": f"further-{i}", "instance": f"further-{i}"})
        for i in range(backends - len(firsts))
    ]
    pairs = [
        pair.model_copy(update={"backend": other.name})
        for other, original in zip(more, firsts, strict=False)
        for pair in case.pairs or ()
        if pair.backend == original.name
    ]
    whole = case.model_copy(update={"backends": [*firsts, *more], "pairs": [*(case.pairs or ()), *pairs]})
    names = [f"workload-{i}" for i in range(cases)]
    return results.model_copy(update={"cases": [whole.model_copy(update={"workload": name}) for name in names]})


def page_file(folder: Path, *runs: Results) -> Path:
    """Write the page of some runs into a folder, and return its path."""
    sources: Sequence[Source] = [Source(run_view(results), f"run {i}") for i, results in enumerate(runs)]
    return write_page(sources, folder / "report.html")
