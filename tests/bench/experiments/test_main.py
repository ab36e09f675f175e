"""Claims about `python -m bench.experiments`: every experiment is listed with a line, and run by its name."""

import importlib
from pathlib import Path

import pytest
from support import cells

from bench.experiments import __main__ as command


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an experiment of cells in a module, one in a package, a script, a package of scripts and parts."""
    files = {
        "moons.py": '"""Two moons."""\nEXPERIMENT: Experiment = Experiment("moons")\n',
        "wine/__init__.py": '"""Wine,\nand more."""\nEXPERIMENT = 1\n',
        "cliffs.py": '"""Cliffs."""\nif __name__ == "__main__":\n    pass\n',
        "proof/__main__.py": '"""Proof."""\nif __name__ == "__main__":\n    pass\n',
        "proof/load.py": '"""No experiment."""\nEXPERIMENT = 1\n',
        "command.py": '"""No experiment."""\nEXPERIMENTS = 1\n',
        "__main__.py": '"""Itself."""\nif __name__ == "__main__":\n    pass\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(command, "HOME", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("home")
def test_experiments_are_found_by_what_their_modules_define() -> None:
    assert command.experiments() == {
        "cliffs": ("Cliffs.", False),
        "moons": ("Two moons.", True),
        "proof": ("Proof.", False),
        "wine": ("Wine,", True),
    }


def test_every_experiment_is_listed_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == list(command.experiments())
    assert all(len(line.split()) > 3 for line in lines)
    assert {"cliffs", "coverage"} <= set(command.experiments())


def test_an_experiment_of_cells_is_run_with_the_shared_options_also_under_a_name_with_a_hyphen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "experiments", lambda: {"two_words": command.Listed("Two words.", True)})
    monkeypatch.setattr(importlib, "import_module", lambda name: {"bench.experiments.two_words": cells}[name])
    with pytest.raises(SystemExit, match="0"):
        command.main(["two-words", "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python -m bench.experiments thirds")
    assert all(f"--{option}" in printed for option in ("backend", "seeds", "out", "workers", "scheduler", "kinds"))


def test_each_experiment_of_cells_asks_a_question() -> None:
    names = [name for name, listed in command.experiments().items() if listed.has_cells]
    assert len(names) == 6
    for name in names:
        experiment = importlib.import_module(f"{command.PACKAGE}.{name}").EXPERIMENT
        assert experiment.question.endswith("?"), name


def test_an_unknown_name_is_refused_with_the_nearest_match(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["clifs"]) == 2
    assert "did you mean 'cliffs'?" in capsys.readouterr().err
