"""Installs what pyfnn needs and this Python lacks, from a folder of wheels. A package without a wheel stops no other.

Needs nothing but Python's standard library.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from bench.experiments.gpu.plan import BUILDERS, HERE, REQUIRED


def missing() -> list[str]:
    """Return the packages that are absent, and those of programs that are absent."""
    absent = [name for name in REQUIRED if not _installed(name)]
    return absent + [name for name in BUILDERS if not (shutil.which(name) or _installed(name))]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def install(names: Sequence[str], wheels: Path) -> bool:
    """Install packages from the wheels; return True where all could be."""
    pip = (sys.executable, "-m", "pip", "install", "--no-index", "--disable-pip-version-check")
    done = subprocess.run([*pip, "--find-links", str(wheels), *names], check=False)
    return done.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the step; return 1 where a package stays absent."""
    p = argparse.ArgumentParser(prog=f"python -m {HERE}.packages", description=__doc__)
    p.add_argument("--wheels", type=Path, required=True, metavar="DIR")
    arguments = p.parse_args(argv)
    names = missing()
    if not names or install(names, arguments.wheels):
        return 0
    absent = [name for name in names if not install([name], arguments.wheels)]
    if absent:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        print(f"not installed: {', '.join(absent)}: {arguments.wheels} has no wheel of it for Python {version}")
    return int(bool(absent))


if __name__ == "__main__":
    sys.exit(main())
