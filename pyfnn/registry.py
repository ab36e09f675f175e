"""Which backends exist, by name, and how a row becomes a `Backend`.

Rows come from `pyfnn/backends/backend.toml`, `native/*/backend.toml` and whatever files the caller adds; nothing else
knows an implementation by name.
"""

import importlib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, InvalidInput, UnknownName
from pyfnn.manifest import PACKAGE, Row, native_folder, read_manifest


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
