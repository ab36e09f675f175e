"""Claims about altered results and journals: every command reads them, or names file and place in one line.

The alterations are of the content, field by field, and of the bytes.
"""

import copy
import io
import json
import random
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.sample_results import ceilings_line, events, results_of

from bench import compare, export, history, plot, run, stages, unexpected
from bench.experiments.command import run_command
from bench.experiments.digits import EXPERIMENT as DIGITS
from bench.experiments.engine import command as engine
from bench.fleet import __main__ as fleet
from bench.report import __main__ as report_page
from bench.results.journal import JOURNAL, RESULTS, read_journal
from bench.results.schema import ResultsError
from bench.results.so_far import so_far
from bench.results.store import load_results, save_results

NESTED: Any = 0
for _ in range(200):
    NESTED = [NESTED]
VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        2**31,
        2**53,
        2**63,
        10**30,
        10**400,
        -(10**400),
        0.0,
        0.5,
        1e-300,
        5e-324,
        1e300,
        -1e300,
    ),
    *(
        "",
        "x",
        "numpy",
        "ok",
        "\x00",
        "\x1b[2J",
        "[bold]",
        "](http://x)",
        "../../x",
        "a\nb|c",
        "\ud800",
        "y" * 3000,
        "NaN",
    ),
    *([], {}, [0], [None, {}], {"": 0}, {"seconds": 1}, NESTED),
)
SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
Alter = Callable[[Any], None]


@cache
def lines() -> str:
    """Return the journal of a small run, with every kind of event that a report reads."""
    made = [
        *events(("numpy", "cpp", "go"), ("wine-deep",), {"go": "crashed"}, launches=3, rounds=2),
        ceilings_line(500.0),
    ]
    made.append({"event": "warning", "when": "after", "name": "load", "message": "m", "remedy": "r"})
    made.append({"event": "host_state", "when": "before", "busy_cpus": 0.5, "steal": 0.0})
    made.append({"event": "device_state", "case": 0, "launch": 1, "round": 0, "sm_mhz": 1500.0, "held_down": ["heat"]})
    made.append({"event": "resume", "begun": "2025-01-01T00:00:00+00:00", "more_seconds": 5.0})
    return json.dumps(made)


@cache
def text() -> str:
    """Return the results of that run, as results.json has them."""
    return results_of(json.loads(lines())).model_dump_json(by_alias=True)


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container with each of its keys or indices."""
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], (dict, list)):
            yield from places(data[key])


def _replace(container: Any, key: Any, value: Any) -> None:
    container[key] = value


def _remove(container: Any, key: Any, value: Any) -> None:
    del value, container[key]


def _repeat(container: Any, key: Any, value: Any) -> None:
    if isinstance(container, list):
        container.insert(key, container[key])
    else:
        container[str(value)[:50]] = container[key]


CHANGES = (_replace, _replace, _replace, _remove, _repeat)


@st.composite
def altered(draw: st.DrawFn, source: Callable[[], str]) -> Any:
    """Draw the content of a file with one to three alterations."""
    data = json.loads(source())
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(data))
        if not found:
            break
        container, key = found[draw(st.integers(0, len(found) - 1))]
        draw(st.sampled_from(CHANGES))(container, key, copy.deepcopy(draw(st.sampled_from(VALUES))))
    return data


def write(folder: Path, data: Any, name: str) -> Path:
    """Write altered content into a folder of its own."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    whole = "".join(json.dumps(line) + "\n" for line in data) if name == JOURNAL else json.dumps(data)
    (folder / name).write_text(whole, encoding="utf-8")
    return folder


def reads(folder: Path) -> bool:
    """Read the results of a folder; return False where they are refused, by an error that names the file."""
    try:
        load_results(folder)
    except ResultsError as error:
        refusal = str(error)
    else:
        return True
    assert str(folder) in refusal
    return False


def holds(main: Callable[[Sequence[str]], int], *words: object) -> None:
    """Run a command: it succeeds, or refuses in one line; neither a traceback nor the last handler."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(word) for word in words])
    printed = err.getvalue()
    assert status in (0, 1, 2), printed
    assert "please report it" not in printed
    assert (status == 2) == bool(printed), printed
    assert printed.count("\n") <= 1, printed


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    save_results(results_of(json.loads(lines())), folder)
    return folder


def read_by_every_command(folder: Path, sound: Path) -> None:
    if not reads(folder):
        holds(plot.main, folder)
        return
    holds(compare.main, sound, folder, "--force", "--markdown", folder / "out.md", "--json", folder / "out.json")
    holds(compare.main, "--combine", folder, sound)
    holds(compare.main, folder)
    holds(history.main, sound, folder, "--force")
    holds(report_page.main, folder, "--out", folder / "page.html")
    for kind in ("csv", "pyperf"):
        holds(export.main, folder, "--to", kind)


@settings(SETTINGS, max_examples=150)
@given(altered(text))
def test_altered_results_are_read_or_refused_by_name(sound: Path, tmp_path: Path, data: Any) -> None:
    read_by_every_command(write(tmp_path / "run", data, RESULTS), sound)


@settings(SETTINGS, max_examples=150)
@given(altered(lines))
def test_an_altered_journal_is_read_or_refused_by_name(sound: Path, tmp_path: Path, data: Any) -> None:
    folder = write(tmp_path / "run", data, JOURNAL)
    read_by_every_command(folder, sound)
    with suppress(ResultsError):
        so_far(read_journal(folder / JOURNAL))


@settings(SETTINGS, max_examples=12)
@given(altered(lines))
def test_an_altered_journal_is_drawn_or_refused_by_name(tmp_path: Path, data: Any) -> None:
    folder = write(tmp_path / "run", data, JOURNAL)
    holds(plot.main, folder, "--out", tmp_path / "figures")
    holds(history.main, folder, "--out", tmp_path / "history")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_altered_journals_are_drawn_or_refused_by_name(sound: Path, tmp_path: Path) -> None:
    @settings(SETTINGS, max_examples=3000)
    @given(altered(lines), st.booleans())
    def check(data: Any, drawn: bool) -> None:
        folder = write(tmp_path / "run", data, JOURNAL)
        read_by_every_command(folder, sound)
        if drawn:
            holds(plot.main, folder, "--out", tmp_path / "figures")
            holds(history.main, folder, "--out", tmp_path / "history")

    check()


@settings(SETTINGS, max_examples=100)
@given(st.integers(0, 2**32), st.sampled_from([RESULTS, JOURNAL]))
def test_files_with_other_bytes_are_read_or_refused_by_name(tmp_path: Path, seed: int, name: str) -> None:
    chance = random.Random(seed)
    folder = write(tmp_path / "run", json.loads(lines() if name == JOURNAL else text()), name)
    data = bytearray((folder / name).read_bytes())
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
    (folder / name).write_bytes(data)
    reads(folder)
    holds(plot.main if chance.random() < 0.02 else compare.main, folder)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("losses", 1e308, "curve.losses.1"),
        ("seconds", 1e-308, "curve"),
        ("checks", "x", "parity"),
        ("checks", -1, "parity"),
        ("checks", 10**400, "parity"),
        ("passed", "yes", "parity"),
        ("worst", [], "parity"),
        ("worst", {"share": 1e308}, "parity"),
        ("failures", "none", "parity"),
    ],
)
def test_values_that_a_page_cannot_draw_are_refused_with_file_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], field: str, value: Any, place: str
) -> None:
    data = json.loads(text())
    backend = data["cases"][0]["backends"][0]
    if place.startswith("curve"):
        backend["curve"][field][1] = value
    else:
        backend["parity"] = {"passed": True, "checks": 1, "worst": {}, "failures": [], field: value}
    folder = write(tmp_path / "run", data, RESULTS)
    assert report_page.main([str(folder)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "please report it" not in err
    assert str(folder / RESULTS) in err
    assert f"cases.0.backends.0.{place}" in err


def test_the_largest_losses_and_shortest_times_of_a_file_are_drawn(tmp_path: Path) -> None:
    data = json.loads(text())
    curve = data["cases"][0]["backends"][0]["curve"]
    curve["losses"][1], curve["losses"][2], curve["seconds"][1] = 1e300, 5e-324, 1e-15
    data["cases"][0]["backends"][0]["curve"]["seconds"][-1] = 1e9
    folder = write(tmp_path / "run", data, RESULTS)
    holds(report_page.main, folder)
    assert (folder / "report.html").exists()
    holds(plot.main, folder, "--out", tmp_path / "figures")


def test_an_error_that_nothing_expects_is_one_line_that_asks_for_a_report(
    sound: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by nothing\nat all")

    for module in (plot, compare, history, export):
        monkeypatch.setattr(module, "load_results", fails)
    monkeypatch.setattr(report_page, "load_results", fails)
    monkeypatch.setattr(stages, "chosen_suite", fails)
    monkeypatch.setattr(fleet, "order_of", fails)
    monkeypatch.setattr(engine, "run", fails)
    commands: tuple[tuple[Callable[[Sequence[str]], int], list[str], int], ...] = (
        (plot.main, [str(sound)], 2),
        (compare.main, [str(sound)], 2),
        (history.main, [str(sound)], 2),
        (export.main, [str(sound), "--to", "csv"], 2),
        (report_page.main, [str(sound)], 2),
        (run.main, ["--suite", str(sound)], 1),
        (fleet.main, [str(sound), "--scheduler", "tcp://nowhere:1"], fleet.HOST_FAILED),
        (partial(engine.main, DIGITS), ["--out", str(sound)], 1),
        (lambda words: run_command(f"sweep of {words[0]}", ArgumentParser(), fails, []), [str(sound)], 1),
    )
    for main, words, status in commands:
        assert main(words) == status
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert str(sound) in err
        assert "please report it" in err
        assert "ZeroDivisionError: by nothing at all (test_malformed.py, line" in err


def test_the_line_for_an_unexpected_error_names_command_files_and_place() -> None:
    try:
        raise KeyError("a key")
    except KeyError as error:
        line = unexpected.report("bench.plot", ["results/x"], error)
    assert line.startswith("bench.plot: results/x: a fault of pyfnn; please report it")
    assert "KeyError: 'a key' (test_malformed.py, line" in line
