"""Claims about the tries of the kit's topic on promptness, with made-up times in place of a process."""

from typing import Any

import pytest

from bench.check import promptness
from bench.check.kit import Failed

PASSES = [claim for claim in promptness.PROMPTNESS.claims if "as long in a long call as in a short one" in claim.text]
FORWARD = PASSES[0]


class Times:
    """Times of a pass in short calls: as long as in long calls in these tries, twice as long in the others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *right: int) -> None:
        self.right, self.calls = right, list[int]()
        monkeypatch.setattr(promptness, "_session", lambda *_: (None, 100))
        monkeypatch.setattr(promptness, "_per_step", lambda *_: 1.0)
        monkeypatch.setattr(promptness, "_after_a_step", self._short)

    def _short(self, session: Any, operation: str, passes: int, at: int) -> float:
        del session, operation, passes
        self.calls.append(at)
        return 1.0 if at // promptness._CALLS in self.right else 2.0


def test_a_fault_that_each_try_shows_fails_the_claim_and_no_try_repeats_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch)
    with pytest.raises(Failed, match="µs a pass in calls of"):
        FORWARD.attempt(None)  # type: ignore[arg-type]
    assert len(times.calls) == promptness._TRIES * promptness._CALLS
    assert len(set(times.calls)) == len(times.calls)  # a table of earlier results is of no help


@pytest.mark.parametrize("right", [0, promptness._TRIES - 1])
def test_one_undisturbed_try_keeps_the_claim(right: int, monkeypatch: pytest.MonkeyPatch) -> None:
    times = Times(monkeypatch, right)
    assert FORWARD.attempt(None) == "1.00 times"  # type: ignore[arg-type]
    assert len(times.calls) == (right + 1) * promptness._CALLS
