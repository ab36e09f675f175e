"""All kinds of wrong or missing work in what is timed, by name, and the class of a backend of each."""

from planted import elsewhere, passes, timed

KINDS = timed.KINDS | elsewhere.KINDS | passes.KINDS
BACKENDS = {kind: f"{cls.__module__}:{kind}Backend" for kind, cls in KINDS.items()} | {
    "Correct": "planted.timed:CorrectBackend"
}
ACCEPTED = {
    "Caches",  # its calls are never identical: it is timed as a correct one is
    "CpuClock",  # it agrees with the wall on an idle machine; see test_clock.py
    "SlowCalls",  # it does all of its work
}
"""Kinds that no check can refuse, because they compute and claim what a correct backend does."""
