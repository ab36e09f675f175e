"""Skips that name what is missing, and that CI turns into failures; the workers of this process."""

import os

import psutil
import pytest

from pyfnn import launch

HARDWARE = ("gpu", "AVX-512", "x86-64-v3")


def require(tool: str, present: bool, how: str) -> None:
    """Skip the test with `how` to get `tool` if the tool is absent; fail instead if PYFNN_REQUIRE requires it.

    PYFNN_REQUIRE is a list such as "go,java". "all" stands for every tool that can be installed; hardware, as "gpu", a
    list must name. "all,-perl" requires all but perl, "all,-julia" all but julia and rows such as julia-inbounds.
    """
    if present:
        return
    required = {name.strip() for name in os.environ.get("PYFNN_REQUIRE", "").split(",")}
    excused = not required.isdisjoint({f"-{tool}", f"-{tool.partition('-')[0]}"})
    if tool in required or ("all" in required and tool not in HARDWARE and not excused):
        pytest.fail(f"{tool} is required (PYFNN_REQUIRE) and missing: {how}")
    pytest.skip(f"{tool} is missing: {how}")


def workers() -> list[psutil.Process]:
    """Return the child processes of this process, those of a supervisor in its place.

    The resource tracker of multiprocessing is left out.
    """
    found = [child for child in psutil.Process().children() if not _has_word(child, "multiprocessing.resource_tracker")]
    return [process for child in found for process in _supervised(child)]


def _supervised(child: psutil.Process) -> list[psutil.Process]:
    if not _has_word(child, launch.__file__):
        return [child]
    return child.children() or [child]


def _has_word(process: psutil.Process, part: str) -> bool:
    try:
        return any(part in word for word in process.cmdline())
    except psutil.Error:
        return False
