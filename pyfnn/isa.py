"""Instruction-set levels of the native code: those compiled, those this CPU supports, and the one to use.

The levels are ``v2`` (x86-64-v2), ``v3`` (with AVX2 and FMA), ``v4`` (with AVX-512) and ``aarch64``. The environment
variable `PYFNN_ISA` selects one. This module loads no kernel.
"""

import os

from pyfnn import compiled
from pyfnn.errors import BackendUnavailable

VARIABLE = "PYFNN_ISA"
EVERY = "pip install -e . --config-settings cmake.define.PYFNN_LEVELS=all"


def levels() -> tuple[str, ...]:
    """Return the compiled levels that this CPU and operating system support, the lowest first.

    Raises
    ------
    BackendUnavailable
        There are no compiled parts, or none of them is for this CPU.
    """
    runs, built = _of_cpu(), compiled.build_info().LEVELS
    found = tuple(level for level in built if level in runs)
    if not found:
        reason = (
            f"this CPU runs no level ({', '.join(runs) or 'none'}) that was compiled ({', '.join(built) or 'none'})"
        )
        remedy = f"compile every level: {EVERY}" if runs else "pyfnn has levels for x86-64-v2 and up, and for aarch64"
        raise BackendUnavailable(reason, remedy)
    return found


def levels_of(part: str) -> tuple[str, ...]:
    """Return the levels of this CPU for which a part was compiled, the lowest first; other parts may have others.

    Parameters
    ----------
    part : str
        Name of a compiled part without its level, as `_probe`.

    Raises
    ------
    BackendUnavailable
        There are no compiled parts, or none of this one for this CPU.
    """
    runs, built = _of_cpu(), compiled.build_info().SOURCES
    found = tuple(level for level in runs if f"{part}_{level}" in built)
    if not found:
        raise BackendUnavailable(f"{part} was compiled for no level of this CPU ({', '.join(runs)})", EVERY)
    return found


def _of_cpu() -> list[str]:
    """Return the levels that this CPU and operating system support, compiled or not, the lowest first."""
    compiled.folder("_cpu")
    from pyfnn import _cpu

    return _cpu.levels()


def best() -> str:
    """Return the highest of `levels`."""
    return levels()[-1]


def chosen() -> str:
    """Return the level to use: that of `PYFNN_ISA`, by default the highest.

    Raises
    ------
    BackendUnavailable
        `PYFNN_ISA` names none of `levels`.
    """
    found = levels()
    level = os.environ.get(VARIABLE) or found[-1]
    if level not in found:
        remedy = f"unset {VARIABLE}"
        if level in _of_cpu():
            remedy += f", or compile every level: {EVERY}"
        raise BackendUnavailable(f"{VARIABLE}={level}: this build and this CPU have {', '.join(found)}", remedy)
    return level


def variant(target: str) -> str:
    """Return the name of a compiled part in this build: `target`, or in a build for all levels ``<target>_<level>``.

    Parameters
    ----------
    target : str
        Name of an extension module or library, as in CMake.

    Raises
    ------
    BackendUnavailable
        As `chosen`, where the build is for all levels.
    """
    levelled = compiled.build_info().LEVEL == "levels" and target not in compiled.build_info().SOURCES
    return f"{target}_{chosen()}" if levelled else target


def flags() -> str:
    """Return the C++ flags of the plain parts, in a build for all levels those of the level to use."""
    info = compiled.build_info()
    return str(info.PLAIN_LEVELS[chosen()] if info.LEVEL == "levels" else info.CXX_FLAGS)
