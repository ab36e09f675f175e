"""What all tests share: skips that say what is missing, and that CI turns into failures."""

import os

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
