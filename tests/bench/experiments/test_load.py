"""Claims about the load of bench.experiments.proof: it comes and goes, keeps to its CPUs and ends in every case."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil
import pytest
from support.processes import alive, until

from bench.experiments.proof import burner
from bench.experiments.proof.load import Load
from bench.machine.cpus import choose_cpus


class Ticking:
    """A clock whose reading takes 5 ms, and a parent process that ends after `life` seconds."""

    def __init__(self, life: float) -> None:
        self.now, self.slept, self.naps, self._life = 0.0, 0.0, list[float](), life

    def monotonic(self) -> float:
        self.now += 0.005
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        self.naps.append(seconds)

    def getppid(self) -> int:
        return 7 if self.now < self._life else 1


def run_burner(seed: str, monkeypatch: pytest.MonkeyPatch, life: float = 400.0) -> Ticking:
    ticking = Ticking(life)
    monkeypatch.setattr(burner, "time", ticking)
    monkeypatch.setattr(burner, "os", ticking)
    monkeypatch.setattr(sys, "argv", ["burner.py", "7", seed, "1.5"])
    burner.main()
    return ticking


def test_a_burner_is_busy_half_of_the_time_as_its_seed_determines_and_ends_with_its_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, again, other = (run_burner(seed, monkeypatch) for seed in ("0 1", "0 1", "1 1"))
    for ticking in (one, other):
        assert ticking.now == pytest.approx(400.0, abs=0.2)
        assert 0.35 < ticking.slept / ticking.now < 0.65
        assert max(ticking.naps) <= 0.05
    assert one.naps == again.naps
    assert one.naps != other.naps


def wait_for_end(pids: Sequence[int]) -> None:
    assert until(lambda: not any(map(alive, pids))), f"{pids} still run"


def test_a_load_keeps_to_its_cpus_and_ends_after_an_interrupt() -> None:
    cpus, pids = choose_cpus(1), list[int]()

    def interrupted() -> None:
        with Load(cpus, 0, 0.01) as load:
            pids.extend(load.pids)
            end = time.monotonic() + 20
            process = psutil.Process(load.pids[0])
            while load.taken() == 0 or (
                cpus and set(process.cpu_affinity()) != set(cpus)
            ):  # the launcher's time counts
                assert time.monotonic() < end, "never busy on its CPUs"
                time.sleep(0.05)
            assert (load.taken() or 0.0) <= 1.1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pids) == 1
    wait_for_end(pids)


PARENT = """
import sys, time
from bench.experiments.proof.load import Load
with Load((), 0, 0.5) as load:
    print(*load.pids, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL needs a POSIX system")
def test_a_load_that_has_ended_has_no_share() -> None:
    with Load((), 0, 0.01) as load:
        assert load.taken() is not None
        os.kill(load.pids[0], signal.SIGKILL)
        end = time.monotonic() + 20
        while load.taken() is not None:
            assert time.monotonic() < end, "the ended load still has a share"
            time.sleep(0.05)


def test_a_load_ends_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        assert all(map(alive, pids))
        parent.send_signal(signal.SIGKILL)
    wait_for_end(pids)
