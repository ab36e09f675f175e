"""The harness: checks and times the backends of pyfnn and reports the results. Imports pyfnn; never the reverse.

What it needs besides pyfnn is the extra `bench`; without that, importing it fails with the remedy.
"""

import sys
from pathlib import Path
from types import TracebackType

from pyfnn import extra
from pyfnn.pipes import let_readers_end

_INSTALLS = "bench.experiments.gpu"  # the command that installs these packages itself
_COMMANDS = ("-m", "pyfnn", "pyfnn-bench")  # argv[0] while a command imports this package; "-m" of python -m bench.run


def _in_one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error that ended the process: for Ctrl-C while a command imports modules, a line without traceback."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if Path(next(iter(sys.argv), "")).stem in _COMMANDS:
    sys.excepthook = _in_one_line
    let_readers_end()

if not any(_INSTALLS in word for word in sys.orig_argv) and (missing := extra.missing()):
    raise ModuleNotFoundError(f"the harness needs {', '.join(missing)}: {extra.REMEDY}", name=missing[0])
