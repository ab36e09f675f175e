"""The published JSON Schema, applied to a file as any other tool does."""

import json
from functools import cache
from pathlib import Path

import jsonschema

from bench.results.json_schema import PUBLISHED


@cache
def validator(published: Path) -> jsonschema.Draft202012Validator:
    """Return the validator of a published schema, which must be a schema itself."""
    schema = json.loads(published.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def faults(path: Path, published: Path = PUBLISHED) -> list[str]:
    """Return the place and the message of each fault of a results.json."""
    found = validator(published).iter_errors(json.loads(path.read_text(encoding="utf-8")))
    return [f"{error.json_path}: {error.message}" for error in found]
