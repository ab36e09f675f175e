"""Judgement of clocks: the seconds that a worker claims against the driver's clock, CPU time and waiting time.

A worker is right if all work that it claims to have done is done within the seconds that it claims. Work after its
clock has stopped shows in the time until the reply, or in that of a query whose answer depends on the work. What is
constant in both, such as the protocol, shows in a run of one row too, and is subtracted. CPU time is compared with CPU
time: other processes do not lengthen it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure.errors import Disturbed, Implausible, ThreadsMismatch
from pyfnn.errors import PyfnnError

UNCLAIMED = 0.03  # share of the claimed seconds that a worker may work outside its clock
_LEAST = 5e-4  # seconds; such a delay says nothing: waking a process up takes up to this long
_IDLE = 2e-3  # seconds, where CPU time gives the step times: waking up an idle CPU of a virtual machine, at both ends
JUDGED = 0.008  # seconds; a shorter block is too short to be judged by its unclaimed time
_OUTSIDE_SHARE, _OUTSIDE = 0.1, 3e-3  # CPU time outside the worker's clock, where it counts as work: more is a fault
_COLD = 3e-3  # CPU seconds outside the clock of a run that waited: others may have emptied its caches; more is a fault
_MOST_SHARE = 0.1  # of a block's work in a run of almost no work, for this to be subtracted
_CPU_SLACK = 1.03  # CPU seconds may be this factor times wall seconds and threads: they come from two clocks
_CPU_GRACE = 0.001 if sys.platform.startswith("linux") else 0.005  # seconds; other systems count ticks
_DEVICE_SLACK = 1.01  # device seconds may be this factor times the worker's seconds: they come from two clocks
_DEVICE_GRACE = 1e-4  # seconds; the two clocks do not start and stop at the same moment
_EARLY = "the call returned before its work was done, or its clock stopped early"


@dataclass(frozen=True)
class Reading:
    """The clocks of one run and of the query after it.

    Attributes
    ----------
    seconds : float
        Claimed by the worker.
    wall_seconds : float
        From the command to the reply, by the driver.
    cpu_seconds : float
        Of the worker's processes, in that time.
    late_seconds, late_cpu_seconds : float
        Driver's seconds, and CPU seconds, of a query that depends on the run, beyond those of a query that does not.
    protocol_seconds : float
        Known to pass outside the worker's clock.
    waited_seconds : float
        The worker's threads, the driver and the machine's virtual CPUs waited for a CPU, in all.
    device_seconds : float or None
        By the device's clock, where it has one.
    claimed_cpu_seconds : float or None
        Claimed by the worker, of the process, within `seconds`; None where it does not report them.
    """

    seconds: float
    wall_seconds: float
    cpu_seconds: float
    late_seconds: float = 0.0
    late_cpu_seconds: float = 0.0
    protocol_seconds: float = 0.0
    waited_seconds: float = 0.0
    device_seconds: float | None = None
    claimed_cpu_seconds: float | None = None

    @property
    def until_result(self) -> float:
        """Time from the command until the result was there."""
        return self.wall_seconds + max(0.0, self.late_seconds)

    @property
    def cpu_until_result(self) -> float:
        """CPU time between the command and the result."""
        return self.cpu_seconds + max(0.0, self.late_cpu_seconds)

    @property
    def unclaimed_seconds(self) -> float:
        """Time that passed between command and result outside the worker's clock."""
        return self.until_result - self.seconds - self.protocol_seconds

    def unclaimed_cpu_seconds(self, threads: int) -> float:
        """Return the CPU time between command and result beyond the claimed one and the protocol, or 0.

        Where the worker claims none, `threads` threads may have used the claimed seconds in full.
        """
        most = threads * self.seconds * _CPU_SLACK
        claimed = most if self.claimed_cpu_seconds is None else self.claimed_cpu_seconds
        return max(0.0, self.cpu_until_result - claimed - self.protocol_seconds)


def work_cpu_seconds(run: Reading, constants: Sequence[Reading], share: float) -> float:
    """Return the CPU seconds of a run's work: as the worker reports them, or those of its processes less the constant.

    Between the command and an answer that depends on the work everything counts, so no process of the worker can hide
    work. Its own report counts where at most 3 % (0.5 ms) more were used, since it is the more exact of the two.

    Parameters
    ----------
    run : Reading
    constants : sequence of Reading
        Of runs with almost no work; none where a run is many calls, each with a constant part of its own. The worker's
        seconds then count, where they are fewer.
    share : float
        Work of each of these as a share of the run's. If it is large, nothing is subtracted.
    """
    claimed = run.claimed_cpu_seconds
    if not constants:
        return min(run.cpu_until_result if claimed is None else claimed, run.seconds)
    used = run.cpu_until_result
    if share <= _MOST_SHARE:
        constant = median(reading.cpu_until_result for reading in constants)
        used = max(0.0, used - constant) / (1 - share)
    return used if claimed is None or used > claimed + _allowed(claimed) else claimed


def _allowed(claimed: float) -> float:
    """Return the seconds that may be spent outside a worker's clock."""
    return max(UNCLAIMED * claimed, _LEAST)


def contradiction(
    run: Reading, constant: Reading, threads: int, least: float = JUDGED, *, counts_cpu: bool = False
) -> PyfnnError | None:
    """Return the error of a run whose times contradict each other; None where they agree.

    Parameters
    ----------
    run : Reading
    constant : Reading
        Of a run with almost no work, whose time outside the clock is not counted.
    threads : int
        Threads that the case allows.
    least : float
        Seconds; where less passed, the unclaimed time is not judged.
    counts_cpu : bool
        CPU time gives the step times: where a run waited for a CPU, its wall time is of no consequence.
    """
    found = _impossible(run, threads)
    if found is None and counts_cpu and run.seconds >= least:
        found = _absent(run)
    return found or (_outside(run, constant, threads, counts_cpu) if run.until_result >= least else None)


def _impossible(run: Reading, threads: int) -> PyfnnError | None:
    """Return the error of a run of which one clock shows more time than another allows."""
    claimed, wall = run.seconds, run.wall_seconds
    claimed_cpu = run.claimed_cpu_seconds or 0.0
    if claimed > wall:
        return Implausible(f"claims {claimed:.4g} s for what took {wall:.4g} s by the driver's clock")
    if (run.device_seconds or 0.0) > claimed * _DEVICE_SLACK + _DEVICE_GRACE:
        return Implausible(f"claims {claimed:.4g} s, and {run.device_seconds:.4g} s by its device's own clock")
    if run.cpu_seconds > threads * (wall + run.protocol_seconds) * _CPU_SLACK + _CPU_GRACE:
        return ThreadsMismatch(f"used {run.cpu_seconds:.4g} CPU seconds in {wall:.4g} s on {threads} threads")
    if claimed_cpu > run.cpu_seconds * _CPU_SLACK + _CPU_GRACE:
        return Implausible(f"claims {claimed_cpu:.4g} CPU seconds: its processes used {run.cpu_seconds:.4g}")
    if claimed_cpu > threads * (claimed + _allowed(claimed) + run.protocol_seconds):
        return Implausible(f"claims {claimed:.4g} s for {claimed_cpu:.4g} CPU seconds: {_EARLY}")
    return None


def _absent(run: Reading) -> Implausible | None:
    """Return the error of a run that neither ran nor waited for a CPU: something else works for it."""
    idle = run.seconds - run.cpu_seconds - run.waited_seconds
    if idle <= max(_allowed(run.seconds), _IDLE):
        return None
    return Implausible(
        f"neither ran nor waited for a CPU in {idle:.4g} of {run.seconds:.4g} s: CPU time misses its work"
    )


def _outside(run: Reading, constant: Reading, threads: int, counts_cpu: bool) -> PyfnnError | None:
    """Return the error of a run that worked outside its clock, or may have; None where it did not."""
    claimed, allowed = run.seconds, _allowed(run.seconds)
    unclaimed = run.unclaimed_seconds - max(0.0, constant.unclaimed_seconds)
    worked = run.unclaimed_cpu_seconds(threads) - constant.unclaimed_cpu_seconds(threads)
    work_allowed = max(_OUTSIDE_SHARE * claimed, _OUTSIDE) if counts_cpu else threads * allowed
    used = f"used {worked:.4g} CPU seconds outside its clock: {_EARLY}"
    there = claimed + unclaimed
    text = f"claims only {claimed:.4g} of the {there:.4g} s until its result was there, by the driver's clock"
    waited = run.waited_seconds > allowed
    on_time = unclaimed <= (max(allowed, _IDLE) if counts_cpu else allowed)
    if worked > work_allowed and not (on_time and run.claimed_cpu_seconds is None):
        found = used if on_time else f"{text}, and {used}"
        if waited and worked <= max(work_allowed, _COLD):
            return Disturbed(f"{found}, or it found its caches cold: it waited {run.waited_seconds:.4g} s for a CPU")
        return Implausible(found)
    if on_time:
        return None
    unexplained = unclaimed - run.waited_seconds - allowed
    if unexplained > (min(max(0.0, worked), _COLD) if waited else 0.0):
        return Implausible(f"{text}: {_EARLY}")
    if unexplained <= 0 and (counts_cpu or _only_waited(run, worked, threads)):
        return None
    return Disturbed(f"{text}: {_EARLY}, or other processes took its CPU: it waited {run.waited_seconds:.4g} s for one")


def _only_waited(run: Reading, worked: float, threads: int) -> bool:
    """Return True where the CPU clocks agree: outside its clock a worker waited for a CPU, and did no work.

    Its `seconds` must have run on while it waited. Otherwise they are CPU time, and the two clocks are one.
    """
    if run.claimed_cpu_seconds is None:
        return False
    runs_on = threads * run.seconds - run.claimed_cpu_seconds > threads * _allowed(run.seconds)
    return runs_on and worked <= max(UNCLAIMED * run.claimed_cpu_seconds, _LEAST)
