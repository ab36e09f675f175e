"""The harness: checks and times the backends of pyfnn and reports the results. Imports pyfnn; never the reverse.

What it needs besides pyfnn is the extra `bench`; without that, importing it fails with the remedy.
"""

from pyfnn import extra

if missing := extra.missing():
    raise ModuleNotFoundError(f"the harness needs {', '.join(missing)}: {extra.REMEDY}", name=missing[0])
