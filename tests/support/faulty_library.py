"""The C library with texts of its fnn.c replaced: without its argument checks, or with another fault."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from pyfnn.manifest import Row, native_folder
from support.fnn_libraries import compiler, row

_REFUSAL = re.compile(r"(?:return|status =) fail\(model, FNN_(?:INVALID|UNSUPPORTED).*?\);", re.DOTALL)


def build(folder: Path, change: Callable[[str], str]) -> Row:
    """Compile the C library with its fnn.c changed; return the row that hosts it."""
    sources = folder / "c_cuda"
    shutil.copytree(native_folder() / "c_cuda", sources)
    source = sources / "fnn.c"
    source.write_text(change(source.read_text(encoding="utf-8")), encoding="utf-8")
    library = folder / "library.so"
    files = [str(sources / name) for name in ("fnn.c", "mlp.c")]
    command = [compiler(), "-std=c11", "-O1", "-shared", "-fPIC", *files, "-o", str(library), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    manifest = folder / "backend.toml"
    manifest.write_text(
        '[[backend]]\nname = "third"\nlanguage = "C"\ndivision = "plain"\nhost = "pyfnn.backends.c:Library"\n'
        'library = "library.so"\nremedy = "ask its author"\n'
    )
    return row(library)


def replacing(texts: Mapping[str, str]) -> Callable[[str], str]:
    """Return the function that replaces these texts, each of which must be in the source."""

    def change(source: str) -> str:
        for old, new in texts.items():
            assert old in source, f"fnn.c no longer contains {old!r}: copy its present text here"
            source = source.replace(old, new)
        return source

    return change


_NEVER_MADE = 'model->created ? FNN_OK : fail(model, FNN_INVALID, "this model was never made: fnn_create failed")'


def without_checks(source: str) -> str:
    """Return fnn.c without a single check of its arguments."""
    checks = {
        "  if (model == NULL)\n    return FNN_INVALID;\n": "",
        _NEVER_MADE: "FNN_OK",
        "  if (handle == NULL)\n    return FNN_INVALID;\n": "",
        "  if (model == NULL)\n    return;\n": "",
        'model == NULL ? "out of memory" : model->error': "model->error",
    }
    return _REFUSAL.sub(";", replacing(checks)(source))


FAULTS = {  # texts to replace in fnn.c, by the claim that must fail and what must be seen
    ("a rate that is not finite", "FNN_OK from fnn_train with learning_rate = -0.1"): {"learning_rate > 0 &&": ""},
    ("ranges outside the data", "FNN_OK from fnn_forward with first = 9223372036854775807, count = 1"): {
        "count > length || first > length - count": "count > length || first + count > length"
    },
    ("batch_size and repeats below 1", "no end within 1 s of CPU time in fnn_train(batch_size=0)"): {
        "batch_size < 1": "batch_size < 0"
    },
    ("entries of order outside", "FNN_OK from fnn_load with order = […, 6, …]"): {
        "order[i] >= rows": "order[i] > rows"
    },
    ("fnn_last_error explains", "after a successful fnn_load"): {"  model->error[0] = '\\0';\n": ""},
    ("every function refuses a handle", "SIGSEGV in fnn_load"): {_NEVER_MADE: "FNN_OK"},
    ("refused calls change nothing", "exit status 3"): {
        "learning_rate < INFINITY": "(learning_rate < INFINITY || (exit(3), 0))"
    },
    ("two models share nothing", "the text of the other one is"): {
        "static int fail(": "static char last[256];\nstatic int fail(",
        "vsnprintf(model->error, sizeof model->error,": "vsnprintf(last, sizeof last,",
        "model->error[0] =": "last[0] =",
        ": model->error;": ": last;",
    },
    ("a model copies theta", "after fnn_reset: theta"): {
        "  free(network->start);\n": "",
        "  memcpy(network->start, theta, n * size);\n": "  free(network->start), network->start = (void *)theta;\n",
    },
    ("leave no memory behind", "bytes remain of each model"): {"  free(network->gradient);\n": ""},
    ("fnn_load replaces the data", "checksum differ"): {
        "network->rows = rows;": "if (rows > network->rows) network->rows = rows;"
    },
    ("it prints nothing", "bytes on stdout or stderr"): {
        "  const double start = now();\n": '  const double start = now();\n  puts("go");\n'
    },
}  # fmt: skip
