"""Claims about the command line of a run: the choice of backends, rejected arguments, programs to build, `--list`."""

import ast
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import misbehaving
import pytest
from support.runs import TINY, enter_folder

from bench import run, stages
from bench.results.store import load_results
from bench.suites import load
from bench.suites.suite import CaseKey
from pyfnn import programs, registry
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import Row


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "quik"], ("unknown suite 'quik'", "did you mean 'quick'?", "known: ")),
        (["--workloads", "wine-depe"], ("unknown workload 'wine-depe'", "did you mean 'wine-deep'?", "mlp")),
        (["--backends", "numpy,nunpy"], ("unknown backend 'nunpy'", "did you mean 'numpy'?")),
        (["--reference", "numby"], ("unknown backend 'numby'", "did you mean 'numpy'?")),
        (["--operations", "trian"], ("unknown operation 'trian'", "did you mean 'train'?", "forward")),
        (["--optimizer", "sgd,adma"], ("unknown optimizer 'adma'", "did you mean 'adam'?")),
        (["--optimizer", "adam(0.9,2)"], ("beta_2 = 2.0", "must lie in [0, 1)")),
        (["--dtype", "float23"], ("unknown dtype 'float23'", "did you mean 'float32'?")),
        (["--threads", "0"], ("threads = '0'", "at least 1, or all")),
        (["--threads", "1,many"], ("threads = 'many'", "at least 1, or all")),
        (["--threads", "4096"], ("threads = 4096", "this process may use")),
        (["--backends", ","], ("--backends ','", "names nothing")),
        (["--workloads", ""], ("--workloads ''", "names nothing")),
        (
            ["--suite", "batch", "--workloads", "digits"],
            ("--workloads digits", "suite batch sweeps wine-deep along batch", "has no other workloads"),
        ),
        (["--suite", "threads", "--threads", "4096"], ("threads = 4096", "this process may use")),
        (["--backend", "nowhere.toml"], ("nowhere.toml", "No such file")),
        (["--suite", "nowhere.toml"], ("nowhere.toml", "No such file")),
    ],
)
def test_an_unknown_name_is_rejected_with_the_nearest_one_and_status_2_and_writes_nothing(
    arguments: list[str], words: Sequence[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("pyfnn: ")
    for word in words:
        assert word in error
    assert list(folder.iterdir()) == []


HEAVY = (
    "bench.stages",
    "bench.measure",
    "bench.report",
    "matplotlib",
    "scipy",
    "sklearn",
    "psutil",
    "cpuinfo",
    "jinja2",
)


def test_help_imports_none_of_what_measures_and_draws() -> None:
    code = "try: run.main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nfrom bench import run\n{code}"], capture_output=True, text=True, check=True
    )
    assert "--workloads" in done.stdout
    imported = ast.literal_eval(done.stdout.splitlines()[-1])
    assert not [name for name in imported if name in HEAVY]


def test_the_default_leaves_out_frameworks_and_devices_prints_them_and_keeps_added_backends(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = registry.rows()
    table = misbehaving.manifest(folder / "mine.toml", {"mine": misbehaving.STEADY})
    table.write_text(table.read_text(encoding="utf-8").replace("plain", "framework"), encoding="utf-8")
    measured: list[str] = []
    monkeypatch.setattr(stages, "measure", lambda plan, *_: measured.extend(row.name for row in plan.rows))
    monkeypatch.setattr(stages, "_probe", lambda *_: None)
    assert run.main(["--backend", str(table), "--out", "out"]) == 1  # nothing was timed
    hosted = [row for row in rows.values() if row.host and not row.build and row.device == "cpu"]
    expected = (row.name for row in hosted if row.division in ("plain", "tuned"))
    assert measured == [*expected, "mine"]
    printed = capsys.readouterr().out
    first = [row.name for row in rows.values() if row.host and not row.build and row.name not in measured]
    assert {"c-textbook", "jax", "torch-cuda", "cuda-blas"} <= set(first)
    assert f"not in suite quick: {', '.join(first)}, " in printed
    assert "(framework, on cuda, programs, textbook)" in printed
    measured.clear()
    assert run.main(["--suite", "frameworks", "--out", "all"]) == 1
    assert measured == [row.name for row in hosted if row.division != "textbook"]
    assert (
        f"not in suite frameworks: {next(name for name in first if name not in measured)}, " in capsys.readouterr().out
    )
    measured.clear()
    assert run.main(["--backends", "numpy,sklearn", "--out", "two"]) == 1
    assert measured == ["numpy", "sklearn"]
    assert "not in suite" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--budget", "--precision", "--timeout"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_an_impossible_number_is_rejected_with_the_rule(
    option: str, value: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run.main([f"{option}={value}"])
    assert caught.value.code == 2
    assert f"argument {option}: '{value}': must be a finite number above 0" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_an_unknown_dataset_is_reported_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = folder.parent / "tiny.toml"
    suite.write_text(suite.read_text() + 'data = "digit"\n')
    assert run.main(TINY) == 2
    assert "did you mean 'digits'?" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["journal.jsonl", "results.json"])
def test_a_folder_that_holds_a_run_is_not_written_to(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "out").mkdir()
    (folder / "out" / name).write_text("precious")
    assert run.main([*TINY, "--out", "out"]) == 2
    assert "--out out: holds the results of a run already" in capsys.readouterr().err
    assert (folder / "out" / name).read_text() == "precious"


def compiled_manifest(folder: Path, build: str) -> tuple[list[str], Path]:
    """Return options that select a program, `made`, and the file in which each of its builds leaves a line.

    The shell runs `build` after writing the line.
    """
    log = folder / "log" / "builds"  # not beside the sources: a change there causes a build
    log.parent.mkdir()
    worker = shlex.join([sys.executable, "-S", "-E", str(misbehaving.WORKER), *misbehaving.STEADY.split()])
    table = f'run = "{worker}"\nbuild = "echo built >> {log}; {build}"\nremedy = \'get it\''
    source = folder / "made"
    source.mkdir()
    manifest = misbehaving.manifest(source / "backend.toml", {"steady": misbehaving.STEADY}, {"made": table})
    selected = ["--backend", str(manifest), "--backends", "steady,made", "--reference", "steady"]
    return [*selected, "--suite", str(folder / "tiny.toml"), "--precision", "1000"], log


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")


@pytest.mark.usefixtures("own_cache")
def test_a_program_is_built_once_before_any_clock_starts_and_again_on_request(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, log = compiled_manifest(folder.parent, "sleep 0.2")
    for out, more, builds in (("a", [], 1), ("b", [], 1), ("c", ["--rebuild"], 2)):
        assert run.main([*options, "--out", out, *more]) == 0
        assert log.read_text().splitlines() == ["built"] * builds
        assert ("building made" in capsys.readouterr().out) == (out != "b")
        made = next(b for b in load_results(folder / out).cases[0].backends if b.instance == "made")
        assert made.build_seconds is not None
        assert 0.2 <= made.build_seconds < 20
        assert "build, s" in (folder / out / "summary.md").read_text()


@pytest.mark.usefixtures("own_cache")
def test_a_failing_build_is_tried_once_shows_the_output_of_the_compiler_and_affects_no_other_backend(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, log = compiled_manifest(folder.parent, "echo 'fnn.x:3: error: no such word' >&2; exit 1")
    assert run.main([*options, "--dtype", "float32,float64", "--out", "a"]) == 0
    assert log.read_text().splitlines() == ["built"]
    printed = capsys.readouterr().out
    assert "fnn.x:3: error: no such word" in printed
    assert "remedy: get it" in printed
    for case in load_results(folder / "a").cases:
        assert {b.name: b.status for b in case.backends} == {"steady": "ok", "made": "build_failed"}


@pytest.mark.usefixtures("own_cache")
def test_list_builds_nothing_and_names_the_programs_to_build(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    options, log = compiled_manifest(folder.parent, "true")
    assert run.main(["--list", *options]) == 0
    assert "built at first use" in " ".join(capsys.readouterr().out.split())
    assert not log.exists()


def test_list_shows_suites_workloads_and_available_backends_and_measures_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run.main(["--list", *TINY]) == 0
    printed = capsys.readouterr().out
    for word in (*load.built_in_suites(), *load.built_in_workloads(), *registry.rows(), "tiny", "4-6-2 tanh"):
        assert word in printed
    assert "digits along width, 16 to 512" in printed
    assert "mlp along threads, 1 to all" in printed
    steady, exiting = (next(line for line in printed.splitlines() if name in line) for name in ("steady", "exiting"))
    assert "available" in steady
    assert "unavailable" in exiting
    assert list(folder.iterdir()) == []


def test_list_shows_a_remedy_with_its_brackets(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(row: Row) -> None:
        raise BackendUnavailable(f"no library of {row.name}", "pip install 'pyfnn[torch]'")

    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr("bench.arguments.availability_of", absent)
    assert run.main(["--list"]) == 0
    assert capsys.readouterr().out.count("pip install 'pyfnn[torch]'") == len(registry.rows())
    assert list(folder.iterdir()) == []


def test_an_empty_name_of_a_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run.main(["--out", ""])
    assert exit_.value.code == 2
    assert "argument --out: an empty name" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder")
def test_a_sweep_along_threads_uses_the_requested_thread_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.suites.load.all_threads", lambda: 8)
    measured: list[CaseKey] = []
    monkeypatch.setattr(stages, "measure", lambda plan, *_: measured.extend(plan.keys))
    monkeypatch.setattr(stages, "_probe", lambda *_: None)
    options = ["--suite", "threads", "--backends", "numpy"]
    assert run.main([*options, "--out", "all"]) == 1  # nothing was timed
    assert [key.threads for key in measured] == [1, 2, 4, 8]
    measured.clear()
    assert run.main([*options, "--threads", "1,all", "--dtype", "float64", "--out", "some"]) == 1
    assert [(key.threads, key.sweep and key.sweep.value, key.dtype) for key in measured] == [
        (1, 1, "float64"),
        (8, 8, "float64"),
    ]
    assert capsys.readouterr().err == ""
