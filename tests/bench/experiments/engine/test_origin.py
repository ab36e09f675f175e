"""Claims about the origin of a cell's values: every source that they come from changes it, and nothing else does."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from support import cells

from bench.experiments.engine import origin
from bench.experiments.engine.cell import Cell
from bench.experiments.engine.origin import differences, key_of, load, name_of, origin_of
from pyfnn import __version__
from pyfnn.errors import InvalidInput

SOURCES = {
    "__init__.py": "",
    "used.py": "import numpy\nvalue = 1\n",
    "lazy.py": "value = 1\n",
    "other.py": "value = 1\n",
    "cells.py": "from madeup import used\ndef compute(parameters):\n    from madeup.lazy import value\n    return {}\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package whose module `cells` imports `used` and, in a function, `lazy`, but not `other`."""
    folder = tmp_path / "madeup"
    folder.mkdir()
    for name, text in SOURCES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "madeup"]:
        del sys.modules[name]


def fresh() -> dict[str, str]:
    origin_of.cache_clear()
    found = dict(origin_of("madeup.cells:compute"))
    origin_of.cache_clear()
    return found


@pytest.mark.parametrize(("name", "counts"), [("cells", True), ("used", True), ("lazy", True), ("other", False)])
def test_a_changed_source_changes_the_key_of_a_cell_where_its_values_come_from_it(
    name: str, counts: bool, package: Path
) -> None:
    before, cell = fresh(), Cell("one", {"seed": 1})
    with (package / f"{name}.py").open("a") as file:
        file.write("# changed\n")
    after = fresh()
    assert (key_of(cell, 1, before) != key_of(cell, 1, after)) == counts
    assert bool(differences(before, after)) == counts


@pytest.mark.usefixtures("package")
def test_versions_of_the_packages_that_are_used_are_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fresh()
    assert before["pyfnn"] == __version__
    assert before["numpy"] == numpy.__version__
    assert "pytest" not in before
    monkeypatch.setattr(origin, "__version__", "99")
    after = fresh()
    assert differences(before, after) == [f"pyfnn 99, here {__version__}"]
    assert key_of(Cell("one", {}), 1, before) != key_of(Cell("one", {}), 1, after)


@pytest.mark.usefixtures("package")
def test_a_change_of_the_librarys_code_in_any_language_changes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh()
    assert fresh() == before
    native = tmp_path / "native"
    native.mkdir()
    (native / "main.go").write_text("package main\n")
    monkeypatch.setattr(origin, "native_folder", lambda: native)
    assert [one.partition(" ")[0] for one in differences(before, fresh())] == ["code"]


def test_another_version_of_compute_has_other_keys() -> None:
    assert key_of(Cell("one", {}), 1, {}) != key_of(Cell("one", {}), 2, {})


def test_a_function_is_found_again_by_its_name() -> None:
    assert load(name_of(cells.compute)) is cells.compute


def test_a_function_that_workers_could_not_import_is_refused() -> None:
    def inner(parameters: object) -> dict[str, object]:
        return {"parameters": parameters}

    with pytest.raises(InvalidInput, match="must be a function of a module"):
        name_of(inner)
