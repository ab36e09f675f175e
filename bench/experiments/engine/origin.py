"""The code that the values of a cell come from: versions of packages and digests of sources, by their names.

It is part of every cell's key, so that values of other code are never taken for those of the present code, and workers
on other hosts must have the same.
"""

import ast
import hashlib
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from bench.experiments.engine.cell import Cell, Parameters, Values, digest
from pyfnn import __version__, compiled
from pyfnn.errors import BackendUnavailable, InvalidInput
from pyfnn.manifest import PACKAGE, native_folder

Compute = Callable[[Parameters], Values]
Origin = Mapping[str, str]

_ENGINE = "bench.experiments.engine"  # carries cells, and adds nothing to their values
_OWN = {"pyfnn", "bench"}  # whose version is pyfnn's
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where the name of a package is not that of its distribution
_GENERATED = "_build_info.py"  # names the compilers of a host
_NATIVE = {
    *(".c", ".h", ".inc", ".cpp", ".hpp", ".cu", ".cuh", ".toml"),
    *(".cs", ".d", ".f90", ".go", ".java", ".jl", ".lua", ".m", ".mjs", ".ml", ".nim", ".R", ".rs", ".zig"),
}


def name_of(compute: Compute) -> str:
    """Return the name under which workers import a function: ``module:function``.

    Raises
    ------
    InvalidInput
        It has none: it is defined in another function, or in a module that is run as a script.
    """
    module, function = compute.__module__, compute.__qualname__
    if module == "__main__" or not function.isidentifier():
        raise InvalidInput(f"compute = {module}.{function}: must be a function of a module that workers can import")
    return f"{module}:{function}"


def load(name: str) -> Compute:
    """Import a function by the name that `name_of` gave it."""
    module, _, function = name.partition(":")
    compute: Compute = getattr(import_module(module), function)
    return compute


def key_of(cell: Cell, version: int, origin: Origin) -> str:
    """Return the key of a cell's values: of its experiment and parameters, and of what computes them."""
    return digest([cell.key, version, dict(origin)])


def differences(ours: Origin, theirs: Origin) -> list[str]:
    """Return what differs, for example ``numpy 2.3.5, here 2.3.4``; digests are shortened."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return [f"{name} {_short(theirs.get(name))}, here {_short(ours.get(name))}" for name in names]


def _short(value: str | None) -> str:
    """Return a version, or the beginning of a digest."""
    if value is None:
        return "absent"
    return value[:12] if re.fullmatch("[0-9a-f]{64}", value) else value


@cache
def origin_of(name: str) -> Origin:
    """Return the origin of what a function computes in this process.

    Parameters
    ----------
    name : str
        As `name_of` returns it.

    Returns
    -------
    mapping of str to str
        Versions of Python, of pyfnn, and of the packages that the function's module and those that it imports use;
        digests of pyfnn's sources in all languages, of what its compiled parts were built from, and of those modules.
        What is imported by name at run time does not count, except in pyfnn, where everything does.
    """
    own, packages = _closure(name.partition(":")[0])
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "pyfnn": __version__,
        **{package: _version(package) for package in sorted(packages | {"numpy"})},
        "code of pyfnn": _digest(_sources()),
        "compiled parts of pyfnn": _built(),
        f"code of {name.partition(':')[0]}": _digest(sorted(own)),
    }


def _closure(module: str) -> tuple[set[Path], set[str]]:
    """Return the files of a module and of those of its own package that it imports, and the names of other packages."""
    own = module.partition(".")[0]
    files, packages, seen, waiting = set[Path](), set[str](), set[str](), [module]
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names or name.startswith(_ENGINE):
            continue
        seen.add(name)
        if top != own:
            packages |= {top} - _OWN
        elif path := _file_of(name):
            files.add(path)
            waiting += _imported(path, own)
    return files, packages


def _file_of(name: str) -> Path | None:
    """Return the source of a module; None where the name is that of something in a module."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # what comes before the last dot is no package
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _imported(path: Path, package: str) -> Iterator[str]:
    """Yield the names of the modules that a file imports, anywhere in it; names in `package` in full."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            if node.module.partition(".")[0] == package:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _version(package: str) -> str:
    try:
        return version(_DISTRIBUTIONS.get(package, package))
    except PackageNotFoundError:
        return "absent"


def _sources() -> list[Path]:
    """Return the sources of the library in all languages, in one order wherever it is installed."""
    native = native_folder()
    python = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != _GENERATED]
    manifests = [path for path in sorted(PACKAGE.rglob("*.toml")) if native not in path.parents]
    return [*python, *manifests, *(path for path in sorted(native.rglob("*")) if path.suffix in _NATIVE)]


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)} ".encode() + content)
    return found.hexdigest()


def _built() -> str:
    """Return a digest of the sources that the compiled parts were built from; "absent" without compiled parts."""
    try:
        return digest(compiled.build_info().SOURCES)
    except BackendUnavailable:
        return "absent"
