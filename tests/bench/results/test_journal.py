"""Claims about the journal on its disk."""

import os
from pathlib import Path

import pytest

from bench.results.events import FinishEvent, RunEvent, SampleEvent
from bench.results.journal import JOURNAL, Journal, now
from bench.results.schema import SCHEMA


def test_an_event_is_on_disk_when_it_is_written_and_a_sample_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    with Journal(tmp_path) as opened:
        opened.write(RunEvent(schema=SCHEMA, created=now()))
        assert synced == [(tmp_path / JOURNAL).stat().st_size]
        times = {"seconds": 1.0, "cpu_seconds": 1.0, "wall_seconds": 1.0}
        opened.write(
            SampleEvent.model_validate({"case": 0, "instance": "numpy", "launch": 0, "round": 0, "steps": 1, **times})
        )
        assert len(synced) == 1
        assert (tmp_path / JOURNAL).stat().st_size > synced[0], "a kill of this process does not lose it"
        opened.write(FinishEvent(finished=now()))
        assert synced[1:] == [(tmp_path / JOURNAL).stat().st_size]
