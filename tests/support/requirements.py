"""Skips that say what is missing and that CI turns into failures; this process's children."""

import os

import psutil
import pytest


def require(tool: str, present: bool, how: str) -> None:
    """Skip where `tool` is absent, saying how to get it; fail instead where PYFNN_REQUIRE names it (or says all).

    All is what any machine can be given: a gpu has to be named. "all,-perl" is all but perl.
    """
    if present:
        return
    required = {name.strip() for name in os.environ.get("PYFNN_REQUIRE", "").split(",")}
    if tool in required or ("all" in required and tool != "gpu" and f"-{tool}" not in required):
        pytest.fail(f"{tool} is required (PYFNN_REQUIRE) and missing: {how}")
    pytest.skip(f"{tool} is missing: {how}")


def workers() -> list[psutil.Process]:
    """Our child processes, but for the one that multiprocessing keeps for itself once it has started any."""
    return [child for child in psutil.Process().children() if not _is_multiprocessings(child)]


def _is_multiprocessings(process: psutil.Process) -> bool:
    try:
        return any("multiprocessing.resource_tracker" in word for word in process.cmdline())
    except psutil.Error:
        return False
