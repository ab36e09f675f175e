"""The harness: checks and times the backends of pyfnn and reports the results. Imports pyfnn; never the reverse.

What it needs besides pyfnn is the extra `bench`; without that, importing it fails with the remedy.
"""

import sys

from pyfnn import extra

_INSTALLS = "bench.experiments.gpu"  # the command that installs these packages itself

if not any(_INSTALLS in word for word in sys.orig_argv) and (missing := extra.missing()):
    raise ModuleNotFoundError(f"the harness needs {', '.join(missing)}: {extra.REMEDY}", name=missing[0])
