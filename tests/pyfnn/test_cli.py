"""Claims about the console command `pyfnn`: it finds its own harness, wherever it is called."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support.requirements import require

import pyfnn
from pyfnn import cli


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyfnn", *words]
    variables = {**os.environ, "COLUMNS": "80", **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder with a package of another origin that is named `bench`, too."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise ImportError('another project's bench')\n")
    return tmp_path


def test_the_command_runs_beside_a_folder_named_bench_that_is_on_pythonpath_too(foreign: Path) -> None:
    done = run(foreign, "run", "--list", PYTHONPATH=str(foreign))
    assert (done.returncode, done.stderr) == (0, "")
    assert "wine-deep" in done.stdout


def test_the_installed_script_is_the_same_command(foreign: Path) -> None:
    script = shutil.which("pyfnn", path=sysconfig.get_path("scripts"))
    require("script", script is not None, "install pyfnn (pip install -e .)")
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([str(script), "run", "--help"], cwd=foreign, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(foreign, "run", "--help").stdout


def test_the_command_prints_its_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"pyfnn {pyfnn.__version__}\n"


def test_help_lists_every_command_within_80_columns(tmp_path: Path) -> None:
    text = run(tmp_path, "--help").stdout
    assert all(f"    {name} " in text or f"    {name}\n" in text for name in cli.COMMANDS)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_answers_help(name: str, tmp_path: Path) -> None:
    done = run(tmp_path, name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_experiments_are_listed_and_run(tmp_path: Path) -> None:
    listed = [line.split()[0] for line in run(tmp_path, "experiments").stdout.splitlines()[2:]]
    assert {"article_gradient", "cliffs", "coverage", "crossing", "proof"} <= set(listed)
    assert "dW_1" in run(tmp_path, "experiments", "article_gradient").stdout


def test_an_unknown_experiment_is_refused_with_the_nearest_match(tmp_path: Path) -> None:
    done = run(tmp_path, "experiments", "crosing")
    assert done.returncode == 2
    assert "did you mean 'crossing'?" in done.stderr


@pytest.mark.parametrize("words", [[], ["walk"]])
def test_an_unknown_command_exits_with_2(words: list[str], tmp_path: Path) -> None:
    done = run(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: pyfnn")


def test_a_commands_exit_status_is_passed_on(tmp_path: Path) -> None:
    done = run(tmp_path, "plot", "nowhere")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
