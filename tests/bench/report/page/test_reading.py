"""Claims about report.html for one who sees it for the first time: order, names, hints, few labels, explanations."""

import io
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.browser import PHONE, opened
from support.pages import page_file, proven, usual
from support.reports import ALL_BACKENDS, edited, only_case, probed
from support.sample_results import sample_results

from bench.format import centre_of
from bench.report.page.figures import HEIGHT, Looks, effort, roofline
from bench.report.sentences import standing_out
from bench.report.views import DIVISIONS, case_views, frontier, roofs_of


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_file(tmp_path_factory.mktemp("page"), usual())


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = probed(proven(sample_results(ALL_BACKENDS, ["wine-deep", "wine-batch"])))
    return page_file(tmp_path_factory.mktemp("page"), results)


def test_a_table_begins_with_the_leading_division_and_says_what_each_is(browser: Any, tmp_path: Path) -> None:
    results = edited(sample_results(("numpy", "cpp", "c", "cpp-tuned")), {"c": {"division": "textbook"}})
    with opened(browser, page_file(tmp_path, results)) as found:
        heads = found.page.locator(".steps .division th").all_text_contents()
    assert [head.split()[0] for head in heads] == ["plain", "tuned", "textbook"]
    assert all(DIVISIONS[head.split()[0]] in head for head in heads)


def test_the_name_of_a_part_is_the_same_in_the_header_and_above_it(browser: Any, file: Path) -> None:
    with opened(browser, file) as found:
        link = found.page.get_by_role("link", name="Not timed")
        part = found.page.locator(str(link.get_attribute("href")))
        assert part.locator("h2").inner_text() == "Not timed"


def test_the_table_of_the_proof_is_folded_until_asked_for(browser: Any, file: Path) -> None:
    with opened(browser, file) as found:
        table = found.page.get_by_role("region", name="Evidence of parity")
        assert table.count() == 0
        found.page.get_by_text("What was compared with the oracle").click()
        assert table.is_visible()


@pytest.mark.parametrize(("width", "cut"), [(390, True), (768, True), (2400, False)])
def test_a_table_that_is_cut_says_so_and_keeps_the_names_in_sight(
    browser: Any, file: Path, width: int, cut: bool
) -> None:
    with opened(browser, file, viewport={"width": width, "height": 900}) as found:
        page = found.page
        page.add_style_tag(content="main { max-width: none !important }")
        page.wait_for_function(f"() => document.getElementById('work-hint').hidden === {str(not cut).lower()}")
        if cut:
            name = "document.querySelector('#work tbody th').getBoundingClientRect()"
            page.evaluate("() => document.getElementById('work').scrollTo(400, 0)")
            assert page.evaluate(f"() => {name}.left") >= page.evaluate("() => work.getBoundingClientRect().left")
            assert page.evaluate("() => document.querySelector('#work caption span').getBoundingClientRect().left >= 0")


def test_the_edge_at_which_a_table_goes_on_has_a_shadow_and_the_other_has_none(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport=PHONE) as found:
        box = found.page.locator("#work")
        box.scroll_into_view_if_needed()
        assert darkness(found.page, box) == (False, True)
        box.evaluate("(node) => node.scrollTo(node.scrollWidth, 0)")
        assert darkness(found.page, box) == (True, False)


def darkness(page: Any, box: Any) -> tuple[bool, bool]:
    """Return whether the left and the right edge of a box are darker than the paper."""
    frame = box.bounding_box()
    clip = {"x": frame["x"], "y": frame["y"] + 2, "width": frame["width"], "height": 3}
    image = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("L")
    grey = list(image.tobytes())
    return grey[0] < 240, grey[image.width - 1] < 240


def test_the_chart_of_effort_names_the_frontier_and_what_stands_out_and_its_table_has_all() -> None:
    view = only_case(sample_results(ALL_BACKENDS))
    chart = effort("e", view, Looks())
    assert chart is not None
    assert chart.table is not None
    timed = {b.name: (b.result.source_lines or 0, centre_of(b.step)) for b in view.backends if b.step}
    best = frontier(timed)
    for name, (lines, step) in timed.items():
        beaten = any(x <= lines and y <= step and (x, y) != (lines, step) for x, y in timed.values())
        assert (name in best) == (not beaten)
    named = {*best, *standing_out(view)}
    assert {label.text for label in chart.beside} == {b.label for b in view.backends if b.name in named}
    assert len(chart.beside) < len(ALL_BACKENDS)
    assert sum(mark.weak for mark in chart.marks) == len(ALL_BACKENDS) - len(named)
    assert chart.height == HEIGHT
    ((_, rows),) = chart.table.sections
    assert len(rows) == len(ALL_BACKENDS)
    assert sum(row[-1] == "yes" for row in rows) == len(best)


def test_a_chip_colours_a_grey_mark(browser: Any, crowded: Path) -> None:
    with opened(browser, crowded) as found:
        fill = "() => getComputedStyle(document.querySelector('#effort-0 .mk.weak')).fill"
        grey = found.page.evaluate(fill)
        look = found.page.locator("#effort-0 .mk.weak").first.get_attribute("data-b")
        found.page.locator(f"#chips button:has(.b{look})").click()
        assert found.page.evaluate(fill) != grey


def test_no_two_marks_of_a_roofline_overlap_on_a_phone(browser: Any, crowded: Path) -> None:
    with opened(browser, crowded, viewport=PHONE) as found:
        boxes = found.page.evaluate(
            "() => [...document.querySelectorAll('#roofline-0-0 .mk use')].map((mark) => mark.getBoundingClientRect())"
            ".map((box) => [box.x + box.width / 2, box.y + box.height / 2])"
        )
    assert len(boxes) == 2 * len(ALL_BACKENDS)
    assert all(math.dist(one, other) > 9 for one, other in combinations(boxes, 2))


def test_a_mark_of_a_roofline_keeps_its_speed_where_it_is_shifted() -> None:
    results = probed(sample_results(ALL_BACKENDS, ["wine-deep"]))
    panels = case_views(results)
    chart = roofline("r", panels, roofs_of(results, "float32", 1), Looks())
    assert chart is not None
    assert any(mark.shift for mark in chart.marks)
    speeds = [b.result.gflops for b in panels[0].backends if b.result.gflops]
    assert [mark.y for mark in chart.marks] == [chart.y.at(speed) for speed in speeds]
    assert len({mark.x for mark in chart.marks}) == 1


def test_an_arithmetic_in_brackets_is_explained_beside_the_table(browser: Any, crowded: Path, tmp_path: Path) -> None:
    with opened(browser, crowded) as found:
        caption = found.page.locator("table.steps caption").first.inner_text()
        assert "lua (float64)" in found.page.locator("table.steps").first.inner_text()
    assert "(float64): no float32 arithmetic in lua, which computes in float64" in caption
    with opened(browser, page_file(tmp_path, sample_results())) as found:
        assert "arithmetic" not in found.page.locator("table.steps caption").first.inner_text()
