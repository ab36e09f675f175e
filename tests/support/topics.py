"""The topics of the conformance kit, in two lists for --topics, so that only what measures time runs alone."""

from bench.check.__main__ import TOPICS
from bench.check.promptness import PROMPTNESS
from bench.check.timing import TIMING

_CLOCKS = (TIMING, PROMPTNESS)  # compare the backend's clock with the driver's
TIMED = ",".join(topic.name for topic in _CLOCKS)
UNTIMED = ",".join(topic.name for topic in TOPICS if topic not in _CLOCKS)
