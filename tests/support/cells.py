"""An experiment whose cells succeed, fail, wait or kill their worker, as their parameters say, and leave a trace.

A worker appends the value of each cell that it begins to the file that the variable WITNESS names.
"""

import argparse
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.experiments.engine.cell import Cell, Experiment, Finished, Settings

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report


def compute(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    value, kind = parameters["value"], parameters["kind"]
    witness = Path(os.environ["WITNESS"])
    before = witness.read_text().split().count(str(value)) if witness.exists() else 0
    with witness.open("a") as file:
        file.write(f"{value}\n")
    time.sleep(parameters["seconds"])
    if kind == "raises":
        raise ArithmeticError(f"no value of {value}")
    if kind == "kills" or (kind == "kills once" and not before):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"third": value / 3, "worse": float("nan"), "parts": (value, value + 1)}


def cells(settings: Settings) -> list[Cell]:
    kinds = dict(word.split("=") for word in settings.kinds)
    return [
        Cell("thirds", {"value": value, "kind": kinds.get(str(value), "ok"), "seconds": settings.seconds})
        for value in range(settings.seeds)
    ]


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    del settings
    out.table("thirds", ["value", "third"], [[f.cell.parameters["value"], f.values["third"]] for f in finished])


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kinds", nargs="*", default=[], metavar="VALUE=KIND")
    parser.add_argument("--seconds", type=float, default=0.0)


EXPERIMENT = Experiment("thirds", "Thirds of numbers.", 1, cells, compute, report, arguments, seeds=12)


def begun(witness: Path) -> Counter[int]:
    """Return how often each cell was begun."""
    return Counter(map(int, witness.read_text().split())) if witness.exists() else Counter()
