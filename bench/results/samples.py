"""Measurements of one backend in a run: timed blocks, costs of each launch, losses of a training. Computes nothing."""

from pydantic import model_validator

from bench.terms import SHORTEST, Block, Cost, Count, Index, Loss, Seconds, Value


class Sample(Value):
    """One timed block."""

    launch: Index
    round: Index
    seconds: Block  # by the worker's wall clock
    steps: Count
    cpu_seconds: Seconds  # of the worker process and its descendants, from the command to the reply
    work_cpu_seconds: Block | None = None  # of the steps alone, where the case counts CPU time
    wall_seconds: Seconds  # by the driver's clock
    involuntary_switches: Index | None = None
    device_seconds: Block | None = None  # by the device's clock, where the device has one
    retries: Index = 0  # turns rejected before this one because clocks or CPU time did not fit
    proven_steps: Index | None = None  # compared with the oracle after the block; None where none were to be
    outlier: bool = False  # beyond Tukey's fences among its backend's samples; a label only, every sample counts


class Launch(Value):
    """Costs of one fresh process before its first timed block."""

    launch: Index
    startup_seconds: Cost  # from the start of the process to its first reply
    first_step_seconds: Cost  # of starting, of reading the data and of the first step; no wait between them counts
    warmup_seconds: Cost  # of untimed blocks, until the steady state
    warmup_blocks: Index
    settled: bool  # True where the blocks reached a steady state


class Curve(Value):
    """Loss against training time from the starting θ, at 0 seconds, on.

    `epochs` ascends: parts of an epoch within the first one, then whole numbers. Files of earlier versions have whole
    numbers only.
    """

    epochs: list[Cost]
    seconds: list[Seconds]
    losses: list[Loss]

    @model_validator(mode="after")
    def _one_entry_each(self) -> "Curve":
        if not len(self.epochs) == len(self.seconds) == len(self.losses):
            raise ValueError("epochs, seconds and losses must have one entry each")
        if any(seconds < SHORTEST for seconds in self.seconds[1:]):
            raise ValueError(f"seconds must be at least {SHORTEST:g} after the first entry")
        return self
