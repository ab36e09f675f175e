"""Builds the programs of backends in other languages at first use, in the user's cache.

Runs none of them: `pyfnn.process.program` does, through the worker protocol.
"""

import errno
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import platformdirs

from pyfnn import launch
from pyfnn.errors import BackendUnavailable, BuildFailed
from pyfnn.manifest import Row
from pyfnn.scratch import Scratch
from pyfnn.texts import cleaned

_LINES_SHOWN = 20  # of a compiler's messages
_PROBE_PATIENCE = 60.0  # seconds
_LONGEST_SHOWN = 60  # characters of a probe in a reason
_BUILD_PATIENCE = 900.0  # seconds
_ENDING_PATIENCE = 5.0  # seconds
_MOST_SECONDS = 1e9  # of a build; more in a record are an error in it
_LEAST_ROOM = 4096  # bytes; a disk with fewer is full
_RECORD = ".pyfnn-build.json"  # in the folder of a built program: duration of its build


@dataclass(frozen=True)
class Built:
    """A program that is ready to run.

    Attributes
    ----------
    folder : Path
    seconds : float or None
        Duration of its build; None where it needs none, or the duration is not recorded.
    """

    folder: Path
    seconds: float | None = None


def cache_folder() -> Path:
    """Return the folder of built programs."""
    return Path(platformdirs.user_cache_dir("pyfnn")) / "programs"


def fill_in(text: str, folder: object, build: object, python: str = sys.executable) -> str:
    """Replace {folder}, {build} and {python}, the running interpreter, in a line of a manifest; other braces stay."""
    return text.replace("{python}", python).replace("{folder}", str(folder)).replace("{build}", str(build))


def _run_build(line: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run a shell line below a supervisor, which at its end ends all processes that the line has left behind."""
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 (the supervisor reports the process id there)
        supervisor = launch.command(threads=None, report=nothing.fileno())
        passed = [nothing.fileno()] if launch.SUPERVISES else []
        return run_command([*supervisor, "sh", "-c", line], _BUILD_PATIENCE, cwd, passed)


def run_command(
    command: list[str], patience: float, cwd: Path | None = None, passed: Sequence[int] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a command; after `patience` seconds, end it with its children and raise `subprocess.TimeoutExpired`.

    `passed` are the file descriptors that it inherits.
    """
    process = subprocess.Popen(
        command,
        pass_fds=passed,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",  # a compiler may write another encoding
        start_new_session=True,
    )
    with process:
        try:
            out, err = process.communicate(timeout=patience)
        except BaseException:
            if passed:  # the supervisor kills every descendant, and then ends
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_ENDING_PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def probe(row: Row) -> str:
    """Run the row's probe and return its output, the toolchain's version; "" for a row without a probe.

    Raises
    ------
    BackendUnavailable
        The toolchain is not on PATH, or its probe fails.
    """
    if row.probe is None:
        return ""
    try:
        return _answer(row.probe, os.environ.get("PATH", ""))
    except _ProbeFailed as error:
        raise BackendUnavailable(str(error), row.remedy) from None


class _ProbeFailed(Exception):
    """A probe that gave no version; the message is the reason."""


@cache  # the probe precedes every launch; a failure is not cached
def _answer(probe: str, _path: str) -> str:
    command = [word.replace("{python}", sys.executable) for word in shlex.split(probe)]
    if shutil.which(command[0]) is None:
        raise _ProbeFailed(f"{command[0]} is not on PATH")
    what = repr(probe) if len(probe) <= _LONGEST_SHOWN else "the probe of its toolchain"
    try:
        done = run_command(command, _PROBE_PATIENCE)
    except subprocess.TimeoutExpired:
        raise _ProbeFailed(f"{what} was silent for {_PROBE_PATIENCE:.0f} s") from None
    except OSError as error:
        raise _ProbeFailed(f"{what} cannot be run: {error.strerror or error}") from None
    if done.returncode != 0:
        raise _ProbeFailed(f"{what} failed: {cleaned((done.stderr or done.stdout).strip())[:300] or 'no output'}")
    return (done.stdout or done.stderr).strip()


def is_built(row: Row) -> bool:
    """Return True if a row's program is built or needs no build; raise `BackendUnavailable` without its toolchain."""
    version = probe(row)
    return row.build is None or _target(row, version).exists()


def build(row: Row, *, again: bool = False) -> Built:
    """Build a row's program, unless the cache has it for the same sources, build line, compiler and CPU.

    Parameters
    ----------
    row : Row
        A row with a `run` line. Without a `build` line, the program is in the row's own folder.
    again : bool
        Build even if the cache has the program.

    Returns
    -------
    Built

    Raises
    ------
    BackendUnavailable
        The toolchain is absent, or the cache folder cannot be written.
    BuildFailed
        The build failed; `reason` contains the compiler's messages.
    """
    version = probe(row)
    if row.build is None:
        return Built(row.folder)
    target = _target(row, version)
    if again or not target.exists():
        try:
            _build_into(target, row, again)
        except OSError as error:
            remedy = "make room there, or set XDG_CACHE_HOME to a folder that takes files"
            raise BackendUnavailable(f"{target.parent} takes no build: {error.strerror or error}", remedy) from None
    return Built(target, _recorded_seconds(target))


def _target(row: Row, version: str) -> Path:
    return cache_folder() / f"{row.name}-{_key(row, version)}"


def _build_into(target: Path, row: Row, again: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Scratch(target.parent.parent / "building") as scratch:  # of the same file system, so that it can be renamed
        new = scratch.path / "new"
        new.mkdir()
        start = time.perf_counter()
        _compile(row, new)
        (new / _RECORD).write_text(json.dumps({"seconds": time.perf_counter() - start}), encoding="utf-8")
        if again:
            with suppress(FileNotFoundError):  # there is no earlier build, or another process is replacing it too
                target.rename(scratch.path / "old")
        _move_into_place(new, target)


def _recorded_seconds(target: Path) -> float | None:
    try:
        seconds = float(json.loads((target / _RECORD).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # a lost or altered record does not make the program unusable
    return seconds if 0 <= seconds <= _MOST_SECONDS else None


def _compile(row: Row, scratch: Path) -> None:
    folder, build, python = (shlex.quote(str(word)) for word in (row.folder, scratch, sys.executable))
    line = fill_in(str(row.build), folder, build, python)
    try:
        done = _run_build(line, scratch)
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{line!r} was not done in {_BUILD_PATIENCE:.0f} s", row.remedy) from None
    if done.returncode != 0:
        text = done.stderr + done.stdout
        if os.strerror(errno.ENOSPC) in text or shutil.disk_usage(scratch).free < _LEAST_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # the machine's fault, not the program's
        words = cleaned(text.strip()).splitlines()[:_LINES_SHOWN]
        raise BuildFailed(f"{line!r} failed:\n" + "\n".join(words), row.remedy)


def _move_into_place(scratch: Path, target: Path) -> None:
    """Rename the build to its place, or keep the one that a concurrent process has put there: they are the same."""
    try:
        scratch.rename(target)
    except OSError:
        if not target.exists():
            raise


@cache
def _cpu() -> str:
    """Return text that identifies this CPU, for which programs are compiled; "" where the system has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    )


def build_key(row: Row) -> str:
    """Return the key of a program in the cache: it stands for its sources, its build line, its compiler and this CPU.

    Raises
    ------
    BackendUnavailable
        The toolchain is absent.
    """
    return _key(row, probe(row))


def _key(row: Row, version: str) -> str:
    digest = hashlib.sha256()
    for part in (str(row.build), version, platform.node(), platform.machine(), _cpu()):
        digest.update(part.encode() + b"\0")
    for path in sorted(p for p in row.folder.rglob("*") if p.is_file() and os.access(p, os.R_OK)):
        digest.update(str(path.relative_to(row.folder)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
