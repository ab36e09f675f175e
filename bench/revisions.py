"""Revisions of the repository, each installed in an environment of its own, and the manifests of their backends.

Environments are kept in the user's cache, one for each commit, interpreter and machine. Measures nothing.
"""

import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import platformdirs

from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row, at_revision, manifests_of, read_manifest
from pyfnn.programs import run_command

_LINES_SHOWN: Final = 20  # of a failed command's output
_PATIENCE: Final = 3600.0  # seconds for a command: pip compiles
# Modules that need not be fetched where this Python has them.
_BUILD_REQUIREMENTS: Final = ("scikit_build_core", "setuptools_scm", "pybind11", "cmake")
_MANIFEST: Final = "revision.toml"  # beside each manifest of the environment that has one


class Revision(NamedTuple):
    """A commit of the repository. `label` is its short name, as in ``cpp@1a2b3c4``."""

    commit: str
    label: str


class RevisionError(PyfnnError):
    """A revision that cannot be found, built or read; the message names the step and its output."""


def repository_of(folder: Path) -> Path:
    """Return the top of the git repository that holds a folder."""
    return Path(_git(folder, "rev-parse", "--show-toplevel"))


def find(repository: Path, name: str) -> Revision:
    """Return the commit that a branch, tag or other name of git stands for."""
    try:
        commit = _git(repository, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}")
    except RevisionError:
        raise RevisionError(f"{name!r} is no commit, branch or tag of {repository}") from None
    return _revision(repository, commit)


def working_tree(repository: Path) -> Revision:
    """Return the working tree as a commit: the last one or, where tracked files differ from it, a new one on no branch.

    Files that git does not track are no part of it.
    """
    changed = _git(repository, "status", "--porcelain", "--untracked-files=no")
    return _revision(repository, _git(repository, *(("stash", "create") if changed else ("rev-parse", "HEAD"))))


def _revision(repository: Path, commit: str) -> Revision:
    return Revision(commit, _git(repository, "rev-parse", "--short=7", commit))


def is_built(revision: Revision) -> bool:
    """Return True where the environment of a revision exists."""
    return _environment(revision).exists()


def build(repository: Path, revision: Revision) -> Path:
    """Install a revision in an environment of its own, unless the cache has it, and return the environment.

    The environment borrows the packages of this interpreter, so that both revisions run on the same ones.

    Raises
    ------
    RevisionError
        git or pip failed; the message ends with their last lines.
    """
    target = _environment(revision)
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{target.name}-", dir=target.parent, ignore_cleanup_errors=True
    ) as scratch:
        source, environment = Path(scratch) / "source", Path(scratch) / "environment"
        _export(repository, revision, source)
        venv.EnvBuilder(symlinks=True).create(environment)
        _borrow(packages_folder(environment))
        install(source, environment)
        _move_into_place(environment, target)
    return target


def _move_into_place(environment: Path, target: Path) -> None:
    """Rename the environment, or keep the one that a concurrent process has put there: they are the same."""
    try:
        environment.rename(target)
    except OSError as error:
        if not target.exists():
            raise RevisionError(f"{target}: {error.strerror or error}") from None


def packages_folder(environment: Path) -> Path:
    """Return the site-packages folder of an environment."""
    return environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def python_of(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / "bin" / "python"


def install(source: Path, environment: Path) -> None:
    """Install a source tree of pyfnn in an environment, without its dependencies."""
    command = [sys.executable, "-m", "pip", "--python", str(python_of(environment)), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-deps", "--ignore-installed"]
    if all(map(find_spec, _BUILD_REQUIREMENTS)):
        command.append("--no-build-isolation")
    _run([*command, str(source)], source)


def write_manifests(revision: Revision, environment: Path, names: Collection[str]) -> list[Path]:
    """Write the manifests of a revision's backends, each a program that its interpreter hosts or that is built.

    Parameters
    ----------
    revision : Revision
    environment : Path
        Where it is installed.
    names : collection of str
        Backends; those that the revision lacks are left out.

    Returns
    -------
    list of Path
        In the environment, beside the revision's own manifests.

    Raises
    ------
    InvalidInput
        This version cannot read a manifest of the revision.
    """
    written = []
    for manifest in manifests_of(packages_folder(environment) / "pyfnn"):
        rows = [row for row in read_manifest(manifest) if row.name in names]
        if rows:
            path = manifest.with_name(_MANIFEST)
            path.write_text("\n".join(_table(row, revision, environment) for row in rows), encoding="utf-8")
            written.append(path)
    return written


def _table(row: Row, revision: Revision, environment: Path) -> str:
    """Return the table of a backend at a revision."""
    hosted = shlex.join([str(python_of(environment)), "-I", "-m", "pyfnn.worker", row.name])
    program = {} if row.host is not None else {"build": row.build, "probe": row.probe}
    fields = {
        "name": at_revision(row.name, revision.label),
        "language": row.language,
        "division": row.division,
        "device": row.device,
        "remedy": row.remedy,
        "run": row.run if row.host is None else hosted,
        **program,
    }
    native = os.path.relpath(packages_folder(environment) / "pyfnn" / "native", row.folder)
    sources = [f"{native}/{s.removeprefix('native/')}" if s.startswith("native/") else s for s in row.sources]
    lines = [f"{key} = {_toml(value)}" for key, value in fields.items() if value is not None]
    return "\n".join(["[[backend]]", *lines, f"sources = [{', '.join(map(_toml, sources))}]", ""])


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _environment(revision: Revision) -> Path:
    """Return the place of a revision's environment: compiled for this machine, with this interpreter's packages."""
    here = "\0".join((sys.version, sys.prefix, platform.node(), platform.machine()))
    key = hashlib.sha256(here.encode()).hexdigest()[:8]
    return Path(platformdirs.user_cache_dir("pyfnn")) / "revisions" / f"{revision.commit[:16]}-{key}"


def _export(repository: Path, revision: Revision, folder: Path) -> None:
    """Write the files of a revision into a new folder."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    _git(repository, "archive", f"--output={archive}", revision.commit)
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    if not (folder / "pyfnn" / "worker.py").exists():
        raise RevisionError(f"{revision.label} of {repository} has no pyfnn/worker.py: is it a repository of pyfnn?")


def _borrow(packages: Path) -> None:
    """Let an environment import the packages that this interpreter imports, after its own."""
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "zz_borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed), encoding="utf-8")


def _git(folder: Path, *words: str) -> str:
    return _run([shutil.which("git") or "git", *words], folder)


def _run(command: Sequence[str], folder: Path) -> str:
    """Run a command and return its output; raise `RevisionError` with its last lines where it fails."""
    try:
        done = run_command(list(command), _PATIENCE, folder)
    except OSError as error:
        raise RevisionError(f"{command[0]}: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise RevisionError(f"{command[0]} was not done in {_PATIENCE:.0f} s") from None
    if done.returncode != 0:
        words = [Path(command[0]).name, *command[1:3]]
        last = (done.stderr or done.stdout).strip().splitlines()[-_LINES_SHOWN:]
        raise RevisionError(f"{' '.join(words)} failed:\n" + "\n".join(last))
    return done.stdout.strip()
