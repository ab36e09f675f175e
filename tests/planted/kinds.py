"""All kinds of wrong or missing work in what is timed, by name, and the class of a backend of each."""

from planted import elsewhere, passes, timed

KINDS = timed.KINDS | elsewhere.KINDS | passes.KINDS
BACKENDS = {kind: f"{cls.__module__}:{kind}Backend" for kind, cls in KINDS.items()} | {
    "Correct": "planted.timed:CorrectBackend"
}
