"""Writes and reads results.json, and checks the statistics in a file against its own samples."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.results.build import build_results
from bench.results.derive import COST_FIELDS, STATISTIC_FIELDS, with_all_statistics
from bench.results.files import replace
from bench.results.journal import JOURNAL, NOT_JSON, RESULTS, parse_json, read_journal
from bench.results.schema import (
    SCHEMA,
    STATISTICS,
    Case,
    Estimate,
    Pair,
    Results,
    ResultsError,
    TimingSummary,
    first_error,
)
from pyfnn.regular import read_regular

Statistic = Estimate | TimingSummary | float | str | None


def save_results(results: Results, folder: Path) -> Path:
    """Write results.json into a folder and return its path. An existing file is replaced as a whole or kept.

    Raises
    ------
    CannotWrite
        The disk is full or cannot be written.
    """
    path = folder / RESULTS
    replace(path, results.model_dump_json(by_alias=True, indent=1) + "\n")
    return path


def load_results(folder: Path) -> Results:
    """Return the results in a folder: from results.json or, where a run was killed before writing it, from its journal.

    The statistics of a file of an earlier version are computed again from its samples (see `STATISTICS`); those of a
    file of this version must follow from its samples.

    Raises
    ------
    ResultsError
        Naming the file and what is wrong: it is absent, cut short, edited, or of another schema.
    """
    path, journal = folder / RESULTS, folder / JOURNAL
    if not path.exists() and journal.exists():
        return _from_journal(journal)
    try:
        data = parse_json(read_regular(path).decode())
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    except NOT_JSON as error:  # UnicodeDecodeError is a ValueError
        remedy = f"; remove {path.name} to build the results from {journal.name} beside it" if journal.exists() else ""
        raise ResultsError(f"{path} is cut short or altered: {error}{remedy}") from None
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ResultsError(f"{path}: schema is {schema!r}; this version reads {SCHEMA!r}")
    try:
        results = Results.model_validate(data)
    except ValidationError as error:
        raise ResultsError(f"{path}: {first_error(error)}") from None
    again = with_all_statistics(results)
    if results.statistics < STATISTICS:
        return again
    edited = _edited(results, again)
    if edited:
        raise ResultsError(f"{path}: {edited} does not follow from the samples: was it edited?")
    return results


def _from_journal(path: Path) -> Results:
    try:
        events = read_journal(path)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    try:
        return build_results(events)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None


def _edited(results: Results, again: Results) -> str | None:
    """Return the place of the first statistic that differs from the one its samples give; None where all agree."""
    for at, (case, computed) in enumerate(zip(results.cases, again.cases, strict=True)):
        field = _edited_case(case, computed)
        if field:
            return f"cases.{at}.{field}"
    return None


def _edited_case(stored: Case, computed: Case) -> str | None:
    for name in ("ceiling_gflops", "bare_gflops", "bare_library", "margin", "reference"):
        if not _agree(getattr(stored, name), getattr(computed, name)):
            return name
    if not _agree_by_name(stored.device_ceilings, computed.device_ceilings):
        return "device_ceilings"
    for number, (ours, theirs) in enumerate(zip(stored.backends, computed.backends, strict=True)):
        for name in (*STATISTIC_FIELDS, *COST_FIELDS):
            if not _agree(getattr(ours, name), getattr(theirs, name)):
                return f"backends.{number}.{name}"
    for name in ("pairs", "a_a_pairs"):
        if not _agree_on_pairs(getattr(stored, name) or [], getattr(computed, name)):
            return name
    if not _agree_on_pairs(*([case.sensitivity] if case.sensitivity else [] for case in (stored, computed))):
        return "sensitivity"
    return None


def _agree(stored: Statistic, computed: Statistic) -> bool:
    """Compare two statistics; the logarithms of another machine may differ in their last bits."""
    if isinstance(stored, str) or isinstance(computed, str):
        return stored == computed
    ours, theirs = _numbers(stored), _numbers(computed)
    close = (math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(close)


def _agree_on_pairs(stored: list[Pair], computed: list[Pair]) -> bool:
    """Compare pairs in any order."""
    ours, theirs = ({(pair.backend, pair.than): pair for pair in pairs} for pairs in (stored, computed))
    return ours.keys() == theirs.keys() and all(
        _agree(pair.ratio, theirs[key].ratio)
        and (pair.verdict, pair.more_launches) == (theirs[key].verdict, theirs[key].more_launches)
        for key, pair in ours.items()
    )


def _agree_by_name(stored: Mapping[Any, Estimate | float], computed: Mapping[Any, Estimate | float]) -> bool:
    return stored.keys() == computed.keys() and all(_agree(stored[name], computed[name]) for name in stored)


def _numbers(value: Estimate | TimingSummary | float | None) -> tuple[float, ...]:
    if isinstance(value, Estimate):
        return value.median, value.low, value.high
    if isinstance(value, TimingSummary):
        return tuple(number for number in value.model_dump().values() if number is not None)
    return () if value is None else (value,)
