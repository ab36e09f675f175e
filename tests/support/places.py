"""Folders that tests refer to."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
