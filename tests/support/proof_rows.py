"""The rows that bench.experiments.proof compares, for its tests."""

from pathlib import Path

from bench.experiments.proof import trials
from pyfnn import registry
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row
from support.requirements import require


def proof_rows(folder: Path) -> dict[str, Row]:
    """Write the planted rows' manifest to `folder`; return the rows by name. Skip the test if `c` is unavailable."""
    try:
        registry.load_backend("c")
    except BackendUnavailable as error:
        require("c", False, str(error))
    return trials.planted(folder)
