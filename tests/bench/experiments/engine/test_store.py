"""Claims about the files of an experiment: no finished cell is lost, none is there twice, no folder is shared."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.sample_results import sample_results

from bench.experiments.engine.cell import Cell
from bench.experiments.engine.store import CELLS, CellLine, Keyed, Store
from bench.experiments.engine.work import Outcome
from bench.results.files import FolderTaken
from bench.results.schema import ResultsError
from bench.results.store import save_results

KEYED = [Keyed(Cell("one", {"seed": seed}), f"key {seed}") for seed in range(3)]


def line(number: int, reason: str | None = None) -> CellLine:
    values = None if reason else {"loss": 0.1 * number}
    return KEYED[number].line(Outcome(number, values, reason, 0.5, "here"))


def filled(folder: Path, *lines: CellLine) -> Path:
    with Store(folder, "one") as store:
        store.add(lines)
    return folder / CELLS


def test_finished_cells_are_there_again_and_failed_ones_are_to_be_tried_again(tmp_path: Path) -> None:
    filled(tmp_path, line(0), line(1, reason="ValueError: no"))
    with Store(tmp_path, "one") as store:
        assert [store.has(each.key) for each in KEYED] == [True, False, False]
        assert store.line("key 0") == line(0).model_copy(update={"finished": store.line("key 0").finished})
        store.add([line(1)])
    with Store(tmp_path, "one") as store:
        assert store.has("key 1")


def test_a_last_line_that_was_cut_short_costs_its_cell_alone(tmp_path: Path) -> None:
    path = filled(tmp_path, line(0), line(1))
    path.write_bytes(path.read_bytes()[:-9])
    with Store(tmp_path, "one") as store:
        assert [store.has(each.key) for each in KEYED] == [True, False, False]
        store.add([line(1)])
    with Store(tmp_path, "one") as store:
        assert [store.has(each.key) for each in KEYED] == [True, True, False]


def test_a_cell_is_never_counted_twice(tmp_path: Path) -> None:
    path = filled(tmp_path, line(0))
    with Store(tmp_path, "one") as store, pytest.raises(ResultsError, match="key 0 is there twice"):
        store.add([line(0)])
    path.write_bytes(2 * path.read_bytes())
    with pytest.raises(ResultsError, match="key 0 is there twice"):
        Store(tmp_path, "one")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace('"ok"', '"fine"'), "line 1: status"),
        (lambda text: "x" + text, "line 1: Expecting value"),
        (lambda text: text.replace("0.1", "NaN"), "line 2: NaN is not JSON"),
    ],
)
def test_an_altered_line_is_refused_with_its_place(change: Callable[[str], str], reason: str, tmp_path: Path) -> None:
    path = filled(tmp_path, line(0), line(1))
    path.write_text(change(path.read_text()))
    with pytest.raises(ResultsError, match=reason):
        Store(tmp_path, "one")


def test_a_folder_belongs_to_one_run_of_one_experiment_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path, "one") as store:
        with pytest.raises(FolderTaken, match="another run is writing to it"):
            Store(tmp_path, "one")
        store.add([line(0)])
    with pytest.raises(FolderTaken, match="holds the experiment one"):
        Store(tmp_path, "two")


def test_the_folder_of_a_timing_run_is_refused_and_kept(tmp_path: Path) -> None:
    path = save_results(sample_results(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(FolderTaken, match="holds the results of a run"):
        Store(tmp_path, "one")
    assert path.read_bytes() == before
    assert not (tmp_path / CELLS).exists()
