"""Claims about the description of the machine that every result carries."""

import json
import os
from types import SimpleNamespace

import pytest

from bench import machine
from pyfnn import compiled
from pyfnn.errors import BackendUnavailable


def test_the_machine_is_described_in_json() -> None:
    said = machine.describe()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["memory_bytes"] > 2**20
    assert said["logical_cpus"] >= 1
    assert all(said[key] for key in ("cpu_model", "architecture", "system", "python", "numpy", "pyfnn"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_the_cpus_counted_are_those_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert machine.describe()["usable_cpus"] == 1


def test_it_says_how_the_native_parts_were_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built = SimpleNamespace(C_FLAGS="-O3", C_COMPILER="GNU 12", SOURCES={"x": {}}, __name__="pyfnn._build_info")
    monkeypatch.setattr(compiled, "build_info", lambda: built)
    assert machine.build_info() == {"c_flags": "-O3", "c_compiler": "GNU 12"}


def test_it_says_why_there_are_no_native_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise BackendUnavailable("nothing is compiled", "compile it")

    monkeypatch.setattr(compiled, "build_info", absent)
    assert machine.build_info() == {"absent": "nothing is compiled", "remedy": "compile it"}
