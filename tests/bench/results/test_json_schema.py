"""Claims about the published JSON Schema: it is that of the models, and accepts every results file and no other."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.json_schema import faults
from support.sample_results import BACKENDS, FAILURES, ceilings_line, events, results_of, sample_results, swept_results

from bench.export import SCHEMAS
from bench.results.derive import with_all_statistics
from bench.results.json_schema import PUBLISHED, PUBLISHED_EXPERIMENT
from bench.results.schema import Results
from bench.results.store import save_results

WITHOUT_FAILURE = [name for name in BACKENDS if name != "numpy"]
MADE: dict[str, Callable[[], Results]] = {
    "every status": lambda: sample_results(
        tuple(BACKENDS), failures=dict(zip(WITHOUT_FAILURE, FAILURES, strict=False))
    ),
    "several cases": lambda: sample_results(
        ("numpy", "cpp"), ("wine-deep", "mlp"), operations=("train", "forward"), dtypes=("float32", "float64")
    ),
    "a sweep": lambda: swept_results({"numpy": lambda _: 1e-4, "cpp": lambda value: 1e-6 * value}, (1, 4, 16)),
    "a probed device": lambda: results_of([*events(("numpy", "cpp"), ("digits",), {}), ceilings_line(5000.0)]),
    "one launch": lambda: sample_results(launches=1),
}


@pytest.mark.parametrize(("name", "published"), [("schema", PUBLISHED), ("experiment-schema", PUBLISHED_EXPERIMENT)])
def test_the_published_schemas_are_those_of_the_models(name: str, published: Path) -> None:
    again = f"python -m bench.export --to {name} > bench/results/{published.name}"
    assert json.loads(published.read_text(encoding="utf-8")) == SCHEMAS[name](), f"write it again: {again}"


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("results.json")), ids=lambda p: p.parent.name)
def test_the_schema_accepts_every_results_file_kept_from_earlier_versions(path: Path) -> None:
    assert faults(path) == []


@pytest.mark.parametrize("kind", MADE)
def test_the_schema_accepts_what_this_version_writes(kind: str, tmp_path: Path) -> None:
    results = with_all_statistics(MADE[kind]())
    assert faults(save_results(results, tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('"pyfnn-results/1"', '"pyfnn-results/9"', "$.schema"),
        ('"ok"', '"fine"', "$.cases[0].backends[0].status"),
        ('"workload"', '"wrokload"', "$.cases[0]"),
        ('"steps": ', '"steps": -', "$.cases[0].backends[0].samples[0].steps"),
    ],
)
def test_the_schema_names_the_place_of_a_fault(old: str, new: str, place: str, tmp_path: Path) -> None:
    path = save_results(sample_results(), tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    assert any(fault.startswith(f"{place}: ") for fault in faults(path))
