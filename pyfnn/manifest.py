"""Manifests: reads and checks the rows of a backend.toml. Loads no backend.

docs/add-a-language.md explains each key.
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from pyfnn.errors import InvalidInput
from pyfnn.regular import read_regular

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Division = Literal["textbook", "plain", "tuned", "framework"]
Device = Literal["cpu", "cuda"]
PACKAGE = Path(__file__).parent
_NAME = r"[a-z0-9][a-z0-9_.+-]*(@[0-9a-f]{7,40})?"  # of a backend at a revision: see `at_revision`
_HOST = r"[\w.]+:\w+"


@dataclass(frozen=True)
class Row:
    """One `[[backend]]` table of a backend.toml.

    A row has either `host`, for a backend hosted by a Python process, or `run`, for a program that speaks the protocol.

    Raises
    ------
    InvalidInput
        A key breaks its rule; the message starts with the key.
    """

    name: str
    language: str
    division: Division
    device: Device = "cpu"  # its ceilings are the ones to compare the backend with
    host: str | None = None
    library: str | None = None
    build: str | None = None
    run: str | None = None
    probe: str | None = None
    remedy: str = ""
    sources: tuple[str, ...] = ()
    manifest: Path = Path()  # the file this row was read from

    def __post_init__(self) -> None:
        for key in _TEXTS:
            value = getattr(self, key)
            if not isinstance(value, str) and not (value is None and key in _OPTIONAL):
                raise InvalidInput(f"{key}: {value!r} must be a string")
        for key, allowed in (("division", get_args(Division)), ("device", get_args(Device))):
            if getattr(self, key) not in allowed:
                raise InvalidInput(f"{key}: {getattr(self, key)!r} must be one of {', '.join(allowed)}")
        for key, pattern in (("name", _NAME), ("host", _HOST)):
            value = getattr(self, key)
            if value is not None and not re.fullmatch(pattern, value):
                raise InvalidInput(f"{key}: {value!r} must match {pattern}")
        for key in ("run", "probe", "build"):
            _check_command(key, getattr(self, key))
        object.__setattr__(self, "sources", _checked_sources(self.sources))
        if (self.host is None) == (self.run is None):
            raise InvalidInput("a backend has either host (Python hosts it) or run (it is a program)")

    @property
    def folder(self) -> Path:
        """Folder of the manifest, the base of the row's relative paths."""
        return self.manifest.parent

    def source_files(self) -> list[Path]:
        """Return the existing files that match `sources`."""
        return [path for pattern in self.sources for path in self._matches(pattern) if path.is_file()]

    def _matches(self, pattern: str) -> list[Path]:
        if pattern.startswith("native/"):
            return sorted(native_folder().glob(pattern.removeprefix("native/")))
        return sorted(self.folder.glob(pattern))


_KEYS = tuple(field.name for field in fields(Row) if field.name != "manifest")
_REQUIRED = tuple(field.name for field in fields(Row) if field.default is MISSING)
_OPTIONAL = tuple(field.name for field in fields(Row) if field.default is None)
_TEXTS = tuple(key for key in _KEYS if key != "sources")


def _check_command(key: str, line: str | None) -> None:
    try:
        empty = line is not None and not shlex.split(line)
    except ValueError as error:  # an open quote
        raise InvalidInput(f"{key}: {line!r}: {error}") from None
    if empty:
        raise InvalidInput(f"{key}: {line!r} must be a command, not nothing")


def _checked_sources(patterns: Any) -> tuple[str, ...]:
    if not isinstance(patterns, (list, tuple)) or not all(isinstance(pattern, str) for pattern in patterns):
        raise InvalidInput(f"sources: {patterns!r} must be a list of paths or patterns")
    for pattern in patterns:
        if not pattern or Path(pattern).is_absolute():
            raise InvalidInput(f"sources: {pattern!r} must be a path or a pattern relative to the manifest's folder")
        try:
            next(iter(Path(os.devnull).glob(pattern)), None)
        except (ValueError, IndexError, NotImplementedError) as error:
            raise InvalidInput(f"sources: {pattern!r} is no pattern: {error}") from None
    return tuple(patterns)


def at_revision(name: str, revision: str) -> str:
    """Return the name of a backend at a revision of the repository, for example ``cpp@1a2b3c4``."""
    return f"{name}@{revision}"


def split_revision(name: str) -> tuple[str, str]:
    """Return the name and the revision of a backend; the revision is "" where the name has none."""
    plain, _, revision = name.partition("@")
    return plain, revision


def native_folder(package: Path = PACKAGE) -> Path:
    """Return the folder of the native sources: in the checkout if there is one, else in the installed package.

    Parameters
    ----------
    package : Path
        Folder of a copy of pyfnn.
    """
    checkout = package.parent / "native"
    return checkout if (package.parent / "pyproject.toml").exists() and checkout.exists() else package / "native"


def manifests_of(package: Path = PACKAGE) -> list[Path]:
    """Return the manifests of a copy of pyfnn."""
    return [package / "backends" / "backend.toml", *sorted(native_folder(package).glob("*/backend.toml"))]


@cache
def own_manifests() -> frozenset[Path]:
    """Return the manifests of this pyfnn, resolved as `Row.manifest` is."""
    return frozenset(path.resolve() for path in manifests_of())


def read_manifest(path: Path) -> list[Row]:
    """Read the rows of one backend.toml.

    Raises
    ------
    InvalidInput
        The file cannot be read or breaks a rule; the message names the file, the place in it and the rule.
    """
    try:
        document = tomllib.loads(read_regular(path).decode())
        return _rows(document, path.resolve())
    except (OSError, ValueError, RecursionError) as error:  # InvalidInput is a ValueError
        raise InvalidInput(f"{path}: {error}") from None


def _rows(document: Mapping[str, Any], manifest: Path) -> list[Row]:
    for key in document:
        if key != "backend":
            raise InvalidInput(f"{key}: unknown key; a backend.toml has [[backend]] tables alone")
    tables = document.get("backend", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InvalidInput("backend: must be [[backend]] tables")
    return [_row(table, f"backend.{at}", manifest) for at, table in enumerate(tables)]


def _row(table: Mapping[str, Any], place: str, manifest: Path) -> Row:
    for key in table:
        if key not in _KEYS:
            raise InvalidInput(f"{place}.{key}: unknown key; known: {', '.join(_KEYS)}")
    for key in _REQUIRED:
        if key not in table:
            raise InvalidInput(f"{place}.{key}: is missing")
    try:
        return Row(**table, manifest=manifest)
    except InvalidInput as error:
        raise InvalidInput(f"{place}.{error}") from None
