"""Registry of the backends by name, and the loader that turns a row into a `Backend`.

Rows come from `pyfnn/backends/backend.toml`, `native/*/backend.toml` and the files that the caller adds. No other
module names an implementation.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pyfnn import extra
from pyfnn.backend import Backend
from pyfnn.errors import BackendUnavailable, InvalidInput, UnknownName
from pyfnn.manifest import Row, manifests_of, read_manifest

_rows_of = cache(read_manifest)  # of pyfnn's own manifests, which do not change


def _built_in() -> Iterator[Row]:
    return (row for manifest in manifests_of() for row in _rows_of(manifest))


def rows(manifests: Iterable[Path] = ()) -> Mapping[str, Row]:
    """Return the rows of all known backends by name, in the order of the manifests.

    Parameters
    ----------
    manifests : iterable of Path
        Further backend.toml files.

    Raises
    ------
    InvalidInput
        A manifest is not valid, or two different backends have the same name.
    """
    table: dict[str, Row] = {}
    for row in [*_built_in(), *(row for path in manifests for row in read_manifest(path))]:
        if row.name in table and table[row.name] != row:
            first = table[row.name].manifest
            raise InvalidInput(f"two backends are called {row.name!r}: in {first} and {row.manifest}")
        table[row.name] = row
    return table


def find(name: str, manifests: Iterable[Path] = ()) -> Row:
    """Return the row of that name; raise `UnknownName`, with the nearest match, where there is none.

    Without further manifests, it reads pyfnn's own one by one and stops at the name. A second backend of that name, or
    an error in a later manifest, is then not noticed; `rows` notices both.
    """
    further = list(manifests)
    if not further and isinstance(name, str):
        known = next((row for row in _built_in() if row.name == name), None)
        if known:
            return known
    table = rows(further)
    if not isinstance(name, str) or name not in table:
        raise UnknownName("backend", name, table)
    return table[name]


def load(row: Row) -> Backend:
    """Make the backend of a row: hosted in this process, or a program in a worker process.

    Raises
    ------
    BackendUnavailable
        The backend cannot run here; `reason` and `remedy` explain why and what to do.
    """
    if row.host is None:
        module, name = "pyfnn.process.program", "ProgramBackend"
    else:
        module, name = row.host.split(":")
    try:
        host = getattr(importlib.import_module(module), name)
        backend = host(row)
    except BackendUnavailable as error:
        raise type(error)(error.reason, error.remedy or row.remedy) from error
    except (ImportError, AttributeError) as error:
        remedy = extra.REMEDY if extra.lacks(error) and row.division != "framework" else row.remedy
        raise BackendUnavailable(f"{row.name} cannot be imported: {error}", remedy) from error
    except TypeError as error:
        reason = f"{row.name}: host = {row.host!r} cannot be called with a row: {error}"
        raise BackendUnavailable(reason, row.remedy) from error
    if not isinstance(backend, Backend):
        raise BackendUnavailable(f"{row.name}: host = {row.host!r} is no subclass of pyfnn.Backend", row.remedy)
    return backend


def load_backend(name: str, manifests: Iterable[Path] = ()) -> Backend:
    """Make the backend of that name.

    Parameters
    ----------
    name : str
        Name in a backend.toml.
    manifests : iterable of Path
        Further backend.toml files.

    Returns
    -------
    Backend

    Raises
    ------
    UnknownName
        There is no such backend.
    BackendUnavailable
        The backend cannot run here; `reason` and `remedy` explain why and what to do.
    """
    return load(find(name, manifests))
