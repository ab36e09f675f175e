"""Claims about where things stand on report.html in Chromium: on a phone, on a laptop and in print nothing is cut."""

from pathlib import Path
from typing import Any

import pytest
from support.browser import LAPTOP, PHONE, opened
from support.pages import page_file, usual
from support.pdf import pdf_text


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_file(tmp_path_factory.mktemp("page"), usual())


# The boxes of the texts themselves: a text that does not fit its cell runs out of the cell's box.
OVERLAPS = """() => {
  const textsOf = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return [...range.getClientRects()].filter((box) => box.width > 0 && box.height > 0)
      .map((box) => [node.textContent.trim(), box]);
  };
  const groups = [
    ...[...document.querySelectorAll("figure, .steps thead")].map((group) => [group, "svg text, .ticks span"]),
    ...[...document.querySelectorAll(".steps tr, .answers tr")].map((group) => [group, "td:not(.plot), th:not(.plot)"]),
  ];
  return groups.flatMap(([group, selector]) => {
    const cells = [...group.querySelectorAll(selector)].filter((cell) => getComputedStyle(cell).display !== "none")
      .map((cell) => (cell.closest("svg") ? [[cell.textContent, cell.getBoundingClientRect()]] : textsOf(cell)));
    return cells.flatMap((one, i) => cells.slice(i + 1).flatMap((other) => one.flatMap(([text, a]) => other
      .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
      .map(([beside]) => `${text} / ${beside}`))));
  });
}"""
CUT = """() => [
  ...document.querySelectorAll("figure svg text, .steps td, .steps th, .answers td, .answers th"),
].filter((node) => {
  const box = node.getBoundingClientRect();
  return box.width > 0 && getComputedStyle(node).clipPath === "none" && (box.right > innerWidth || box.left < -1);
}).map((node) => node.textContent.trim())"""


@pytest.mark.parametrize("width", [390, 768, 840, 1024, 1280, 1600])
def test_no_text_lies_on_another_and_none_is_cut_at_any_width(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, viewport={"width": width, "height": 900}) as found:
        assert found.page.evaluate(OVERLAPS) == []
        assert found.page.evaluate(CUT) == []
        assert found.page.evaluate("() => document.documentElement.scrollWidth") <= width


ANSWERS = """() => [...document.querySelectorAll(".answers tbody tr")].map((row) => [...row.children]
  .map((cell) => cell.getBoundingClientRect()).map((box) => [box.left, box.right]))"""


def test_a_phone_shows_the_unit_of_each_step_time_and_the_answers_on_the_screen(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport=PHONE) as found:
        page = found.page
        assert " in µs, with 95" in page.locator("table.steps caption").first.inner_text()
        cell = "getComputedStyle(document.querySelector('.steps td.num'), '::after').content"
        assert page.evaluate(f"() => {cell}") == '" µs"'
        rows = page.evaluate(ANSWERS)
        assert rows
        assert all(0 <= left <= right <= PHONE["width"] for row in rows for left, right in row)


@pytest.mark.parametrize(("media", "width"), [("screen", 768), ("print", 688)])  # A4 without its margins
def test_a_tablet_and_paper_have_the_numbers_of_a_row_on_one_line(
    browser: Any, file: Path, media: str, width: int
) -> None:
    tops = """() => [...document.querySelectorAll(".steps tbody tr")]
      .filter((row) => row.querySelectorAll(".num").length === 2)
      .map((row) => [...row.querySelectorAll("th, .num:not(:empty), .verdict")]
        .map((cell) => cell.getBoundingClientRect().top))"""
    with opened(browser, file, viewport={"width": width, "height": 1024}) as found:
        found.page.emulate_media(media=media)
        rows = found.page.evaluate(tops)
    assert rows
    assert all(max(row) - min(row) < 2 for row in rows)


def test_the_charts_of_a_phone_use_most_of_its_width(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport=PHONE) as found:
        widths = found.page.evaluate("() => [...document.querySelectorAll('.field')].map((plot) => plot.clientWidth)")
    assert widths
    assert min(widths) >= 0.58 * PHONE["width"]


@pytest.mark.parametrize("viewport", [PHONE, {"width": 760, "height": 800}, {"width": 840, "height": 800}, LAPTOP])
def test_the_header_never_covers_what_has_the_focus(browser: Any, file: Path, viewport: dict[str, int]) -> None:
    with opened(browser, file, viewport=viewport) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach((folded) => (folded.open = true))")
        covered = found.page.evaluate(COVERED)
    assert covered == []


# From the end of the page to its start, as Shift+Tab goes: what gets the focus is scrolled to the upper edge.
COVERED = """() => {
  const top = document.querySelector(".top"), sticks = getComputedStyle(top).position === "sticky";
  const all = [...document.querySelectorAll("main a, main button, main select, main summary, main [tabindex]")]
    .filter((node) => node.checkVisibility() && !node.closest("#work table")).reverse();  // none that is folded
  scrollTo(0, document.body.scrollHeight);
  return all.filter((node) => {
    node.focus({ preventScroll: true });
    node.scrollIntoView({ block: "start", behavior: "instant" });
    return sticks && node.getBoundingClientRect().top < top.getBoundingClientRect().bottom - 1 && scrollY > 0;
  }).map((node) => node.textContent.trim().slice(0, 40));
}"""


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_the_text_of_an_opened_row_is_as_wide_as_what_is_seen_of_the_table(
    browser: Any, file: Path, viewport: dict[str, int]
) -> None:
    with opened(browser, file, viewport=viewport) as found:
        found.page.locator("#work .strip button").first.click()
        ends = found.page.evaluate(
            "() => [...document.querySelectorAll('#work .inside .box, #work .inside dl, #work .inside .big')]"
            ".map((node) => node.getBoundingClientRect().right"
            " - document.getElementById('work').getBoundingClientRect().right)"
        )
    assert len(ends) >= 4
    assert max(ends) <= 1


@pytest.mark.parametrize("options", [{}, {"format": "A4", "prefer_css_page_size": True}], ids=["letter", "a4"])
def test_a_pdf_has_every_column_of_the_table_of_all_rows(browser: Any, file: Path, options: dict[str, Any]) -> None:
    with opened(browser, file) as found:
        heads = [text.strip() for text in found.page.locator("#work thead th").all_inner_texts()]
        text = pdf_text(found.page.pdf(**options))
    columns = [head for head in heads if head not in ("mark", "samples")]  # controls, which paper has not
    assert len(columns) == 15
    assert "".join("".join(columns).split()) in text


def test_the_table_of_answers_has_no_column_of_single_words_in_print(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport={"width": 688, "height": 1000}) as found:  # A4 without its margins
        found.page.emulate_media(media="print")
        widths = found.page.evaluate(
            "() => [...document.querySelectorAll('.answers tbody td:last-child')].map((cell) => cell.clientWidth)"
        )
        assert widths
        assert min(widths) >= 130
