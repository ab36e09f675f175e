"""Claims about report.html in Chromium: it works, is read by everyone, asks for nothing, and shows the results."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import LAPTOP, PHONE, Opened, accessibility_faults, opened
from support.pages import every_status, full_suite, hostile, page_file, proven, usual
from support.sample_results import FAILURES, sample_results

from bench.format import with_interval
from bench.report.sentences import times
from bench.report.views import ratios_of
from bench.results.rows import rows
from bench.results.schema import BackendResult, Case, Results


@pytest.fixture(scope="module")
def run() -> Results:
    return usual()


@pytest.fixture(scope="module")
def file(run: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return page_file(tmp_path_factory.mktemp("page"), run)


@pytest.fixture
def shown(browser: Any, file: Path) -> Iterator[Opened]:
    with opened(browser, file) as found:
        yield found
        assert found.errors == []
        assert found.requests == [file.resolve().as_uri()] or all(url.startswith("blob:") for url in found.requests[1:])


def first_instances(run: Results) -> list[tuple[Case, BackendResult]]:
    return [(case, b) for case in run.cases for b in case.backends if b.instance == b.name]


def column(page: Any, name: str) -> list[str]:
    heads = [text.strip() for text in page.locator("#work thead th").all_inner_texts()]
    at = heads.index(name)
    found: list[str] = page.eval_on_selector_all(
        "#work tbody tr[data-row]", "(rows, at) => rows.map((row) => row.children[at].innerText)", at
    )
    return found


def test_every_row_is_shown_with_the_numbers_of_the_results(shown: Opened, run: Results) -> None:
    expected = first_instances(run)
    assert shown.page.locator("#work tbody tr[data-row]").count() == len(expected)
    ratios = sorted(with_interval(b.ratio) if b.ratio else "" for _, b in expected)
    assert sorted(column(shown.page, "ratio [95 %]")) == ratios
    status = {b.status.replace("_", " ") for _, b in expected if b.status != "ok"}
    assert status <= set(column(shown.page, "step time [95 %]"))


def test_a_heading_sorts_up_and_then_down_by_value(shown: Opened, run: Results) -> None:
    head = shown.page.get_by_role("button", name="step time [95 %]")
    steps = sorted(b.step_seconds.median for _, b in first_instances(run) if b.step_seconds)
    for direction, expected in (("ascending", steps), ("descending", steps[::-1])):
        head.click()
        assert shown.page.locator(f"#work th[aria-sort={direction}]").count() == 1
        found: list[float] = shown.page.eval_on_selector_all(
            "#work tbody tr[data-row]",
            "(rows) => { const data = JSON.parse(document.getElementById('data').textContent);"
            "const at = data.columns.indexOf('step');"
            "return rows.map((row) => data.rows[row.dataset.row][at]).filter((step) => step).map((step) => step[0]) }",
        )
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "value"),
    [("workload", "wine-batch"), ("dtype", "float64"), ("division", "tuned"), ("language", "Octave"),
     ("status", "parity failed")],
)  # fmt: skip
def test_a_list_filters_the_rows(shown: Opened, run: Results, name: str, value: str) -> None:
    shown.page.select_option(f"select[data-filter={name}]", label=value)
    expected = [
        b.name
        for case, b in first_instances(run)
        if value in (case.workload, case.dtype, b.division, b.language, b.status.replace("_", " "))
    ]
    assert sorted(label.split(" ")[0] for label in column(shown.page, "backend")) == sorted(expected)
    assert shown.page.locator("#count").inner_text().startswith(f"{len(expected)} of ")


def test_a_search_finds_rows_by_their_reason(shown: Opened) -> None:
    shown.page.get_by_role("searchbox").fill("small variant is off")
    assert set(column(shown.page, "backend")) == {"java"}


def mark(page: Any, number: int) -> None:
    page.locator(f"#work tr[data-row='{number}'] input").check()


def test_two_marked_rows_show_their_ratio_with_its_interval(shown: Opened, run: Results) -> None:
    case = run.cases[0]
    names = [b.name for c, b in first_instances(run) if c is case]
    by_page = column(shown.page, "backend")[: len(names)]
    ratio, verdict = ratios_of(case)["cpp", "octave"]
    assert verdict == "faster"
    mark(shown.page, by_page.index("cpp"))
    mark(shown.page, by_page.index("octave"))
    answer = shown.page.locator("#marked").inner_text()
    assert answer.startswith(f"cpp (C++) is {times(ratio)} as fast as Octave.")
    assert "95 % interval over 5 launches" in answer


def test_rows_of_different_cases_have_no_ratio_and_the_reason_is_given(shown: Opened, run: Results) -> None:
    mark(shown.page, 0)
    mark(shown.page, len([b for b in run.cases[0].backends if b.instance == b.name]) + 1)
    answer = shown.page.locator("#marked").inner_text()
    assert answer.startswith("No ratio.")
    assert "different cases, which did not take turns" in answer


def test_the_form_compares_any_two_backends_either_way_round(shown: Opened, run: Results) -> None:
    page = shown.page
    for one, other, name, against in (("c", "numpy", "C", "numpy (Python)"), ("numpy", "c", "numpy (Python)", "C")):
        page.select_option("#pair-one", label=name)
        page.select_option("#pair-other", label=against)
        ratio, verdict = ratios_of(run.cases[0])[one, other]
        words = f"is {times(ratio)} as fast as" if verdict == "faster" else f"takes {times(ratio.inverse)} as long as"
        assert page.locator("#pair-answer").inner_text().startswith(f"{name} {words} {against}.")


def test_an_opened_row_shows_each_sample_its_proof_and_its_build(shown: Opened, run: Results) -> None:
    _, backend = next(pair for pair in first_instances(run) if pair[1].status == "ok")
    at = column(shown.page, "backend").index(backend.name)
    button = shown.page.locator("#work tr[data-row] .strip button").nth(at)
    button.press("Enter")
    inside = shown.page.locator("#work tr.inside")
    assert inside.locator("circle").count() == len(backend.samples)
    text = inside.inner_text()
    assert f"{len(backend.samples)} timed blocks in 5 launches" in text
    assert "133 comparisons with the oracle" in text
    assert "-O3 -march=native" in text
    button.press("Enter")
    assert inside.count() == 0


def test_the_downloads_hold_the_results(shown: Opened, run: Results, tmp_path: Path) -> None:
    with shown.page.expect_download() as waiting:
        shown.page.click("#csv")
    waiting.value.save_as(tmp_path / "rows.csv")
    found = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text(encoding="utf-8"))))
    expected = {
        (row.workload, row.dtype, row.backend): row for row in rows(run, "statistics") if row.instance == row.backend
    }
    assert len(found) == len(expected)
    for line in found:
        row = expected[line["workload"], line["dtype"], line["backend"]]
        assert line["status"] == row.status
        assert (
            line["step_seconds"] == ""
            if row.step_seconds is None
            else (float(line["step_seconds"]) == pytest.approx(row.step_seconds, rel=1e-5))
        )
    with shown.page.expect_download() as waiting:
        shown.page.click("#json")
    waiting.value.save_as(tmp_path / "all.json")
    whole = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert len(whole["rows"]) == len(expected)


def test_the_theme_changes_and_is_kept(shown: Opened) -> None:
    page = shown.page
    colour = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.click("#theme")
    page.click("#theme")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.evaluate(colour) != light


def test_a_page_for_print_is_light_has_no_controls_and_opens_what_is_folded(shown: Opened) -> None:
    page = shown.page
    page.click("#theme")
    page.click("#theme")
    page.emulate_media(media="print")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.locator("#filters").is_hidden()
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("() => document.querySelectorAll('details:not([open])').length") == 0
    assert page.pdf().startswith(b"%PDF")


def test_a_chip_lights_its_backend_in_every_figure(shown: Opened) -> None:
    shown.page.locator("#chips button", has_text="octave").click()
    assert shown.page.locator("body.lit").count() == 1
    assert shown.page.locator("figure .ln.on").count() >= 1
    assert shown.page.locator(".steps tr.on").count() == 4  # of the four cases
    shown.page.locator("#chips button", has_text="octave").click()
    assert shown.page.locator("body.lit").count() == 0


@pytest.mark.parametrize(("viewport", "scheme"), [(PHONE, "dark"), (LAPTOP, "light")], ids=["phone", "laptop"])
def test_axe_finds_no_fault_and_nothing_is_wider_than_the_screen(
    browser: Any, tmp_path: Path, scheme: str, viewport: dict[str, int]
) -> None:
    run = proven(sample_results(("numpy", "cpp", "c", "go", "cpp-tuned"), failures={"go": "build_failed"}))
    with opened(browser, page_file(tmp_path, run), viewport=viewport, color_scheme=scheme) as found:
        found.page.locator("#work .strip button").first.click()
        mark(found.page, 0)
        mark(found.page, 1)
        assert accessibility_faults(found.page) == []
        assert found.page.evaluate("() => document.documentElement.scrollWidth") <= viewport["width"]


def test_hostile_texts_run_nothing_and_are_shown(browser: Any, tmp_path: Path) -> None:
    path = page_file(tmp_path, hostile(usual()))
    with opened(browser, path) as found:
        found.page.locator("#work .strip button").first.click()
        mark(found.page, 0)
        mark(found.page, 1)
        assert found.page.evaluate("() => window.pwned") is None
        assert found.page.locator("img").count() == 0
        assert "<script>pwned=1</script>" in found.page.locator("#work").inner_text()
        with found.page.expect_download() as waiting:
            found.page.click("#csv")
        assert waiting.value.suggested_filename == "pyfnn-rows.csv"
        assert found.errors == []
        assert [url for url in found.requests if not url.startswith("blob:")] == [path.resolve().as_uri()]


def test_a_run_with_every_status_shows_each_with_reason_and_remedy(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_file(tmp_path, every_status())) as found:
        shown = found.page.locator("#not-timed").inner_text()
        table = set(column(found.page, "step time [95 %]"))
        for status, failure in FAILURES.items():
            assert failure["reason"].splitlines()[0] in shown
            assert failure.get("remedy", "") in shown
            assert status.replace("_", " ") in table
        assert found.errors == []


def test_a_page_of_two_hosts_compares_within_a_run_alone(browser: Any, tmp_path: Path) -> None:
    first, second = sample_results(), sample_results(seed=1)
    elsewhere = second.model_copy(update={"host": {"cpu_model": "another CPU"}})
    with opened(browser, page_file(tmp_path, first, elsewhere)) as found:
        assert "Host 2: another CPU" in found.page.locator("#answer").inner_text()
        mark(found.page, 0)
        mark(found.page, 3)
        assert "They are of different runs" in found.page.locator("#marked").inner_text()
        found.page.select_option("select[data-filter=run]", index=2)
        assert found.page.locator("#work tbody tr[data-row]").count() == 3


def test_a_page_of_the_full_suite_shows_one_case_and_200_rows_until_asked(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_file(tmp_path, full_suite())) as found:
        assert found.page.locator("article.case:visible").count() == 1
        assert found.page.locator("#work tbody tr[data-row]").count() == 200
        found.page.select_option("#case", value="75")
        assert found.page.locator("#case-75").is_visible()
        assert found.page.locator("#pair-case").input_value() == "75"
        found.page.click("#more-rows")
        assert found.page.locator("#work tbody tr[data-row]").count() == 76 * 20
        assert found.errors == []


@pytest.mark.soak
def test_a_page_of_the_full_suite_opens_within_two_seconds_and_scrolls_smoothly(browser: Any, tmp_path: Path) -> None:
    with opened(browser, page_file(tmp_path, full_suite())) as found:
        loaded = found.page.evaluate("() => performance.getEntriesByType('navigation')[0].loadEventEnd")
        frames: list[float] = found.page.evaluate(SCROLLED)
    print(f"open after {loaded:.0f} ms; longest of {len(frames)} frames while scrolling: {max(frames):.0f} ms")
    assert loaded < 2000
    assert sorted(frames)[len(frames) * 95 // 100] < 50


SCROLLED = """() => new Promise((done) => {
  const frames = [];
  let before = performance.now();
  const step = (now) => {
    frames.push(now - before);
    before = now;
    scrollBy(0, 200);
    if (frames.length < 120) requestAnimationFrame(step);
    else done(frames);
  };
  requestAnimationFrame(step);
})"""
