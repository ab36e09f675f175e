"""The checks by the two formulas of their row of the page. A formula that is changed on the page has no check."""

from collections.abc import Callable

CHECKS: dict[tuple[str, str], Callable[[], None]] = {}


def formula(left: str, right: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the check of a row of the page, which has these two formulas."""

    def register(check: Callable[[], None]) -> Callable[[], None]:
        CHECKS[f"${left}$", f"${right}$"] = check
        return check

    return register
