"""The entries of the evidence of parity that reports read, and their ranges. Compares nothing with an oracle."""

from collections.abc import Mapping
from typing import Any

from bench.terms import LARGEST, MOST


def check_evidence(parity: Mapping[str, Any]) -> None:
    """Check those entries of the evidence that reports read; see `pyfnn.parity.Evidence.summary`.

    Raises
    ------
    ValueError
        Naming the entry and the rule.
    """
    worst = parity.get("worst", {})
    if not isinstance(parity.get("passed", False), bool):
        raise ValueError("passed must be true or false")
    checks = parity.get("checks", 0)
    if isinstance(checks, bool) or not isinstance(checks, int) or not 0 <= checks <= MOST:
        raise ValueError(f"checks must be a whole number from 0 to {MOST}")
    if not isinstance(worst, dict):
        raise ValueError("worst must be an object")
    for name in ("error", "bound", "share"):
        number = worst.get(name, 0)  # an error that is not finite is stored as a text
        if not isinstance(number, str) and not (isinstance(number, int | float) and 0 <= number <= LARGEST):
            raise ValueError(f"worst.{name} must be a number from 0 to {LARGEST:g}, or a text")
    if not isinstance(parity.get("failures", []), list):
        raise ValueError("failures must be a list")
