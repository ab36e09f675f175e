"""A disk that is really full: a folder in memory of a few KiB, in a process of its own that may mount one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MOUNT = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'


def with_small_disk(folder: Path, kib: int, *command: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that sees an empty disk of so many KiB at `folder`; skip the test where none can be mounted."""
    inner = ["sh", "-c", _MOUNT, "sh", f"{kib}k", str(folder)]
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("file systems of a process are Linux's, by unshare of util-linux")
    if subprocess.run([*unshare, *inner, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a file system: run as root, or allow user namespaces")
    return subprocess.run(
        [*unshare, *inner, *map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
