"""Claims about the terminal's report: 80 columns, one line a backend, bars in proportion, reasons and remedies."""

import pytest
from rich.cells import cell_len
from support.reports import ALL_BACKENDS, QUICK, STATUS_OF, edited, only_case, printed
from support.sample_results import FAILURES, sample_results

from bench.format import centre_of, with_margin
from bench.report.bars import BAR, WIDTH, case_lines


def lines(backends: tuple[str, ...] = ALL_BACKENDS, **changes: object) -> list[str]:
    return [line.plain for line in case_lines(only_case(sample_results(backends, **changes)))]  # type: ignore[arg-type]


def test_every_line_of_a_case_fits_80_columns_and_has_one_backend() -> None:
    found = lines(failures=STATUS_OF)
    assert max(map(cell_len, found)) <= WIDTH
    assert not any("\n" in line for line in found)
    for name in ALL_BACKENDS:
        assert sum(line.strip().split(" ")[0] == name for line in found) == 1


@pytest.mark.parametrize("name", ["x" * 90, "画像処理の実装その一二三", "a\nb\x1b[31mred", "[bold]not markup[/bold]"])
def test_a_name_of_any_kind_stays_on_its_line(name: str) -> None:
    results = edited(sample_results(QUICK), {"c": {"name": name, "instance": name}})
    found = [line.plain for line in case_lines(only_case(results))]
    assert len(found) == len(lines(QUICK))
    assert max(map(cell_len, found)) <= WIDTH
    assert not any("\x1b" in line or "\n" in line for line in found)


def test_a_line_has_time_ratio_and_verdict_of_the_results() -> None:
    view = only_case(sample_results(QUICK))
    found = {line.plain.strip().split(" ")[0]: line.plain for line in case_lines(view)}
    for backend in view.backends:
        if backend.ratio:
            assert f" {with_margin(backend.ratio)} " in found[backend.name]
            assert found[backend.name].rstrip().endswith(backend.result.verdict or "")
    assert found["numpy"].endswith("reference")


def test_bars_are_longer_for_longer_times_and_the_longest_is_whole() -> None:
    view = only_case(sample_results(ALL_BACKENDS))
    found = {line.plain.strip().split(" ")[0]: line.plain.count("█") for line in case_lines(view)}
    by_time = sorted((b for b in view.backends if b.step), key=lambda b: centre_of(b.step or 0.0))
    lengths = [found[backend.name] for backend in by_time]
    assert lengths == sorted(lengths)
    assert lengths[0] >= 1
    assert lengths[-1] == BAR


def test_the_scale_of_the_bars_is_stated() -> None:
    assert any("log, from " in line for line in lines())


def test_a_failure_is_shown_with_reason_and_remedy() -> None:
    text = printed(sample_results(ALL_BACKENDS, failures=STATUS_OF))
    for failure in FAILURES.values():
        assert failure["reason"].splitlines()[0] in text
        assert failure.get("remedy", "") in text
