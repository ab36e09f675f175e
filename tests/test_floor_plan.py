"""Claims about the floor plan: no file is too long, each says what lives there, kernels know no Python.

Import rules are in pyproject.toml, [tool.importlinter]; the lint checks them.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST = 450  # lines
SHORT_FILES = ("pyfnn", "bench", "tests", "native/cpp/tuned", "native/c_cuda")
CODE = {".py", ".c", ".h", ".cpp", ".hpp", ".cu", ".cuh"}
NETWORKS = {ROOT / "native/c_cuda/mlp.c"}  # a language's network in one file may be longer


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in CODE]


def test_no_file_is_longer_than_450_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(*SHORT_FILES)}
    assert len(lengths) > 200
    too_long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST and path not in NETWORKS}
    assert not too_long


@pytest.mark.parametrize("package", ["pyfnn", "bench"])
def test_each_module_opens_by_saying_what_lives_there(package: str) -> None:
    silent = [path for path in files(package) if path.suffix == ".py" and not _docstring(path)]
    assert not silent


def _docstring(path: Path) -> str | None:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_native_kernels_know_no_python() -> None:
    kernels = [path for path in files("native") if "python" not in path.relative_to(ROOT).parts]
    assert len(kernels) > 30
    python = re.compile(r"#\s*include\s*[<\"](pybind11|Python\.h)|namespace py\b|PyObject")
    assert not [path for path in kernels if python.search(path.read_text(encoding="utf-8"))]


def test_the_library_and_its_tests_stand_at_the_same_places() -> None:
    """Each folder of tests mirrors a folder of the tree."""
    mirrored = [path for top in ("pyfnn", "bench", "native") for path in (ROOT / "tests" / top).rglob("test_*.py")]
    assert len(mirrored) > 40
    folders = {path.parent.relative_to(ROOT / "tests") for path in mirrored}
    assert not [folder for folder in folders if not (ROOT / folder).is_dir()]
