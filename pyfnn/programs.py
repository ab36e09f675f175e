"""Builds the programs of foreign-language backends at first use, into the user's cache. Runs none of them."""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from pyfnn.errors import BackendUnavailable, BuildFailed
from pyfnn.manifest import Row

_WORDS_SHOWN = 20  # lines of a compiler's complaint
_PROBE_PATIENCE = 60.0  # seconds
_BUILD_PATIENCE = 900.0  # seconds


def cache_folder() -> Path:
    """Where built programs are kept."""
    return Path(platformdirs.user_cache_dir("pyfnn")) / "programs"


def fill_in(text: str, folder: object, build: object) -> str:
    """A line of a manifest with its {folder} and {build} in place; other braces are the line's own."""
    return text.replace("{folder}", str(folder)).replace("{build}", str(build))


def _run(command: list[str], patience: float, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=patience
    )


def probe(row: Row) -> str:
    """What the row's toolchain says of its version; "" for a row that names no probe.

    Raises
    ------
    BackendUnavailable
        It is not on PATH, or its probe fails.
    """
    if row.probe is None:
        return ""
    command = shlex.split(row.probe)
    if shutil.which(command[0]) is None:
        raise BackendUnavailable(f"{command[0]} is not on PATH", row.remedy)
    try:
        done = _run(command, _PROBE_PATIENCE)
    except subprocess.TimeoutExpired:
        raise BackendUnavailable(f"{row.probe!r} was silent for {_PROBE_PATIENCE:.0f} s", row.remedy) from None
    if done.returncode != 0:
        raise BackendUnavailable(f"{row.probe!r} failed: {(done.stderr or done.stdout).strip()[:300]}", row.remedy)
    return (done.stdout or done.stderr).strip()


def build(row: Row) -> Path:
    """The folder with a row's built program, building it where that has not been done for these sources, this build
    line and this compiler; the row's own folder where it needs no building.

    Raises
    ------
    BackendUnavailable
        The toolchain is absent.
    BuildFailed
        With the compiler's words.
    """
    version = probe(row)
    if row.build is None:
        return row.folder
    target = cache_folder() / f"{row.name}-{_key(row, version)}"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{row.name}-", dir=target.parent))
    try:
        _compile(row, scratch)
        _move_into_place(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _compile(row: Row, scratch: Path) -> None:
    line = fill_in(str(row.build), shlex.quote(str(row.folder)), shlex.quote(str(scratch)))
    try:
        done = _run(["sh", "-c", line], _BUILD_PATIENCE, cwd=scratch)
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"{line!r} was not done in {_BUILD_PATIENCE:.0f} s", row.remedy) from None
    if done.returncode != 0:
        words = (done.stderr + done.stdout).strip().splitlines()[:_WORDS_SHOWN]
        raise BuildFailed(f"{line!r} failed:\n" + "\n".join(words), row.remedy)


def _move_into_place(scratch: Path, target: Path) -> None:
    """Whoever builds the same program at the same time builds the same thing: the first one in wins."""
    try:
        scratch.rename(target)
    except OSError:
        if not target.exists():
            raise


def _key(row: Row, version: str) -> str:
    digest = hashlib.sha256()
    for part in (str(row.build), version, platform.node(), platform.machine()):
        digest.update(part.encode() + b"\0")
    for path in sorted(p for p in row.folder.rglob("*") if p.is_file() and os.access(p, os.R_OK)):
        digest.update(str(path.relative_to(row.folder)).encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
