"""The topics of the conformance kit in two lists for --topics, and runs of it for tests on a busy machine."""

from collections.abc import Callable
from unittest import mock

from rich.console import Console

from bench.check import kit, promptness
from bench.check.__main__ import TOPICS, check, main
from bench.check.kit import Claim, Outcome
from bench.check.lifecycle import MANIFEST
from bench.check.promptness import PROMPTNESS
from bench.check.timing import TIMING
from pyfnn.manifest import Row

PATIENCE = 60.0  # seconds, in place of the kit's few; a passing test never waits for it
_EXAMINATIONS = 3
_CLOCKS = (TIMING, PROMPTNESS)  # compare the backend's clock with the driver's
TIMED = ",".join(topic.name for topic in _CLOCKS)
UNTIMED = ",".join(topic.name for topic in TOPICS if topic not in _CLOCKS)
OF_PROCESS = ",".join(topic.name for topic in TOPICS if topic not in (*_CLOCKS, MANIFEST))


def passes(topics: str, *arguments: str) -> bool:
    """Run the kit on these topics; those that compare clocks again if they fail: other tests take CPU time, too.

    A busy machine may pause a correct program for longer than the kit's patience.
    """
    with mock.patch.object(kit, "_PATIENCE", PATIENCE):
        return any(main([*arguments, "--topics", topics]) == 0 for _ in range(4 if topics == TIMED else 1))


def examined(examine: Callable[[], Outcome], right: Callable[[Outcome], bool]) -> Outcome:
    """Examine until the outcome is right, at most three times; return the last one."""
    for _ in range(_EXAMINATIONS - 1):
        if right(found := examine()):
            return found
    return examine()


def fault_found(claim: Claim, examine: Callable[[], Outcome], seen: str) -> Outcome:
    """Examine a faulty program; where its claim is about times, until it fails with `seen`, at most three times.

    Such a claim passes if one of several tries looks right, because a busy machine disturbs some tries of a correct
    program. It disturbs those of a faulty program, too; so a claim about promptness has a single try here.
    """
    if claim.topic not in {topic.name for topic in _CLOCKS}:
        return examine()
    with mock.patch.object(promptness, "_TRIES", 1):
        return examined(examine, lambda found: found.result == "FAIL" and seen in found.seen)


def manifest_passes(row: Row) -> bool:
    """Run the kit's topic on manifests, which builds the program twice, on a row."""
    kept = {outcome.claim for outcome in check(row, MANIFEST.claims, 30.0, Console()) if outcome.result != "FAIL"}
    return kept == {claim.text for claim in MANIFEST.claims}
