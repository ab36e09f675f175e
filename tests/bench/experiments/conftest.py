"""Fixtures of the experiments' tests."""

from pathlib import Path

import pytest
from support.requirements import require

from bench.experiments.proof import trials
from pyfnn import registry
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, Row]:
    """Rows that the proof compares; skips the test if `c` is not available."""
    try:
        registry.load_backend("c")
    except BackendUnavailable as error:
        require("c", False, str(error))
    return trials.planted(tmp_path)
