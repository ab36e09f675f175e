"""The topics of the conformance kit in two lists for --topics, and a run of it for tests on a busy machine."""

from unittest import mock

from rich.console import Console

from bench.check import kit
from bench.check.__main__ import TOPICS, check, main
from bench.check.lifecycle import MANIFEST
from bench.check.promptness import PROMPTNESS
from bench.check.timing import TIMING
from pyfnn.manifest import Row

_CLOCKS = (TIMING, PROMPTNESS)  # compare the backend's clock with the driver's
TIMED = ",".join(topic.name for topic in _CLOCKS)
UNTIMED = ",".join(topic.name for topic in TOPICS if topic not in _CLOCKS)
OF_PROCESS = ",".join(topic.name for topic in TOPICS if topic not in (*_CLOCKS, MANIFEST))


def passes(topics: str, *arguments: str) -> bool:
    """Run the kit on these topics; those that compare clocks again if they fail: other tests take CPU time, too.

    A busy machine may pause a correct program for longer than the kit's patience.
    """
    with mock.patch.object(kit, "_PATIENCE", 60.0):
        return any(main([*arguments, "--topics", topics]) == 0 for _ in range(4 if topics == TIMED else 1))


def manifest_passes(row: Row) -> bool:
    """Run the kit's topic on manifests, which builds the program twice, on a row."""
    kept = {outcome.claim for outcome in check(row, MANIFEST.claims, 30.0, Console()) if outcome.result != "FAIL"}
    return kept == {claim.text for claim in MANIFEST.claims}
