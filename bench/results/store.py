"""Writes and reads results.json, and checks the statistics in a file against its own samples."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.results.build import build_results
from bench.results.derive import (
    COST_FIELDS,
    LATER_CASE_FIELDS,
    LATER_FIELDS,
    LATER_SUMMARY_FIELDS,
    STATISTIC_FIELDS,
    best_ceilings,
    with_statistics,
)
from bench.results.journal import NOT_JSON, parse_json, read_journal
from bench.results.schema import (
    SCHEMA,
    BackendResult,
    Case,
    Estimate,
    Pair,
    Results,
    ResultsError,
    TimingSummary,
    first_error,
)

Statistic = Estimate | TimingSummary | float | str | None


def save_results(results: Results, folder: Path) -> Path:
    """Write results.json into a folder and return its path. An existing file is replaced as a whole or kept.

    Raises
    ------
    OSError
        The disk is full or cannot be written.
    """
    path = folder / "results.json"
    partial = path.with_suffix(".json.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(results.model_dump_json(by_alias=True, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_results(folder: Path) -> Results:
    """Return the results in a folder: from results.json or, where a run was killed before writing it, from its journal.

    Statistics that a file of an earlier version lacks are filled in from its samples.

    Raises
    ------
    ResultsError
        Naming the file and what is wrong: it is absent, cut short, edited, or of another schema.
    """
    path, journal = folder / "results.json", folder / "journal.jsonl"
    if not path.exists() and journal.exists():
        return _from_journal(journal)
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
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
    again = _computed_again(results)
    edited = _edited(results, again)
    if edited:
        raise ResultsError(f"{path}: {edited} does not follow from the samples: was it edited?")
    return results.model_copy(update={"cases": list(map(_completed, results.cases, again.cases))})


def _from_journal(path: Path) -> Results:
    try:
        events = read_journal(path)
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror or error}") from None
    try:
        return build_results(events)
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None


def _computed_again(results: Results) -> Results:
    """Return the results with the statistics that this version computes from the samples."""
    reference = str(results.settings.get("reference", "numpy"))
    return results.model_copy(update={"cases": [with_statistics(case, reference) for case in results.cases]})


def _edited(results: Results, again: Results) -> str | None:
    """Return the place of the first statistic that differs from the one its samples give; None where all agree."""
    for at, (case, computed) in enumerate(zip(results.cases, again.cases, strict=True)):
        ceilings = best_ceilings(results.ceilings, case)
        if not _agree(case.ceiling_gflops, ceilings["ceiling_gflops"]):
            return f"cases.{at}.ceiling_gflops"
        if not _agree_by_name(case.device_ceilings, ceilings["device_ceilings"]):
            return f"cases.{at}.device_ceilings"
        if case.reference != computed.reference:
            return f"cases.{at}.reference"
        if not _agree(case.noise_floor, computed.noise_floor):
            return f"cases.{at}.noise_floor"
        for number, (ours, theirs) in enumerate(zip(case.backends, computed.backends, strict=True)):
            field = _edited_backend(ours, theirs)
            if field:
                return f"cases.{at}.backends.{number}.{field}"
        for field in LATER_CASE_FIELDS:
            if getattr(case, field) is not None and not _agree_on_pairs(getattr(case, field), getattr(computed, field)):
                return f"cases.{at}.{field}"
    return None


def _edited_backend(stored: BackendResult, computed: BackendResult) -> str | None:
    for name in (*STATISTIC_FIELDS, *COST_FIELDS):
        if not _agree(getattr(stored, name), getattr(computed, name)):
            return name
    for name in LATER_FIELDS:
        if getattr(stored, name) is not None and not _agree(getattr(stored, name), getattr(computed, name)):
            return name
    return None


def _completed(stored: Case, computed: Case) -> Case:
    """Return the stored case with the statistics that files of earlier versions lack."""
    backends = [
        ours.model_copy(update={name: getattr(theirs, name) for name in LATER_FIELDS})
        for ours, theirs in zip(stored.backends, computed.backends, strict=True)
    ]
    return stored.model_copy(
        update={"backends": backends, **{name: getattr(computed, name) for name in LATER_CASE_FIELDS}}
    )


def _agree(stored: Statistic, computed: Statistic) -> bool:
    """Compare two statistics; the logarithms of another machine may differ in their last bits."""
    if isinstance(stored, str) or isinstance(computed, str):
        return stored == computed
    if isinstance(stored, TimingSummary) and isinstance(computed, TimingSummary):
        computed = computed.model_copy(
            update={name: None for name in LATER_SUMMARY_FIELDS if not getattr(stored, name)}
        )
    ours, theirs = _numbers(stored), _numbers(computed)
    close = (math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(close)


def _agree_on_pairs(stored: list[Pair], computed: list[Pair]) -> bool:
    """Compare pairs in any order. Pairs of earlier versions have no verdict."""
    ours, theirs = ({(pair.backend, pair.than): pair for pair in pairs} for pairs in (stored, computed))
    ratios, again = ({key: pair.ratio for key, pair in pairs.items()} for pairs in (ours, theirs))
    return _agree_by_name(ratios, again) and all(
        pair.verdict in (None, theirs[key].verdict) for key, pair in ours.items()
    )


def _agree_by_name(stored: Mapping[Any, Estimate | float], computed: Mapping[Any, Estimate | float]) -> bool:
    return stored.keys() == computed.keys() and all(_agree(stored[name], computed[name]) for name in stored)


def _numbers(value: Estimate | TimingSummary | float | None) -> tuple[float, ...]:
    if isinstance(value, Estimate):
        return value.median, value.low, value.high
    if isinstance(value, TimingSummary):
        return tuple(number for number in value.model_dump().values() if number is not None)
    return () if value is None else (value,)
