"""A repository of pyfnn with two commits, the second with a slower NumPy, and results of two revisions."""

import shutil
import subprocess
from pathlib import Path

from bench import revisions
from bench.results.schema import BackendResult, Results
from bench.results.store import save_results
from support.places import TESTS
from support.sample_results import sample_results

OLD, NEW = "aaaaaaa", "bbbbbbb"
_BEGIN, _END = "            start = self._read_clocks()\n", "            return self._seconds_since(start)\n"
_SPIN = """            begun = __import__("time").thread_time()
{code}            end = (1 + {share}) * __import__("time").thread_time() - {share} * begun
            while __import__("time").thread_time() < end:
                pass
"""


def git(folder: Path, *words: str) -> str:
    """Run git in a folder as a committer of its own, and return its output."""
    identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path, share: float, *more: str) -> Path:
    """Make a repository of this pyfnn, Python alone, in which the last commit trains with NumPy slower by `share`.

    `more` names further files and folders of the checkout to copy.
    """
    folder.mkdir()
    for name in ("pyfnn", *more):
        source = TESTS.parent / name
        if source.is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.so", "_build_info.py")
            shutil.copytree(source, folder / name, ignore=left_out)
        else:
            shutil.copy(source, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "as it is")
    slow_down(folder, share)
    git(folder, "commit", "--quiet", "--all", "--message", "slower")
    return folder


def slow_down(folder: Path, share: float) -> None:
    """Let NumPy's training spin for a share of its CPU time, within its clocks."""
    path = folder / "pyfnn" / "backends" / "numpy.py"
    before, start, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    code, end, after = rest.partition(_END)
    path.write_text(before + start + _SPIN.format(code=code, share=share) + end + after, encoding="utf-8")


def copy_package(source: Path, environment: Path) -> None:
    """Install a source tree as `bench.revisions.install` does, within milliseconds and without compiled parts."""
    shutil.copytree(source / "pyfnn", revisions.packages_folder(environment) / "pyfnn")


def two_revisions(folder: Path, change: float = 1.0, failed: str = "") -> Path:
    """Save results of cpp and c at two revisions on two workloads, and return their folder.

    The new cpp is `change` times as fast on wine-deep. The new revision of the backend `failed` has no times.
    """
    sides = [sample_results(("cpp", "c"), ("wine-deep", "digits"), a_a=False, noise=0.004, seed=s) for s in (0, 1)]
    cases = []
    for number, (new, old) in enumerate(zip(*(side.cases for side in sides), strict=True)):
        arms = [_renamed(b, NEW, change if (number, b.name) == (0, "cpp") else 1.0) for b in new.backends]
        arms = [b.model_copy(update={"status": "crashed", "reason": "ended"}) if _is(b, failed) else b for b in arms]
        cases.append(new.model_copy(update={"backends": [*arms, *(_renamed(b, OLD, 1.0) for b in old.backends)]}))
    results: Results = sides[0].model_copy(update={"cases": cases, "statistics": 1})  # computed again by the reader
    folder.mkdir()
    save_results(results, folder)
    return folder


def _is(backend: BackendResult, name: str) -> bool:
    return backend.name == f"{name}@{NEW}"


def _renamed(backend: BackendResult, revision: str, faster: float) -> BackendResult:
    name = f"{backend.name}@{revision}"
    samples = [sample.model_copy(update={"seconds": sample.seconds / faster}) for sample in backend.samples]
    return backend.model_copy(update={"name": name, "instance": name, "samples": samples})
