"""The command `python -m bench.experiments NAME`: runs an experiment; without a name, lists all with a line each."""

import ast
import importlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pyfnn.errors import UnknownName

HOME = Path(__file__).parent
PACKAGE = "bench.experiments"


class Listed(NamedTuple):
    """An experiment in the list: the first line of its module, and whether the engine runs its cells."""

    about: str
    has_cells: bool


def experiments() -> dict[str, Listed]:
    """Return the experiments by the names of their modules: those that can be run or define an `EXPERIMENT`."""
    found = {}
    for path in sorted([*HOME.glob("*.py"), *HOME.glob("*/__init__.py"), *HOME.glob("*/__main__.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        has_cells, runs = any(map(_defines_cells, tree.body)), any(map(_runs, tree.body))
        if path.parent / path.name != HOME / "__main__.py" and (has_cells or runs):
            name = path.parent.name if path.name.startswith("__") else path.stem
            found[name] = Listed((ast.get_docstring(tree) or "").partition("\n")[0], has_cells)
    return dict(sorted(found.items()))


def _defines_cells(statement: ast.stmt) -> bool:
    """Return True for ``EXPERIMENT = ...``."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == "EXPERIMENT" for target in targets)


def _runs(statement: ast.stmt) -> bool:
    """Return True for ``if __name__ == "__main__"``."""
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment with the name that comes first.

    Returns
    -------
    int
        Exit status: that of the experiment; 2 for an unknown one.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    known = experiments()
    if not words or words[0] in ("-h", "--help"):
        width = max(map(len, known))
        print("usage: python -m bench.experiments NAME ...\n")
        print("\n".join(f"{name:{width}}  {listed.about}" for name, listed in known.items()))
        return 0
    name = words[0].replace("-", "_")
    if name not in known:
        print(f"bench.experiments: {UnknownName('experiment', words[0], known)}", file=sys.stderr)
        return 2
    if known[name].has_cells:
        from bench.experiments.engine.command import main as run_cells  # not in each process of the pool, which is slow

        return run_cells(importlib.import_module(f"{PACKAGE}.{name}").EXPERIMENT, words[1:])
    sys.argv = [f"{PACKAGE}.{name}", *words[1:]]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
