"""Instruction-set levels: what the native code was compiled for, what this CPU runs, what is used. Loads no kernel.

Levels are ``v2``, ``v3``, ``v4`` (x86-64-v2, with AVX2 and FMA, with AVX-512) and ``aarch64``. `PYFNN_ISA` forces one.
"""

import os

from pyfnn import compiled
from pyfnn.errors import BackendUnavailable

VARIABLE = "PYFNN_ISA"


def levels() -> tuple[str, ...]:
    """The levels that were compiled and that this CPU, under this system, runs; the lowest first.

    Raises
    ------
    BackendUnavailable
        There are no compiled parts, or none of them is for this CPU.
    """
    compiled.folder("_cpu")
    from pyfnn import _cpu

    built, runs = compiled.build_info().LEVELS, _cpu.levels()
    found = tuple(level for level in built if level in runs)
    if not found:
        reason = (
            f"this CPU runs no level ({', '.join(runs) or 'none'}) that was compiled ({', '.join(built) or 'none'})"
        )
        raise BackendUnavailable(reason, "pyfnn has levels for x86-64-v2 and up, and for aarch64")
    return found


def best() -> str:
    """The highest of `levels`."""
    return levels()[-1]


def chosen() -> str:
    """The level to use: the one that `PYFNN_ISA` names, or else the best.

    Raises
    ------
    BackendUnavailable
        It names none of `levels`.
    """
    found = levels()
    wanted = os.environ.get(VARIABLE) or found[-1]
    if wanted not in found:
        raise BackendUnavailable(
            f"{VARIABLE}={wanted}: this build and this CPU have {', '.join(found)}", f"unset {VARIABLE}"
        )
    return wanted
