"""The harness: checks and times the backends of pyfnn and reports the results. Imports pyfnn; never the reverse.

What it needs besides pyfnn is the extra `bench`; without that, importing it fails with the remedy.
"""

from importlib.util import find_spec

from pyfnn.errors import EXTRA

_NEEDED = ("cffi", "cpuinfo", "matplotlib", "platformdirs", "psutil", "pydantic", "rich", "scipy")

if missing := [name for name in _NEEDED if find_spec(name) is None]:
    raise ModuleNotFoundError(f"bench needs {', '.join(missing)}: {EXTRA}", name=missing[0])
