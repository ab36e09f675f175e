"""The time to equal validation error of pyfnn's estimators, scikit-learn's and PyTorch.

python -m bench.experiments.estimators chooses the settings of each by some seeds, and then times, with other seeds,
the trainings of all to the error that each of them reaches. One process at a time, one thread.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.experiments.command import run_command
from bench.experiments.engine.figures import figure_style
from bench.experiments.engine.report import Report
from bench.experiments.estimators.arms import BATCHES, DEFAULT_BATCH, DEFAULT_RATE, RATES
from bench.experiments.estimators.problems import DATASETS, HIDDEN
from bench.experiments.estimators.summary import HEADER, draw, lines, row, say
from bench.experiments.estimators.trials import (
    FIRST_TUNING_SEED,
    MOST_EPOCHS,
    PATIENCE,
    SLACK,
    Settings,
    TimedFit,
    Tried,
    choose,
    launch,
    try_settings,
)
from bench.experiments.new_process import in_new_process, threads_of_new_processes
from bench.machine.description import describe_machine
from pyfnn.errors import PyfnnError

LAUNCHES, ROUNDS, TUNING_SEEDS = 20, 5, 3
TITLE = "Time to equal validation error"
QUESTION = "How long do pyfnn's estimators, scikit-learn's and PyTorch train to the same validation error?"
ALT = (
    "Milliseconds of training to the common error, with 95 % intervals, on a log axis, a row for each trainer and a "
    "panel for each dataset; beside each, its time over that of pyfnn. The table has the numbers."
)
NOTES = (
    f"Network: one hidden layer of {HIDDEN[0]} units, relu; Adam; float32; one thread. Inputs and marks are "
    "standardized on the training rows.",
    f"Settings: untuned, the rate is {DEFAULT_RATE} and the batch {DEFAULT_BATCH}, the defaults of scikit-learn and "
    f"pyfnn. “scikit-learn” has this batch and a chosen rate; “pyfnn, same settings” has those of it. The others have "
    f"the rate of {', '.join(map(str, RATES))} and the batch of {', '.join(map(str, BATCHES))} with the least time to "
    f"within {SLACK - 1:.0%} of scikit-learn's lowest validation error. They were chosen with other seeds than those "
    "of the launches.",
    "Common error of a launch: the largest of the lowest validation errors that all reach before "
    f"{PATIENCE} epochs bring no lower one. It is a mean squared error, of digits a cross-entropy.",
    "Time: from arrays to the trained network, with the number of epochs after which the validation error is first at "
    "most the common one; no validation while the clock runs. Each ended at the error that it had before.",
    "Launch: a new process with a seed of its own, for split, initial weights and orders; in each, rounds of all in "
    "random order. Ratios are paired by launch. 95 % intervals by Student's t over launches.",
    "Test score: R², of digits the share of right labels, at the end of the timed training.",
)


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.experiments.estimators",
        description="Time pyfnn's estimators, scikit-learn's and PyTorch to equal validation error.",
    )
    words = ", ".join(DATASETS)
    p.add_argument("--datasets", nargs="+", default=DATASETS, choices=DATASETS, metavar="NAME", help=words)
    counts = (
        ("launches", LAUNCHES, "seeds that are timed"),
        ("rounds", ROUNDS, "timed trainings of each in a launch"),
        ("tuning-seeds", TUNING_SEEDS, "seeds that choose settings"),
    )
    for name, usual, words in counts:
        p.add_argument(f"--{name}", type=int, default=usual, metavar="N", help=f"{words} ({usual})")
    p.add_argument("--out", type=Path, metavar="DIR", help="output folder (results/estimators-<timestamp>)")
    return p


def run(arguments: argparse.Namespace, console: Console) -> None:
    """Choose settings, measure, print the table and write the files."""
    for name, least, most in (("launches", 2, 1000), ("rounds", 1, 100), ("tuning_seeds", 1, 100)):
        if not least <= getattr(arguments, name) <= most:
            raise PyfnnError(f"--{name.replace('_', '-')} {getattr(arguments, name)}: must be from {least} to {most}")
    folder = arguments.out or Path("results") / datetime.now().strftime("estimators-%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)  # an error here comes before the measurement
    names = tuple(dict.fromkeys(arguments.datasets))
    fits, end = list[TimedFit](), None
    with threads_of_new_processes(1):
        tried: list[Tried] = []
        for seed in range(arguments.tuning_seeds):
            console.print(f"settings: seed {seed + 1} of {arguments.tuning_seeds}", highlight=False)
            tried += in_new_process(try_settings, names, FIRST_TUNING_SEED + seed)
        settings = {name: choose([each for each in tried if each.dataset == name]) for name in names}
        try:
            for number in range(arguments.launches):
                console.print(f"launch {number + 1} of {arguments.launches}", highlight=False)
                fits += in_new_process(launch, settings, number, arguments.rounds)
        except (KeyboardInterrupt, PyfnnError) as error:  # finished launches are kept
            end = error
    if end and len({fit.launch for fit in fits}) < 2:  # too few for an interval
        raise end
    facts = {"settings_tried": [asdict(each) for each in tried], "cut_short": end is not None}
    for path in write(folder, fits, settings, facts):
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    if end:
        raise end


def write(
    folder: Path, fits: Sequence[TimedFit], settings: Mapping[str, Settings], facts: Mapping[str, Any]
) -> list[Path]:
    """Write the page, the table, the figure, and everything into estimators.json; return the files."""
    found, host = lines(fits), describe_machine()
    versions = {name: version(name) for name in ("pyfnn", "scikit-learn", "torch", "numpy")}
    content = {
        "versions": versions,
        "host": host,
        "notes": NOTES,
        "grid": {"rates": RATES, "batches": BATCHES},
        "patience": PATIENCE,
        "most_epochs": MOST_EPOCHS,
        "chosen": {name: {entrant: asdict(each) for entrant, each in of.items()} for name, of in settings.items()},
        "lines": [asdict(line) for line in found],
        "fits": [asdict(fit) for fit in fits],
        **facts,
    }
    path = folder / "estimators.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    launches = len({fit.launch for fit in fits})
    source = (
        f"{host['cpu_model']}, one thread; scikit-learn {versions['scikit-learn']}, PyTorch {versions['torch']}",
        f"{launches} launches, {datetime.now():%Y-%m-%d}; ×: time over pyfnn's",
    )
    report = Report(folder)
    say(found, report)
    rows = [row(line, settings) for line in found]
    written = [path, *report.table("estimators", HEADER, rows, title=TITLE, notes=(*NOTES, *source))]
    with figure_style():
        written += report.figure(draw(found, source), "estimators", ALT)
    chosen = {"datasets": list(settings), "launches": launches, "patience": PATIENCE, "most epochs": MOST_EPOCHS}
    return written + report.save("estimators", QUESTION, chosen, versions)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status (see `run_command`)."""
    return run_command("estimators", _parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
