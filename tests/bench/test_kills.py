"""Claims about runs that are killed at any moment: what the journal lacks, what is left behind, how they go on."""

import random
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.drivers import Driver, gone

from bench.results.events import CaseAgainEvent, Event, LaunchEndEvent, SampleEvent
from bench.results.journal import JOURNAL, read_journal
from bench.results.schema import Results
from bench.results.store import load_results

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stopped worker ends when it is continued")

ARMS = 4  # of a launch: two backends and their second instances


def witnessed(driver: Driver) -> Mapping[int, set[float]]:
    """Return the seconds that each worker process reported, by process id in the order of their first reports."""
    found: dict[int, set[float]] = {}
    for line in driver.witness.read_text().splitlines() if driver.witness.exists() else ():
        pid, seconds = line.split()
        found.setdefault(int(pid), set()).add(float(seconds))
    return found


def unrecorded(driver: Driver) -> list[int]:
    """Return the workers that the journal holds no sample of; each sample must be one that a worker has witnessed."""
    reported = witnessed(driver)
    taken = {event.seconds for event in read_journal(driver.out / JOURNAL) if isinstance(event, SampleEvent)}
    assert taken <= set().union(*reported.values())
    return [pid for pid, seconds in reported.items() if not seconds & taken]


def kinds(results: Results) -> list[tuple[str, str, str, bool]]:
    """Return the case, status and kind of verdict of each backend."""
    return [
        (case.title, b.instance, b.status, b.verdict is not None)
        for case in results.cases
        for b in sorted(case.backends, key=lambda b: b.instance)
    ]


def launches(events: list[Event]) -> list[int]:
    """Return the finished launches that count."""
    found: list[int] = []
    for event in events:
        if isinstance(event, CaseAgainEvent):
            found = [launch for launch in found if launch < event.launches]
        if isinstance(event, LaunchEndEvent):
            found.append(event.launch)
    return found


def goes_on(driver: Driver) -> Driver:
    """Continue a killed run, or begin it again where it was killed before it began; return the one that ended."""
    journal = driver.out / JOURNAL
    begun = journal.exists() and journal.stat().st_size > 0
    again = Driver(driver.folder, *(["--resume", str(driver.out)] if begun else []), short=True)
    printed = again.end()
    assert again.process.returncode == 0, printed
    return again


def test_a_killed_run_lacks_the_launch_in_flight_alone_and_its_continuation_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path, short=True)
    driver.wait_for_samples(2 * ARMS + 1)  # two rounds: the second launch is in flight
    workers = driver.workers()
    driver.process.kill()
    driver.end()
    assert gone(workers)
    assert len(unrecorded(driver)) <= ARMS
    assert driver.folders()
    again = goes_on(driver)
    assert again.folders() == []
    assert launches(read_journal(driver.out / JOURNAL)) == [0, 1, 2]
    assert {status for _, _, status, _ in kinds(load_results(driver.out))} == {"ok"}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_100_kills_of_driver_or_workers_lose_a_launch_at_most_and_every_run_ends_as_an_unharmed_one(
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    folder = tmp_path / "unharmed"
    folder.mkdir()
    start = time.monotonic()
    unharmed = Driver(folder, short=True)
    printed = unharmed.end()
    assert unharmed.process.returncode == 0, printed
    seconds, expected = time.monotonic() - start, kinds(load_results(unharmed.out))
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        driver = Driver(folder, short=True)
        time.sleep(rng.uniform(0.0, 1.1 * seconds))
        workers = driver.workers()
        if rng.random() < 0.7 or not workers:
            driver.process.kill()
            driver.end()
            assert gone(workers), f"kill {number}"
            if (driver.out / JOURNAL).exists():
                assert len(unrecorded(driver)) <= ARMS, f"kill {number}"
            if not (driver.out / "results.json").exists():
                again = goes_on(driver)
                assert again.folders() == [], f"kill {number}: process {driver.process.pid}, then {again.process.pid}"
                assert kinds(load_results(driver.out)) == expected, f"kill {number}"
        else:
            with suppress(psutil.NoSuchProcess):
                rng.choice(workers).kill()
            printed = driver.end()
            assert driver.process.returncode in (0, 1), printed
            assert driver.folders() == [], f"kill {number}"
            assert gone(workers), f"kill {number}"
            load_results(driver.out)
