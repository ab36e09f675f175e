"""Settings, options and a folder for runs that end within seconds."""

import functools
from pathlib import Path
from typing import Any

import misbehaving
import pytest

from bench import stages
from bench.machine.description import describe_machine
from bench.measure.settings import Settings

# Two launches and short blocks, which are long enough to detect a worker with a wrong clock.
SHORT = functools.partial(Settings, min_launches=2, launches=2, rounds=2, block_seconds=0.02, burst_seconds=0.002)

# For runs in which no clock is wrong: blocks as short as they may be.
QUICK = functools.partial(SHORT, block_seconds=0.004, burst_seconds=0.001)

# Options of bench.run in the folder of `enter_folder`. Two launches reach the precision however much they differ.
TINY = ["--suite", "../tiny.toml", "--backend", "../backend.toml", "--precision", "1e30"]


def enter_folder(parent: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make runs short, without probes of peak rates; change to an empty folder beside a suite and a manifest."""
    misbehaving.suite(parent / "tiny.toml")
    behaviours = {"steady": misbehaving.STEADY, "exiting": "exits hello 1"}
    misbehaving.manifest(parent / "backend.toml", behaviours)
    monkeypatch.setattr(stages, "Settings", SHORT)
    monkeypatch.setattr(stages, "_probe", lambda *_: None)
    monkeypatch.setattr("bench.suites.problem.MIN_ORDER", 1 << 12)
    here = parent / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def hurry(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Make runs shorter still: without figures, and the machine is described once. Return the folders of figures."""
    folders: list[Path] = []

    def draw(_: object, folder: Path) -> list[Path]:
        folders.append(folder)
        return []

    monkeypatch.setattr("bench.report.figures.draw", draw)
    monkeypatch.setattr(stages, "Settings", QUICK)
    monkeypatch.setattr(stages, "describe_machine", _described)
    return folders


@functools.cache
def _described() -> dict[str, Any]:
    return describe_machine()
