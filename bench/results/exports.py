"""Results in the formats of other tools: CSV, Parquet, Arrow tables for data frames, and pyperf's JSON.

pyarrow and pyperf are in the extra `export`, and imported where they are needed.
"""

import csv
import importlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

from bench.results.derive import on_clock
from bench.results.rows import KINDS, TableName, rows
from bench.results.schema import BackendResult, Case, Results, Sample
from bench.results.store import load_results
from bench.terms import Clock
from pyfnn.errors import PyfnnError

if TYPE_CHECKING:
    import pyarrow

REMEDY: Final = "pip install 'pyfnn[export]'"
_ARROW: Final = {str: "string", int: "int64", float: "float64", bool: "bool_"}  # names of pyarrow's types


class ExtraMissing(PyfnnError):
    """A package of the extra `export` that is not installed."""


def write_csv(results: Results, folder: Path) -> list[Path]:
    """Write samples.csv and statistics.csv, UTF-8 with a line of names; None is an empty cell. Return their paths."""
    return [_write_csv(results, name, folder / f"{name}.csv") for name in KINDS]


def _write_csv(results: Results, name: TableName, path: Path) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(KINDS[name]._fields)
        writer.writerows(rows(results, name))
    return path


def write_parquet(results: Results, folder: Path) -> list[Path]:
    """Write samples.parquet and statistics.parquet, and return their paths.

    Raises
    ------
    ExtraMissing
    """
    parquet = _package("pyarrow.parquet")
    paths = [folder / f"{name}.parquet" for name in KINDS]
    for name, path in zip(KINDS, paths, strict=True):
        parquet.write_table(frame(results, name), path)
    return paths


def frame(results: Results | Path | str, table: TableName = "samples") -> "pyarrow.Table":
    """Return the samples or the statistics of a run as an Arrow table, one row each.

    pandas reads it by ``frame(...).to_pandas()``, Polars by ``polars.from_arrow(frame(...))``.

    Parameters
    ----------
    results : Results, Path or str
        Or the folder of a run.
    table : {"samples", "statistics"}
        Columns are the fields of `bench.results.rows.SampleRow` or `StatisticRow`; their types do not depend on the
        values, so that the tables of several runs can be joined.

    Raises
    ------
    ResultsError
        The folder's results cannot be read.
    ExtraMissing
        pyarrow is not installed.
    """
    arrow = _package("pyarrow")
    found = rows(results if isinstance(results, Results) else load_results(Path(results)), table)
    schema = arrow.schema([arrow.field(name, getattr(arrow, kind)()) for name, kind in _columns(table)])
    return arrow.Table.from_pylist([row._asdict() for row in found], schema=schema)


def _columns(table: TableName) -> Iterator[tuple[str, str]]:
    """Yield the name and the Arrow type of each column."""
    for name, hint in get_type_hints(KINDS[table]).items():
        (kind,) = (one for one in get_args(hint) or (hint,) if one is not type(None))
        yield name, _ARROW[kind]


def write_pyperf(results: Results, folder: Path) -> list[Path]:
    """Write pyperf.json: one benchmark for each backend of each case, one of pyperf's runs for each launch.

    The values are seconds of a step, by the clock that gives the case's step times. Where steps of a block became more
    within a launch, the launch has a run for each number of them, because pyperf's runs have one number of loops.

    Raises
    ------
    ExtraMissing
        pyperf is not installed.
    PyfnnError
        The run has no sample.
    """
    pyperf = _package("pyperf")
    benchmarks = [
        pyperf.Benchmark(
            [
                pyperf.Run(
                    values, metadata={**_metadata(results, case, backend), "loops": loops}, collect_metadata=False
                )
                for loops, values in _runs(on_clock(backend.samples, case.clock))
            ]
        )
        for case in results.cases
        for backend in case.backends
        if backend.status == "ok" and backend.instance == backend.name and on_clock(backend.samples, case.clock)
    ]
    if not benchmarks:
        raise PyfnnError("this run has no sample that pyperf could read")
    path = folder / "pyperf.json"
    pyperf.BenchmarkSuite(benchmarks).dump(str(path), replace=True)
    return [path]


def _runs(samples: list[Sample]) -> Iterator[tuple[int, list[float]]]:
    """Yield the loops and the values of each run."""
    for (_, loops), group in groupby(samples, key=lambda sample: (sample.launch, sample.steps)):
        yield loops, [sample.seconds / sample.steps for sample in group]


_CLOCK: Final[dict[Clock, str]] = {"cpu": "CPU time of the steps", "wall": "wall time of the worker"}


def _metadata(results: Results, case: Case, backend: BackendResult) -> dict[str, Any]:
    """Return what pyperf keeps about a benchmark: texts on one line, none of them empty."""
    texts = {
        "name": f"{case.title} · {backend.name}",
        "unit": "second",
        "clock": _CLOCK[case.clock],
        "language": backend.language,
        "division": backend.division,
        "compiler": backend.build.get("compiler"),
        "flags": backend.build.get("flags"),
        "cpu_model_name": results.host.get("cpu_model"),
        "platform": results.host.get("system"),
    }
    lines = {name: " ".join(str(text).split()) for name, text in texts.items() if text is not None}
    return {name: line for name, line in lines.items() if line}


def _package(name: str) -> Any:
    """Import a package of the extra `export`."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ExtraMissing(f"{error.name} is not installed: {REMEDY}") from None
