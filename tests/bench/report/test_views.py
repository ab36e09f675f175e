"""Claims about what a report shows of a backend or a case, and what it withholds."""

import pytest
from support.reports import ALL_BACKENDS, QUICK, backend_view, drawn, edited, only_case, panel, summary_of, texts
from support.sample_results import FAILURES, sample_results

from bench import format
from bench.report.tables import pair_tables
from bench.report.views import in_division_order, pair_matrices
from bench.results.derive import a_a_missed
from bench.results.schema import Verdict


def test_divisions_are_not_ranked_across() -> None:
    case = only_case(sample_results(ALL_BACKENDS))
    assert [division for division, _ in case.groups] == ["plain", "tuned", "framework"]
    assert in_division_order({"textbook", "vendor", "own", "framework", "tuned", "plain"}) == [
        "plain", "tuned", "framework", "own", "vendor", "textbook"
    ]  # fmt: skip
    assert case.backends[0].name == "cpp"  # although cpp-tuned is faster
    for _, group in case.groups:
        times = [format.centre_of(backend.step) for backend in group if backend.step]
        assert times == sorted(times)
    assert "Ranks hold only within a division." in summary_of(sample_results())


def test_a_second_instance_checks_the_intervals_and_is_not_listed() -> None:
    results = sample_results(QUICK)
    case = only_case(results)
    assert [backend.result.instance for backend in case.backends if "@" in backend.result.instance] == []
    note = next(note for note in case.notes if note.startswith("A/A"))
    missed, count = a_a_missed(results.cases[0])
    assert f"{missed} of {count} intervals without 1 (numpy " in note
    assert "cpp-tuned" in note
    assert count == 2


def test_the_reference_has_no_ratio_to_itself() -> None:
    numpy = backend_view(sample_results(), "numpy")
    assert numpy.ratio is None
    assert numpy.verdict == "reference"


def test_a_single_launch_gives_a_time_without_interval_and_no_ratio() -> None:
    results = sample_results(QUICK, launches=1)
    for backend in only_case(results).backends:
        assert isinstance(backend.step, float)
        assert backend.ratio is None
    assert "One launch: there is no interval and so no ratio." in summary_of(results)
    assert not any(stem.startswith("ratio") for stem in drawn(results))


def test_without_a_second_instance_ratios_and_verdicts_are_shown_and_called_unchecked() -> None:
    results = sample_results(QUICK, a_a=False)
    assert backend_view(results, "cpp").verdict == "faster"
    assert "the intervals are unchecked here" in summary_of(results)


@pytest.mark.parametrize(
    ("verdict", "more", "words"),
    [
        ("same", None, "same within ±3 %"),
        ("undecided", 12, "undecided: about 12 more launches"),
        ("undecided", 1, "undecided: about 1 more launch"),
        ("undecided", None, "undecided: more than 1000 more launches"),
        ("slower", None, "slower"),
    ],
)
def test_a_verdict_is_shown_in_words(verdict: Verdict, more: int | None, words: str) -> None:
    results = sample_results(("numpy", "cpp"))
    assert results.cases[0].pairs
    (pair,) = results.cases[0].pairs
    changed = edited(results, {}, pairs=[pair.model_copy(update={"verdict": verdict, "more_launches": more})])
    assert backend_view(changed, "cpp").verdict == words
    assert f"| {words} |" in summary_of(changed)


def test_the_fastest_set_holds_the_backends_that_none_of_their_division_is_shown_to_beat() -> None:
    case = sample_results(("numpy", "cpp", "c", "go", "cpp-tuned"), noise=0.001).cases[0]
    assert {b.name: b.fastest for b in case.backends if b.instance == b.name} == {
        "numpy": False, "cpp": True, "c": False, "go": False, "cpp-tuned": True
    }  # fmt: skip
    noisy = sample_results(("numpy", "cpp", "c", "go", "cpp-tuned"), noise=0.03)
    assert "Fastest set (not shown to be slower than any other): plain cpp, c." in summary_of(noisy)


def test_the_replacement_of_a_failed_reference_is_named() -> None:
    results = sample_results(QUICK, failures={"numpy": "parity_failed"})
    assert results.cases[0].reference == "cpp"
    assert "The reference numpy has no step time (parity failed). The ratios are to cpp instead." in summary_of(results)
    assert "ratio to cpp" in summary_of(results)


def test_a_run_without_a_reference_says_so() -> None:
    results = sample_results(["numpy", "torch"], failures={"numpy": "crashed"})
    assert "No ratios: the reference numpy has no step time (crashed)" in summary_of(results)


def test_few_launches_are_called_provisional() -> None:
    assert "provisional" in summary_of(sample_results(launches=3))
    assert "provisional" not in summary_of(sample_results(launches=5))


def test_a_foreign_arithmetic_is_marked_in_table_and_figure() -> None:
    results = sample_results(["numpy", "lua"])
    assert backend_view(results, "lua").label == "lua (float64)"
    assert "lua (float64)" in summary_of(results)
    labels = [text.get_text() for text in panel(results, "step_time_train_float32_1t").texts]
    assert "lua (float64)" in labels
    assert backend_view(edited(results, {}, dtype="float64"), "lua").label == "lua"


def test_a_backend_that_failed_shows_no_number_even_where_the_file_holds_one() -> None:
    results = edited(sample_results(), {"cpp": {"status": "parity_failed"}})
    assert results.cases[0].backends[2].step_seconds
    cpp = backend_view(results, "cpp")
    assert (cpp.step, cpp.ratio, cpp.status) == (None, None, "parity failed")
    assert "cpp (parity failed)" in " ".join(t.get_text() for t in texts(drawn(results)["curve_wine-deep_float32_1t"]))


@pytest.mark.parametrize("status", FAILURES)
def test_a_failed_backend_is_in_figure_and_table_with_its_status(status: str) -> None:
    results = sample_results(failures={"cpp": status})
    axes = panel(results, "step_time_train_float32_1t")
    assert "cpp" in [label.get_text() for label in axes.texts]
    assert format.words(status) in [text.get_text() for text in axes.texts]
    assert f"| cpp | {format.words(status)} |" in summary_of(results)


def test_pairs_of_one_division_are_compared_both_ways_and_other_pairs_are_not() -> None:
    results = sample_results(ALL_BACKENDS)
    case = only_case(results)
    found = {matrix.division: matrix for matrix in pair_matrices(case)}
    assert {division: len(matrix.labels) for division, matrix in found.items()} == {
        "plain": 9,
        "tuned": 2,
        "framework": 4,
    }
    assert found["plain"].pairs == 9 * 8 // 2
    for matrix in found.values():
        for i, line in enumerate(matrix.cells):
            for j, cell in enumerate(line):
                mirrored = matrix.cells[j][i]
                if i == j:
                    assert cell is None
                    continue
                assert cell
                assert mirrored
                assert cell[0].median == pytest.approx(1 / mirrored[0].median)
                assert (cell[0].low, cell[0].high) == pytest.approx((1 / mirrored[0].high, 1 / mirrored[0].low))
                assert cell[1] == {"faster": "slower", "slower": "faster"}.get(mirrored[1], mirrored[1])


def test_a_cell_of_the_pairs_table_says_how_many_times_faster_the_row_is() -> None:
    results = sample_results(("numpy", "cpp", "go"))
    (matrix,) = pair_matrices(only_case(results))
    assert matrix.labels == ("cpp", "go", "numpy")
    (table,) = pair_tables(only_case(results))
    assert table.columns == ("row over column", "cpp", "go", "numpy")
    assert table.sections[0][1][0][2].startswith(format.number(matrix.cells[0][1][0].median))  # type: ignore[index]
    assert 2.2 < matrix.cells[0][1][0].median < 2.5  # type: ignore[index]
    assert backend_view(results, "cpp").ratio == matrix.cells[0][2][0]  # type: ignore[index]
    assert "Pairs of plain:" in summary_of(results)
    assert "each cell says how many times faster the row is than the column" in summary_of(results)
    assert "3 intervals, each with 95 % confidence on its own" in summary_of(results)


@pytest.mark.parametrize(("verdict", "mark"), [("same", "= "), ("undecided", "? "), ("faster", ""), ("slower", "")])
def test_pairs_that_are_the_same_or_undecided_are_marked_in_the_pairs_table(verdict: Verdict, mark: str) -> None:
    results = sample_results(("numpy", "cpp", "c"))
    pairs = [pair.model_copy(update={"verdict": verdict}) for pair in results.cases[0].pairs or ()]
    (table,) = pair_tables(only_case(edited(results, {}, pairs=pairs)))
    (ratio, _) = pair_matrices(only_case(results))[0].cells[0][1] or pytest.fail("no pair")
    assert table.sections[0][1][0][2] == mark + format.with_margin(ratio)


def test_there_are_no_pairs_of_one_launch_of_one_backend_or_of_failed_backends() -> None:
    assert pair_matrices(only_case(sample_results(QUICK, launches=1))) == ()
    assert [matrix.division for matrix in pair_matrices(only_case(sample_results(("numpy", "cpp", "torch"))))] == [
        "plain"
    ]
    failed = edited(sample_results(("numpy", "cpp", "c")), {"cpp": {"status": "parity_failed"}})
    (matrix,) = pair_matrices(only_case(failed))
    assert "cpp" not in matrix.labels
    assert "Pairs of plain" not in summary_of(sample_results(("numpy", "torch")))
