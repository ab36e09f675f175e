"""The topics of the conformance kit in two lists for --topics, and a run of it for tests on a busy machine."""

from bench.check.__main__ import TOPICS, main
from bench.check.promptness import PROMPTNESS
from bench.check.timing import TIMING

_CLOCKS = (TIMING, PROMPTNESS)  # compare the backend's clock with the driver's
TIMED = ",".join(topic.name for topic in _CLOCKS)
UNTIMED = ",".join(topic.name for topic in TOPICS if topic not in _CLOCKS)


def passes(topics: str, *arguments: str) -> bool:
    """Run the kit on these topics; those that compare clocks again if they fail: other tests take CPU time, too."""
    return any(main([*arguments, "--topics", topics]) == 0 for _ in range(2 if topics == TIMED else 1))
