"""Manifests of backends that misbehave on request, and the small workload `tiny`.

The behaviours are those of worker.py.
"""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
STEADY = "steady hello 1"


def manifest(path: Path, behaviours: Mapping[str, str], hosts: Mapping[str, str] | None = None) -> Path:
    """Write a backend.toml and return its path.

    Parameters
    ----------
    behaviours : mapping
        "BEHAVIOUR COMMAND NUMBER" by backend: it shows BEHAVIOUR from its NUMBER-th COMMAND on.
    hosts : mapping, optional
        Further lines of the table by backend, for backends other than worker.py.
    """
    python = shlex.join([sys.executable, "-S", "-E", str(WORKER)])
    lines = {name: f"run = '''{python} {behaviour}'''" for name, behaviour in behaviours.items()} | dict(hosts or {})
    tables = (
        f'[[backend]]\nname = "{name}"\nlanguage = "Python"\ndivision = "plain"\n{line}\n'
        for name, line in lines.items()
    )
    path.write_text("\n".join(tables), encoding="utf-8")
    return path


WORKLOAD = """
sizes = [4, 6, 2]
activation = "tanh"
loss = "squared_error"
l2 = 0.001
rows = 24
batch = 4
learning_rate = 0.02
"""


def suite(path: Path, budget: float = 60.0) -> Path:
    """Write a suite of one small workload, `tiny`, and return its path."""
    path.write_text(f'[suite]\nworkloads = ["tiny"]\nbudget = {budget}\n[workload.tiny]{WORKLOAD}', encoding="utf-8")
    return path
