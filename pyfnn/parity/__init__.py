"""Agreement with the oracle: a battery of trials, bounds on rounding errors, the examination, and its evidence.

Parity judges a difference against the distance that rounding alone can carry a correct implementation:
‖T − T̂‖ ≤ c·u·k·‖M‖ for each tensor T that a step computes. `rounding` computes u·k·M; `C` is the one constant c.

Nothing here names a backend: parity examines any `Model` and any `Ensemble`.
"""

from pyfnn.parity.battery import PROOF_STEPS, Trial, battery, small_variant, targets
from pyfnn.parity.ensembles import MANY_STEPS, MANY_TIMES, ManyMaker, ManyTrial, examine_many, many_battery
from pyfnn.parity.evidence import Check, Evidence
from pyfnn.parity.examination import Maker, examine
from pyfnn.parity.rounding import C
from pyfnn.parity.segments import LONGEST_SEGMENT, pass_check, segment_checks
from pyfnn.parity.trajectory import STEPS, Trajectory
from pyfnn.parity.workload import Workload, examine_workload, loss_check, whole_workload

__all__ = [
    "LONGEST_SEGMENT",
    "MANY_STEPS",
    "MANY_TIMES",
    "PROOF_STEPS",
    "STEPS",
    "C",
    "Check",
    "Evidence",
    "Maker",
    "ManyMaker",
    "ManyTrial",
    "Trajectory",
    "Trial",
    "Workload",
    "battery",
    "examine",
    "examine_many",
    "examine_workload",
    "loss_check",
    "many_battery",
    "pass_check",
    "segment_checks",
    "small_variant",
    "targets",
    "whole_workload",
]
