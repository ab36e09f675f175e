"""The topics of the conformance kit, in two lists for --topics, so that only what measures time runs alone."""

from bench.check.__main__ import TOPICS
from bench.check.timing import TIMING

TIMED = TIMING.name  # compares the backend's clock with the driver's
UNTIMED = ",".join(topic.name for topic in TOPICS if topic is not TIMING)
