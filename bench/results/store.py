"""Writes and reads results.json, and checks the statistics in a file against its own samples."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.results.build import build_results
from bench.results.derive import COST_FIELDS, STATISTIC_FIELDS, best_ceilings, with_statistics
from bench.results.journal import NOT_JSON, parse_json, read_journal
from bench.results.schema import SCHEMA, Case, Estimate, Results, ResultsError, first_error


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
    edited = _edited(results)
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


def _edited(results: Results) -> str | None:
    """Return the place of the first statistic that differs from the one its samples give; None where all agree."""
    reference = str(results.settings.get("reference", "numpy"))
    for at, case in enumerate(results.cases):
        ceilings = best_ceilings(results.ceilings, case)
        if not _agree(case.ceiling_gflops, ceilings["ceiling_gflops"]):
            return f"cases.{at}.ceiling_gflops"
        if not _agree_by_name(case.device_ceilings, ceilings["device_ceilings"]):
            return f"cases.{at}.device_ceilings"
        again = with_statistics(case, reference)
        if case.reference != again.reference:
            return f"cases.{at}.reference"
        if not _agree(case.noise_floor, again.noise_floor):
            return f"cases.{at}.noise_floor"
        for number, (stored, computed) in enumerate(zip(case.backends, again.backends, strict=True)):
            for name in (*STATISTIC_FIELDS, *COST_FIELDS):
                if not _agree(getattr(stored, name), getattr(computed, name)):
                    return f"cases.{at}.backends.{number}.{name}"
        if case.pairs is not None and not _agree_by_name(_ratios_of(case), _ratios_of(again)):
            return f"cases.{at}.pairs"
    return None


def _agree(stored: Estimate | float | None, computed: Estimate | float | None) -> bool:
    """Compare two statistics; the logarithms of another machine may differ in their last bits."""
    ours, theirs = _numbers(stored), _numbers(computed)
    close = (math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(close)


def _ratios_of(case: Case) -> dict[tuple[str, str], Estimate]:
    return {(pair.backend, pair.than): pair.ratio for pair in case.pairs or []}


def _agree_by_name(stored: Mapping[Any, Estimate | float], computed: Mapping[Any, Estimate | float]) -> bool:
    return stored.keys() == computed.keys() and all(_agree(stored[name], computed[name]) for name in stored)


def _numbers(value: Estimate | float | None) -> tuple[float, ...]:
    if isinstance(value, Estimate):
        return value.median, value.low, value.high
    return () if value is None else (value,)
