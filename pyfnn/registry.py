"""Which backends exist: reads every backend.toml and turns a row into a `Backend`.

A row is the only place that knows an implementation by name. Rows come from `pyfnn/backends/backend.toml`,
`native/*/backend.toml` and whatever files the caller adds.
"""

import importlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, InvalidInput, UnknownName

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Division = Literal["plain", "tuned", "framework"]
PACKAGE = Path(__file__).parent


class Row(BaseModel):
    """One `[[backend]]` table of a backend.toml. `docs/add-a-language.md` tells what each key is for.

    A row has either `host`, for a backend that Python hosts, or `run`, for a program that speaks the protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.+-]*$")]
    language: str
    division: Division
    host: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    library: str | None = None
    build: str | None = None
    run: str | None = None
    probe: str | None = None
    remedy: str = ""
    sources: tuple[str, ...] = ()
    manifest: Path = Path()  # the file this row was read from

    @property
    def folder(self) -> Path:
        """Where the row's relative paths start: the folder of its manifest."""
        return self.manifest.parent

    @model_validator(mode="after")
    def _either_hosted_or_run(self) -> "Row":
        if (self.host is None) == (self.run is None):
            raise ValueError("a backend has either host (Python hosts it) or run (it is a program)")
        return self

    def source_lines(self) -> int | None:
        """Lines of source, blank ones and comment-only ones included; None where the row names no sources."""
        files = [path for pattern in self.sources for path in self._matches(pattern)]
        if not files:
            return None
        return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)

    def _matches(self, pattern: str) -> list[Path]:
        if pattern.startswith("native/"):
            return sorted(native_folder().glob(pattern.removeprefix("native/")))
        return sorted(self.folder.glob(pattern))


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    backend: list[Row]


def native_folder() -> Path:
    """Where the sources of the native implementations are: in the checkout, or in the installed package."""
    checkout = PACKAGE.parent / "native"
    return checkout if (PACKAGE.parent / "pyproject.toml").exists() and checkout.exists() else PACKAGE / "native"


def read_manifest(path: Path) -> list[Row]:
    """The rows of one backend.toml.

    Raises
    ------
    InvalidInput
        Naming the file, the place in it and what is wrong there.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        tables["backend"] = [{**table, "manifest": path.resolve()} for table in tables.get("backend", [])]
        return _Manifest.model_validate(tables).backend
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise InvalidInput(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"{path}: {place}: {first['msg']}") from None


@cache
def _built_in() -> tuple[Row, ...]:
    manifests = [PACKAGE / "backends" / "backend.toml", *sorted(native_folder().glob("*/backend.toml"))]
    return tuple(row for manifest in manifests for row in read_manifest(manifest))


def rows(manifests: Iterable[Path] = ()) -> Mapping[str, Row]:
    """Every known backend by name, in the order of the manifests.

    Parameters
    ----------
    manifests : iterable of Path
        Further backend.toml files.
    """
    table: dict[str, Row] = {}
    for row in [*_built_in(), *(row for path in manifests for row in read_manifest(path))]:
        if row.name in table and table[row.name] != row:
            first = table[row.name].manifest
            raise InvalidInput(f"two backends are called {row.name!r}: in {first} and {row.manifest}")
        table[row.name] = row
    return table


def find(name: str, manifests: Iterable[Path] = ()) -> Row:
    """The row of that name; `UnknownName`, with the nearest match, where there is none."""
    table = rows(manifests)
    if name not in table:
        raise UnknownName("backend", name, table)
    return table[name]


def load(row: Row) -> Backend:
    """The backend of a row: hosted in this process, or a program run beside it.

    Raises
    ------
    BackendUnavailable
        It cannot run here; carries the reason and the remedy.
    """
    if row.host is None:
        from pyfnn.process import ProgramBackend

        return ProgramBackend(row)
    module, name = row.host.split(":")
    try:
        host = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BackendUnavailable(f"{row.name} cannot be imported: {error}", row.remedy) from error
    try:
        backend: Backend = host(row)
    except BackendUnavailable as error:
        raise type(error)(error.reason, error.remedy or row.remedy) from error
    except ImportError as error:
        raise BackendUnavailable(f"{row.name} cannot be imported: {error}", row.remedy) from error
    return backend


def load_backend(name: str, manifests: Iterable[Path] = ()) -> Backend:
    """The backend of that name, ready to make models.

    Parameters
    ----------
    name : str
        As in a backend.toml.
    manifests : iterable of Path
        Further backend.toml files to look in.

    Raises
    ------
    UnknownName
        No such backend.
    BackendUnavailable
        It cannot run here; carries the reason and the remedy.
    """
    return load(find(name, manifests))
