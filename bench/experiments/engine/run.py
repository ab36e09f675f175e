"""Runs an experiment: computes the cells that are not there yet, on an engine, then writes the results and the report.

Every cell is on disk from the moment its worker has answered, so the same command continues a run that was ended.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.experiments.engine.cell import Cell, Experiment, Finished, Settings, canonical
from bench.experiments.engine.cluster import Cluster
from bench.experiments.engine.deal import Deal
from bench.experiments.engine.origin import Origin, key_of, name_of, origin_of
from bench.experiments.engine.pool import Pool
from bench.experiments.engine.progress import CellProgress
from bench.experiments.engine.report import Report, remove_report
from bench.experiments.engine.store import Keyed, Store, chosen, save, save_timing
from bench.experiments.engine.work import Task
from bench.format import duration_text
from bench.interruption import Interruptions, status_of
from bench.results.journal import now
from pyfnn.errors import InvalidInput
from pyfnn.registry import find

CELLS_FAILED = 1  # exit status


def keyed(experiment: Experiment, settings: Settings, origin: Origin) -> list[Keyed]:
    """Return the cells of an experiment with their keys.

    Raises
    ------
    InvalidInput
        There is none, one is there twice, or one is of another experiment.
    """
    cells = [Keyed(cell, key_of(cell, experiment.version, origin)) for cell in experiment.cells(settings)]
    seen = set[str]()
    for each in cells:
        if each.cell.experiment != experiment.name or each.key in seen:
            wrong = "is there twice" if each.key in seen else f"is of the experiment {each.cell.experiment}"
            raise InvalidInput(f"{experiment.name}: cell {canonical(each.cell.parameters)} {wrong}")
        seen.add(each.key)
    if not cells:
        raise InvalidInput(f"{experiment.name}: these settings leave no cell")
    return cells


def run(experiment: Experiment, settings: Settings, console: Console, signals: Interruptions) -> int:
    """Run an experiment, and return the exit status. Errors are the caller's to handle."""
    find(settings.backend)  # or an error with the nearest name, before the first cell
    if settings.scheduler is None:
        experiment.requires(settings)
    name = name_of(experiment.compute)
    origin = origin_of(name)
    cells = keyed(experiment, settings, origin)
    with Store(settings.out, experiment.name) as store:
        left = [number for number, each in enumerate(cells) if not store.has(each.key)]
        console.print(_announcement(len(cells), len(left)), soft_wrap=True)
        if left:
            try:
                _compute(cells, left, store, _engine(settings, name, origin), console)
            except KeyboardInterrupt as error:
                signals.wait()
                console.print("interrupted: finished cells are kept; the same command continues", style="yellow")
                return status_of(error)
        save(store, experiment, settings, origin, cells)
        finished = [
            Finished(each.cell, line.values, line.seconds)
            for each, line in ((each, store.line(each.key)) for each in cells)
            if line.values is not None
        ]
        if finished:
            _report(experiment, finished, len(cells), settings, origin)
        else:
            remove_report(settings.out)  # it is of earlier cells
    return _conclude(len(cells) - len(finished), settings.out, console)


def _report(
    experiment: Experiment, finished: Sequence[Finished], cells: int, settings: Settings, origin: Origin
) -> None:
    """Write tables, figures, report.json and the page."""
    report = Report(settings.out)
    experiment.report(finished, report, settings)
    if len(finished) < cells:
        report.say(f"{cells - len(finished)} of {cells} cells failed; nothing here is of them.", "attention")
    facts = {"cells": cells, "hours of computing": round(sum(one.seconds for one in finished) / 3600, 4), **origin}
    report.save(experiment.name, experiment.question or experiment.summary, chosen(settings), facts)


def _announcement(total: int, left: int) -> str:
    text = f"{total} cell{'s' * (total != 1)}"
    return text if total == left else f"{text}, of which {total - left} are there"


def _engine(settings: Settings, name: str, origin: Origin) -> Pool | Cluster:
    if settings.workers is None and settings.scheduler is None:
        return Pool(name, origin)
    return Cluster(name, origin, settings.workers, settings.scheduler)


def _compute(
    cells: Sequence[Keyed], left: Sequence[int], store: Store, engine: Pool | Cluster, console: Console
) -> None:
    """Compute the cells with these numbers, and store each as it ends."""
    deal = Deal((Task(number, cells[number].cell.parameters) for number in left), engine.tries)
    with engine, CellProgress(console, len(left)) as display:
        console.print(f"on {engine.description}", soft_wrap=True)
        began, computing = time.perf_counter(), 0.0
        for outcomes in engine.run(deal):
            store.add([cells[outcome.number].line(outcome) for outcome in outcomes])
            failed = [f"{_short(cells[o.number].cell)}: {o.reason}" for o in outcomes if o.values is None]
            display.advance(len(outcomes) - len(failed), failed, engine.workers)
            computing += sum(outcome.seconds for outcome in outcomes)
        seconds = time.perf_counter() - began
    busy = computing / (seconds * max(1, engine.workers))
    console.print(
        f"{len(left)} cells in {duration_text(seconds)}; workers computed for {busy:.0%} of it", soft_wrap=True
    )
    about = {"finished": now(), "engine": engine.description, "seconds": seconds, "computing": busy}
    save_timing(store, about, cells)


def _short(cell: Cell) -> str:
    text = ", ".join(f"{name} {value}" for name, value in cell.parameters.items())
    return text if len(text) <= 160 else f"{text[:159]}…"


def _conclude(failed: int, folder: Path, console: Console) -> int:
    if failed:
        console.print(f"{failed} cells failed; {folder / 'results.json'} has the reasons", style="red", soft_wrap=True)
    console.print(f"written to {folder}", soft_wrap=True)
    return CELLS_FAILED if failed else 0
