"""Manifests for tests: a backend.toml in a folder of its own, and its only row."""

from pathlib import Path
from typing import Any

from pyfnn.manifest import Row, read_manifest

ROW = {"name": "mine", "language": "C", "division": "plain", "run": "{build}/program"}


def manifest(folder: Path, *rows: dict[str, Any]) -> Path:
    """Write a backend.toml with these rows, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows:
        lines += ["[[backend]]", *(f"{key} = {value!r}" for key, value in row.items())]
    (folder / "backend.toml").write_text("\n".join(lines) + "\n")
    return folder / "backend.toml"


def only_row(folder: Path, **changes: Any) -> Row:
    """Write a backend.toml with `ROW`, some of its keys changed, and return the row."""
    (row,) = read_manifest(manifest(folder, {**ROW, **changes}))
    return row
