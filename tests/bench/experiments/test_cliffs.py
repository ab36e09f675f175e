"""Claims about the search for cliffs: its sizes, the definition of a cliff, a proof of each size before its timing."""

import csv
import json
from pathlib import Path
from typing import Any

import misbehaving
import numpy as np
import pytest
from misbehaving import hosted
from support.places import TESTS

from bench.experiments import cliffs
from bench.experiments.cliffs import Cliff, CliffSearch, SizeTiming
from bench.experiments.engine.report import Report
from bench.results.schema import Ceilings, Peak
from pyfnn import registry
from pyfnn.errors import PyfnnError
from pyfnn.manifest import Row
from pyfnn.network import initialize
from pyfnn.parity.rounding import clear_of_kinks
from pyfnn.process.program import command_of
from pyfnn.process.worker import Worker

SIZES = [(n, B) for n in (4, 5) for B in (1, 3)]


def test_sizes_are_powers_of_two_their_neighbours_and_midpoints() -> None:
    assert cliffs.widths(33) == [4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33]
    assert max(cliffs.widths()) == 2048
    assert cliffs.batches()[:9] == [1, 2, 3, 4, 5, 8, 9, 16, 17]
    assert max(cliffs.batches()) == 512


def test_flops_of_a_size_are_the_networks() -> None:
    assert cliffs.flops_of(48, 7) == 7 * cliffs.network_of(48, "float32").flops_per_row


@pytest.mark.parametrize(
    ("factor", "smaller", "larger", "cliff"),
    [
        (1.6, 1.0, 2.0, True),  # the larger has much fewer GFLOP/s
        (1.4, 1.0, 2.0, False),
        (0.6, 1.0, 0.9, True),  # the smaller takes longer than the larger
        (0.6, 1.0, 1.1, False),  # the smaller has fewer GFLOP/s because of its fixed cost
        (0.7, 1.0, 0.9, False),
    ],
)
def test_a_cliff_is_a_fall_in_throughput_or_a_smaller_step_that_takes_longer(
    factor: float, smaller: float, larger: float, cliff: bool
) -> None:
    assert cliffs.is_cliff(factor, smaller, larger) == cliff


def test_cliffs_are_found_between_neighbours_only_the_highest_first() -> None:
    with worker("numpy") as process:
        found = CliffSearch("mine", process, "float32", 1, 100.0)
    found.seconds = {(n, B): 1e-9 * cliffs.flops_of(n, B) for n in (4, 5, 6) for B in (1, 2)}
    assert found.cliffs() == []
    found.seconds[5, 2] *= 2
    found.seconds[6, 2] *= 8
    assert [(c.smaller, c.larger) for c in found.cliffs()] == [
        ((6, 1), (6, 2)),
        ((5, 2), (6, 2)),
        ((4, 2), (5, 2)),
        ((5, 1), (5, 2)),
    ]
    assert [c.factor for c in found.cliffs()] == pytest.approx([8, 4, 2, 2])


def worker(name: str, *manifests: Path) -> Worker:
    return Worker(command_of(registry.find(name, manifests)))


def test_every_size_has_a_time_after_the_survey() -> None:
    with worker("numpy") as process:
        found = CliffSearch("numpy", process, "float64", 1, 100.0)
        found.prove()
        cliffs.survey(found, SIZES, 60.0)
    assert sorted(found.seconds) == SIZES
    assert all(0 < seconds < 0.1 for seconds in found.seconds.values())


def test_powers_of_two_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[tuple[int, int]] = []
    with worker("numpy") as process:
        found = CliffSearch("numpy", process, "float32", 1, 100.0)
        monkeypatch.setattr(found, "visit", lambda *place: came.append(place))
        cliffs.survey(found, [(n, B) for n in (5, 7, 8, 16) for B in (1, 2, 3)], 60.0)
    odd = [sum(size in (3, 5, 7) for size in place) for place in came]
    assert odd == sorted(odd)
    assert odd.count(0) == 4


def test_sizes_beyond_the_budget_have_no_time() -> None:
    with worker("numpy") as process:
        found = CliffSearch("numpy", process, "float32", 1, 100.0)
        cliffs.survey(found, SIZES, 0.0)
    assert found.seconds == {}


def test_a_backend_that_computes_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    host = f'host = "misbehaving.hosted:{hosted.Article.__name__}"'
    with worker("article", misbehaving.manifest(tmp_path / "backend.toml", {}, {"article": host})) as process:
        found = CliffSearch("article", process, "float32", 1, 100.0)
        with pytest.raises(PyfnnError, match="article: dW_2 of the small network"):
            found.prove()
        with pytest.raises(PyfnnError, match="article: displacement of W_2 of the 9 wide, batch 5 network"):
            found.visit(9, 5)
        assert found.seconds == {}


def test_rows_of_the_comparison_are_clear_of_kinks_and_at_least_a_batch() -> None:
    network = cliffs.network_of(9, "float32")
    with worker("numpy") as process:
        found = CliffSearch("numpy", process, "float32", 1, 1.0)
        x, y = found._rows(network, initialize(network, 0), 33, np.random.default_rng(0))
    assert len(x) == len(y) >= 33
    assert clear_of_kinks(network, initialize(network, 0), x, 1e-6).all()


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed ceiling in place of the probe, and four sizes."""
    peak = Peak(level="v2", dtype="float32", threads=1, gflops=100.0)
    monkeypatch.setattr("bench.experiments.cliffs.measure_ceilings", lambda when, *_: Ceilings(when=when, peaks=[peak]))
    monkeypatch.setattr(cliffs, "widths", lambda _: [4, 5])
    monkeypatch.setattr(cliffs, "batches", lambda: [1, 3])


@pytest.mark.usefixtures("probed")
def test_the_command_writes_table_facts_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cliffs.main(["--backend", "numpy", "--budget", "30", "--out", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "sweep.csv").read_text(encoding="utf-8").splitlines()))
    assert [(int(row["width"]), int(row["batch"])) for row in rows] == SIZES
    for row in rows:
        gflops = cliffs.flops_of(int(row["width"]), int(row["batch"])) / float(row["seconds"]) / 1e9
        assert float(row["gflops"]) == pytest.approx(gflops)
        assert float(row["share"]) == pytest.approx(gflops / 100)
    facts = json.loads((tmp_path / "out" / "sweep.json").read_text(encoding="utf-8"))
    assert facts["settings"]["ceiling_gflops"] == 100
    assert (tmp_path / "out" / "sweep_numpy_float32_1t.png").stat().st_size > 10_000
    assert "cliffs over 1.5× between neighbours" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert cliffs.QUESTION in page
    assert "<svg" in page


@pytest.mark.usefixtures("probed")
def test_a_folder_that_cannot_be_made_is_an_error_before_the_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(cliffs, "survey", pytest.fail)
    assert cliffs.main(["--backend", "numpy", "--out", str(tmp_path / "file" / "out")]) == 1


@pytest.mark.usefixtures("probed")
@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (PyfnnError("it failed"), 2)])
@pytest.mark.parametrize("place", ["survey", "command_of"])
def test_what_was_measured_before_an_error_is_written(
    place: str, error: BaseException, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(cliffs, place)

    def first_alone(of: CliffSearch | Row, *rest: Any) -> Any:
        if of.name != "numpy":
            raise error
        return original(of, *rest)

    monkeypatch.setattr(cliffs, place, first_alone)
    words = ["--backend", "numpy,c", "--budget", "2", "--out", str(tmp_path)]
    assert cliffs.main(words) == status
    rows = list(csv.DictReader((tmp_path / "sweep.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["backend"] for row in rows} == {"numpy"}
    why = "it failed" if status == 2 else "the measurement was interrupted"
    assert why in (tmp_path / "report.html").read_text(encoding="utf-8")
    facts = json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))
    assert facts["settings"]["cut_short"] is (status == 130)


def test_the_page_names_the_highest_cliff_and_the_best_and_worst_sizes(tmp_path: Path) -> None:
    points = [cliffs.SizeTiming("c", n, B, 1e-6, 10.0 * share, share) for n, B, share in ((4, 1, 0.1), (5, 1, 0.45))]
    high, low = cliffs.Cliff("c", (4, 1), (5, 1), 4.5), cliffs.Cliff("c", (5, 1), (5, 3), 1.6)
    report = Report(tmp_path)
    cliffs.say("c", points, [high, low], report)
    found = [finding.text for finding in report.findings]
    assert found[0] == "c has 2 cliffs over 1.5× between neighbours among 2 sizes."
    assert "from width 4, batch 1 to width 5, batch 1 the speeds in GFLOP/s differ by a factor of 4.50" in found[1]
    assert found[2].startswith("c reaches the most of the ceiling, 45 %, at width 5")
    assert found[3].startswith("c reaches the least of the ceiling, 10 %, at width 4")
    cliffs.say("c", points, [], none := Report(tmp_path))
    assert none.findings[0].text.startswith("c has no cliff over 1.5×")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "nunpy"], "did you mean 'numpy'?"),
        (["--threads", "0"], "--threads 0: must be from 1 to"),
        (["--widest", "4096"], "--widest 4096: must be from 4 to 2048"),
        (["--budget", "nan"], "--budget nan: must be from 1"),
    ],
)
def test_invalid_arguments_are_refused_with_the_rule(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cliffs.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_cliff_is_drawn_between_its_cells() -> None:
    points = [SizeTiming("mine", n, B, 1.0, 1.0, 0.5) for n in (4, 8) for B in (1, 2)]
    figure = cliffs.draw(points, [Cliff("mine", (4, 2), (8, 2), 2.0), Cliff("mine", (8, 1), (8, 2), 2.0)], "title")
    lines = [np.array(line.get_data()).tolist() for line in figure.axes[0].lines]
    assert lines == [[[1, 1], [1, 2]], [[1, 2], [1, 1]]]
