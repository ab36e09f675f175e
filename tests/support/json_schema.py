"""The published JSON Schema, applied to a file as any other tool does."""

import json
from functools import cache
from pathlib import Path

import jsonschema

from bench.results.json_schema import PUBLISHED


@cache
def validator() -> jsonschema.Draft202012Validator:
    """Return the validator of the published schema, which must be a schema itself."""
    schema = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(path: Path) -> list[str]:
    """Return the place and the message of each fault of a results.json."""
    found = validator().iter_errors(json.loads(path.read_text(encoding="utf-8")))
    return [f"{error.json_path}: {error.message}" for error in found]
