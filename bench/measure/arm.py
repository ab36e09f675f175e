"""An arm: one of the instances that a case compares, like an arm of a clinical trial.

An arm is a backend, the second instance of one in an A/A pair, or a slowed copy of one. This module holds values only.
"""

import math
from dataclasses import dataclass, field

from bench.measure.errors import Disturbed
from bench.results.schema import Sample
from pyfnn.manifest import Row


@dataclass(frozen=True)
class Calibration:
    """Lengths of a timed block and of the burst before it, in steps, and the step time they were derived from."""

    steps: int
    burst: int
    step_seconds: float

    @property
    def block_seconds(self) -> float:
        """Predicted duration of a timed block."""
        return self.steps * self.step_seconds


@dataclass
class Arm:
    """One instance of a backend in a case, with its samples so far.

    Attributes
    ----------
    instance : str
        The backend's name, or name@2 for the second instance of an A/A pair.
    copy_of : str or None
        Of a slowed copy, the name of its original. It checks what the case can find, and is no backend of the case.
    slowdown : float or None
        Share by which the copy is slower.
    calibration : Calibration or None
        None until the first process of the backend is calibrated.
    samples : list of Sample
    opened : bool
        True once a process of the arm has passed its proof.
    lost : bool
        True once the backend failed and takes no further turn.
    judged : bool
        The clocks of at least one turn could be judged.
    disturbed : Disturbed or None
        The reason why those of a turn could not.
    """

    row: Row
    instance: str
    calibration: Calibration | None = None
    samples: list[Sample] = field(default_factory=list)
    opened: bool = False
    lost: bool = False
    judged: bool = False
    disturbed: Disturbed | None = None
    copy_of: str | None = None
    slowdown: float | None = None

    @property
    def first(self) -> bool:
        """True for the first instance of a backend, False for the second of an A/A pair and for a slowed copy."""
        return self.instance == self.row.name and self.copy_of is None

    @property
    def step_seconds(self) -> float:
        """Step time found by calibration; infinite before it."""
        return self.calibration.step_seconds if self.calibration else math.inf
