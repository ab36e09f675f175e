"""Claims about every program in native/: it passes the conformance kit, and a bug planted in it is caught and named.

No language is named here, so that the claims hold for the next language, too. planted.toml in each language's folder
has the bugs to plant.
"""

import shutil
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.requirements import require
from support.runs import SHORT
from support.strategies import targets
from support.topics import OF_PROCESS, TIMED, UNTIMED, manifest_passes, passes

import bench
import pyfnn
from bench import run, stages
from bench.results.store import load_results
from pyfnn import parity, programs, registry
from pyfnn.errors import BackendUnavailable, BuildFailed
from pyfnn.manifest import Row, native_folder
from pyfnn.network import Network, initialize
from pyfnn.process.model import ProcessModel
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROWS = {name: row for name, row in registry.rows().items() if row.host is None}
FIRST = {row.folder: name for name, row in reversed(ROWS.items())}  # of a folder; its other rows differ by flags
LANGUAGES = [name for name in ROWS if name in FIRST.values()]
KIT = [(name, topics) for name in ROWS for topics in (TIMED, UNTIMED) if name in LANGUAGES or topics == UNTIMED]
OF_PATH = {name: row for name, row in ROWS.items() if not str(row.probe).startswith("{python}")}  # their toolchains
SHIPPED = ("fortran", "zig-fast")  # an example, and a program that takes its name from how it is built
ARTICLE = "the article's gradient: dW from the pre-activations of the layer below"


class Bug(NamedTuple):
    """A replacement in a copy of a language's folder, after which the battery must name `tensor`.

    activation: that of the hidden layers, "" for tanh and sigmoid.
    """

    name: str
    what: str
    file: str
    old: str
    new: str
    tensor: str
    activation: str = ""


def planted(name: str) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((ROWS[name].folder / "planted.toml").read_text(encoding="utf-8"))
    return content


def bugs(name: str) -> list[Bug]:
    return [Bug(name, **bug) for bug in planted(name)["bug"]]


BUGS = [bug for name in LANGUAGES for bug in bugs(name)]


def need(name: str) -> Row:
    """Build a row's program and return the row; skip the test if the toolchain is absent."""
    row = ROWS[name]
    try:
        programs.build(row)
        found = True
    except BuildFailed:
        raise
    except BackendUnavailable:
        found = False
    require(name, found, row.remedy)
    return row


def quick(row: Row) -> Row:
    """Return the row of a program that is built in less time and runs slower, where its planted.toml says how."""
    if "quick" not in planted(row.name):
        return row
    old, new = planted(row.name)["quick"]
    lines = (str(row.build or ""), str(row.run))
    found = sum(line.count(old) for line in lines)
    if found == 0 and row.name not in LANGUAGES:  # it has flags of its own
        return row
    assert found == 1, f"{row.name}: {old!r} is not once in its build and run lines"
    build, run = (line.replace(old, new) for line in lines)
    return replace(row, build=build or None, run=run)


@cache
def battery(activation: str) -> list[parity.Trial]:
    """Return the trials of a network on which every kind of bug has an effect, in the dtype of the wider bounds."""
    rng = np.random.default_rng(1)
    network = Network((5, 7, 4, 3), activation or ("tanh", "sigmoid"), "squared_error", l2=0.01, dtype="float32")
    x = rng.normal(size=(60, 5)).astype(network.dtype)
    return parity.battery(network, initialize(network, 2), x, targets(network, 60, rng), 4)


@pytest.mark.parametrize(
    ("name", "topics"), KIT, ids=lambda word: {TIMED: "timing and memory", UNTIMED: "other topics"}.get(word, word)
)
def test_a_program_passes_the_conformance_kit(
    name: str, topics: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = need(name)
    # The claims about its manifest need a further build, but no fast one: that is tried for SHIPPED.
    if topics == UNTIMED and name not in SHIPPED and quick(row) != row:
        topics = OF_PROCESS
        with monkeypatch.context() as patch:
            patch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
            assert manifest_passes(quick(row)), capsys.readouterr().out
    assert passes(topics, "--backends", name), capsys.readouterr().out


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_has_at_least_four_bugs_to_plant_the_articles_among_them(name: str) -> None:
    found = bugs(name)
    assert len(found) >= 4
    assert ARTICLE in [bug.what for bug in found]
    for bug in found:
        assert (ROWS[name].folder / bug.file).read_text(encoding="utf-8").count(bug.old) == 1, bug.what


@pytest.mark.parametrize("name", [name for name in LANGUAGES if "quick" in planted(name)])
def test_without_a_bug_a_program_that_is_built_in_less_time_is_right(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    with Worker(command_of(quick(ROWS[name]))) as worker:
        evidence = parity.examine(lambda network, theta: ProcessModel(worker, network, theta), battery("tanh"))
    assert not evidence.failures, evidence.failures


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.name}: {bug.what}")
def test_a_planted_bug_is_caught_and_its_tensor_named(
    bug: Bug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(bug.name)
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    folder = tmp_path / bug.name
    shutil.copytree(ROWS[bug.name].folder, folder)
    source = folder / bug.file
    source.write_text(source.read_text(encoding="utf-8").replace(bug.old, bug.new), encoding="utf-8")
    broken = replace(quick(ROWS[bug.name]), manifest=folder / "backend.toml")
    with Worker(command_of(broken)) as worker:
        evidence = parity.examine(lambda network, theta: ProcessModel(worker, network, theta), battery(bug.activation))
    assert bug.tensor in {failure.what for failure in evidence.failures}, evidence.failures


@pytest.fixture
def nothing_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "Settings", SHORT)
    monkeypatch.setattr(stages, "_probe", lambda *_: None)
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("nothing_on_path")
def test_without_any_toolchain_on_path_the_run_continues_and_prints_each_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ",".join(["numpy", *OF_PATH])
    assert run.main(["--backends", names, "--workloads", "wine-shallow", "--budget", "5", "--out", "out"]) == 0
    (case,) = load_results(tmp_path / "out").cases
    printed = " ".join(capsys.readouterr().out.split())
    status = {backend.name: backend.status for backend in case.backends}
    assert status == {"numpy": "ok", **dict.fromkeys(OF_PATH, "unavailable")}
    for backend in case.backends:
        if backend.name in OF_PATH:
            assert backend.reason.endswith("is not on PATH")
            assert backend.remedy == ROWS[backend.name].remedy
            assert " ".join(backend.remedy.split()) in printed


def test_every_folder_of_a_language_is_a_backend_and_its_counted_sources_exclude_the_protocol() -> None:
    assert {path.parent for path in native_folder().glob("*/planted.toml")} == {row.folder for row in ROWS.values()}
    for name, row in ROWS.items():
        assert row.division in (("textbook", "plain") if name in LANGUAGES else ("textbook", "tuned"))
        assert row.remedy
        assert row.probe
        assert not any("worker" in path.name.lower() for path in row.source_files()), row.name


def test_no_python_module_names_a_language() -> None:
    ours = [path for package in (pyfnn, bench) for path in Path(str(package.__file__)).parent.glob("**/*.py")]
    assert len(ours) > 50
    for path in ours:
        text = path.read_text(encoding="utf-8")
        for name in (name for name in ROWS if len(name) > 1 and name != "python"):  # these words have other meanings
            assert f'"{name}"' not in text, path
