"""The JSON Schemas of a run's and of an experiment's results.json, made from the models, and their published copies.

`python -m bench.export --to schema > bench/results/schema.json` writes the first copy again, and
`python -m bench.export --to experiment-schema > bench/results/experiment-schema.json` the second.
"""

from pathlib import Path
from typing import Any, Final

from bench.results.experiment import EXPERIMENT_SCHEMA, ExperimentResults
from bench.results.schema import SCHEMA, STATISTICS, Results

PUBLISHED: Final = Path(__file__).with_name("schema.json")
PUBLISHED_EXPERIMENT: Final = Path(__file__).with_name("experiment-schema.json")
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"  # the one that pydantic writes
_VERDICT_OF_STATISTICS_1: Final = "no difference shown"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema that every results.json ever written conforms to, with any version of `statistics`."""
    schema = Results.model_json_schema()
    _add_statistics_1(schema["$defs"])
    return _titled(schema, SCHEMA, f"Results of a pyfnn run, {SCHEMA}, statistics 1 to {STATISTICS}")


def experiment_json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an experiment's results.json."""
    schema = ExperimentResults.model_json_schema()
    return _titled(schema, EXPERIMENT_SCHEMA, f"Results of a pyfnn experiment, {EXPERIMENT_SCHEMA}")


def _titled(schema: dict[str, Any], name: str, title: str) -> dict[str, Any]:
    about = {"$schema": _DIALECT, "$id": f"urn:{name.replace('/', ':')}", "title": title}
    return {**about, **{key: value for key, value in schema.items() if key not in about}}


def _add_statistics_1(definitions: dict[str, Any]) -> None:
    """Add what files of statistics 1 hold and later ones do not: `Case` and the verdicts read it likewise."""
    definitions["Case"]["properties"]["noise_floor"] = {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "deprecated": True,
        "description": "In files of statistics 1 alone; no rule uses it any more.",
    }
    for name in ("BackendResult", "Pair"):
        for option in definitions[name]["properties"]["verdict"]["anyOf"]:
            if "enum" in option:
                option["enum"] = [*option["enum"], _VERDICT_OF_STATISTICS_1]
