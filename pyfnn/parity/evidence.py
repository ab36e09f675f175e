"""Outcomes of comparisons: one check, and all checks of an examination."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyfnn.parity.trajectory import C


@dataclass(frozen=True)
class Check:
    """One comparison: what was compared, how far apart, how far apart it may be."""

    trial: str
    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Written so that NaN fails."""
        return self.error <= self.bound

    @property
    def share(self) -> float:
        """The error as a share of its bound; inf where the bound is 0 and the error is not."""
        if self.error == 0:
            return 0.0
        return self.error / self.bound if self.bound > 0 else math.inf

    def __str__(self) -> str:
        return f"{self.what} of the {self.trial} network: error {self.error:.3g}, allowed {self.bound:.3g}"


@dataclass(frozen=True)
class Evidence:
    """The outcome of a battery."""

    checks: tuple[Check, ...] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether every check passed, and there were any."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @cached_property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, in the order made."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def worst(self) -> Check:
        """The most telling check: the failed one that names the cause best; if none failed, that nearest to its bound.

        A wrong tensor spoils those computed from it. Values come before gradients, and a gradient is wrong from the
        layer at fault downwards: of several wrong gradients the last layer's is named.
        """
        if not self.failures:
            return max(self.checks, key=lambda check: check.share)
        gradients = [check for check in self.failures if check.what.startswith(("dW_", "db_"))]
        if gradients and self.failures[0] in gradients:
            trial = [check for check in gradients if check.trial == gradients[0].trial]
            return max(trial, key=lambda check: int(check.what.split("_")[1]))
        return self.failures[0]

    def summary(self) -> dict[str, Any]:
        """What the results file keeps."""
        worst = self.worst
        return {
            "passed": self.passed,
            "checks": len(self.checks),
            "c": C,
            "worst": {
                "trial": worst.trial,
                "what": worst.what,
                "error": _finite(worst.error),
                "bound": worst.bound,
                "share": _finite(worst.share),
            },
            "failures": [str(check) for check in self.failures[:10]],
        }


def _finite(value: float) -> float | str:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else str(value)
