"""Outcomes of comparisons: one check, and the evidence that all checks of an examination form. Compares nothing."""

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pyfnn.parity.rounding import C


@dataclass(frozen=True)
class Check:
    """One comparison with the oracle.

    Attributes
    ----------
    trial : str
        Name of the trial.
    what : str
        Name of the compared value, such as "dW_2".
    error, bound : float
        The difference and its allowed maximum.
    """

    trial: str
    what: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """True where the error is within its bound; False where it is NaN."""
        return self.error <= self.bound

    @property
    def share(self) -> float:
        """Error as a share of its bound; inf where the bound is 0 and the error is not."""
        if self.error == 0:
            return 0.0
        return self.error / self.bound if self.bound > 0 else math.inf

    def __str__(self) -> str:
        return f"{self.what} of the {self.trial} network: error {self.error:.3g}, allowed {self.bound:.3g}"


@dataclass(frozen=True)
class Evidence:
    """All checks of an examination."""

    checks: tuple[Check, ...] = field(repr=False)

    @property
    def passed(self) -> bool:
        """True where there were checks and all of them passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @cached_property
    def failures(self) -> tuple[Check, ...]:
        """Failed checks, in the order in which they were made."""
        return tuple(check for check in self.checks if not check.passed)

    @property
    def worst(self) -> Check:
        """The failed check that names the cause best; if none failed, the check nearest to its bound.

        A wrong tensor spoils all tensors computed from it. Values come before gradients, and a gradient is wrong in the
        layer at fault and in all layers below it; so, of several wrong gradients, this is that of the last layer.
        """
        if not self.failures:
            return max(self.checks, key=lambda check: check.share)
        gradients = [check for check in self.failures if check.what.startswith(("dW_", "db_", "dS_"))]
        if gradients and self.failures[0] in gradients:
            trial = [check for check in gradients if check.trial == gradients[0].trial]
            return max(trial, key=lambda check: int(re.split(r"[_\[]", check.what)[1]))
        return self.failures[0]

    def summary(self) -> dict[str, Any]:
        """Return the entry of the results file, as a JSON object."""
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
    """Return the value as JSON can hold it, which has neither NaN nor infinity."""
    return value if math.isfinite(value) else str(value)
