"""The C library with a bug planted in its bias gradient."""

import shutil
import subprocess
from pathlib import Path

from pyfnn.manifest import native_folder
from support.requirements import require

LINE = "        db[j] += delta[n * m + j];\n"
BROKEN = LINE.replace("+=", "=")  # db keeps only the last row of the batch


def library(folder: Path, line: str) -> str:
    """Compile the C library with `line` where the bias gradient is summed; return the manifest lines that host it."""
    compiler = shutil.which("cc")
    require("cc", compiler is not None, "install a C compiler")
    sources = folder / "c_cuda"
    shutil.copytree(native_folder() / "c_cuda", sources)
    kernel = sources / "mlp_kernel.h"
    text = kernel.read_text(encoding="utf-8")
    assert text.count(LINE) == 1, "mlp_kernel.h no longer contains LINE: copy its present line here"
    kernel.write_text(text.replace(LINE, line), encoding="utf-8")
    built = folder / "libmine.so"
    files = [str(sources / name) for name in ("fnn.c", "mlp.c")]
    command = [str(compiler), "-std=c11", "-O1", "-shared", "-fPIC", *files, "-o", str(built), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return f"host = \"pyfnn.backends.c:Library\"\nlibrary = '{built}'"
