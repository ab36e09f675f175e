"""Claims about report.html as a file: self-contained, small, inert, and equal to the results. No browser is needed."""

import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pages import every_status, full_suite, hostile, page_file, usual
from support.places import TESTS
from support.reports import ALL_BACKENDS, edited
from support.sample_results import FAILURES, sample_results, swept_results

from bench.format import with_interval
from bench.report.page import Source
from bench.report.page.content import page_of
from bench.report.page.data import COLUMNS
from bench.report.page.figures import Looks, curves, effort
from bench.report.page.geometry import lanes, log_axis, polyline
from bench.report.page.write import html
from bench.report.run_view import run_view
from bench.report.sentences import standing_out
from bench.report.style import backend_style
from bench.report.views import case_views
from bench.results.crossing import load_crossing
from bench.results.schema import Results
from bench.results.store import load_results


class Outline(HTMLParser):
    """The elements, texts and identifiers of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All texts, with single spaces."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def run() -> Results:
    return usual()


@pytest.fixture(scope="module")
def page(run: Results) -> str:
    return html([Source(run_view(run))])


def data_of(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(text)
    return found


def rows_of(page: str) -> Iterator[dict[str, Any]]:
    data = data_of(page)
    for row in data["rows"]:
        yield {"at": data["cases"][row[0]], **dict(zip(data["columns"], row, strict=True))}


def test_the_page_asks_for_nothing_outside_itself(page: str) -> None:
    outline = Outline(page)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(outline.tags)
    assert outline.tags.count("script") == 2
    links = [value for name, value in outline.attributes if name in ("src", "href", "action", "data")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "@import" not in page
    assert "url(" not in page


def test_the_policy_allows_the_pages_own_script_alone(page: str) -> None:
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]{44}'", page)


def test_identifiers_are_unique_and_links_lead_to_them(page: str) -> None:
    outline = Outline(page)
    identifiers = [value for name, value in outline.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    targets = {value[1:] for name, value in outline.attributes if name == "href"}
    assert targets <= set(identifiers)


def test_the_rows_are_those_of_the_results_to_six_digits(run: Results, page: str) -> None:
    expected = {(case.title, b.name): b for case in run.cases for b in case.backends if b.instance == b.name}
    found = {(row["at"]["title"], row["backend"]): row for row in rows_of(page)}
    assert found.keys() == expected.keys()
    for key, row in found.items():
        b = expected[key]
        assert row["status"] == b.status
        for name, estimate in (("step", b.step_seconds), ("ratio", b.ratio)):
            if estimate is None:
                assert row[name] is None
            else:
                assert row[name] == pytest.approx([estimate.median, estimate.low, estimate.high], rel=1e-5)
        assert row["lines"] == b.source_lines
        assert row["gflops"] == (pytest.approx(b.gflops, rel=1e-5) if b.gflops else None)


def test_every_pair_of_the_results_is_in_the_page_with_its_verdict(run: Results, page: str) -> None:
    data = data_of(page)
    at = data["columns"].index("backend")
    for case, shown in zip(run.cases, data["cases"], strict=True):
        own = data["rows"][shown["first"] :]
        found = {(own[a][at], own[b][at]): rest for a, b, *rest in shown["pairs"]}
        expected = {(p.backend, p.than): p for p in case.pairs or () if "@" not in p.backend + p.than}
        assert found.keys() == expected.keys()
        for key, (ratio, factor, verdict, *more) in found.items():
            pair = expected[key]
            bounds = [pair.ratio.median, pair.ratio.low, pair.ratio.high]
            assert [ratio, ratio / factor, ratio * factor] == pytest.approx(bounds, rel=1e-4)
            assert data["verdicts"][verdict] == pair.verdict
            assert more == ([pair.more_launches] if pair.verdict == "undecided" else [])


def test_every_sample_of_a_timed_row_is_in_the_page_to_a_thousandth(run: Results, page: str) -> None:
    expected = {(case.title, b.name): b for case in run.cases for b in case.backends if b.instance == b.name}
    for row in rows_of(page):
        b = expected[row["at"]["title"], row["backend"]]
        if b.status != "ok":
            assert row["samples"] is None
            continue
        middle, _, *launches = row["samples"]
        found = [middle * (1 + value / 1000) for launch in launches for value in launch]
        assert found == pytest.approx([s.seconds / s.steps for s in b.samples], rel=6e-4)


def test_too_many_samples_are_left_out_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.page.data.MOST_SAMPLES", 10)
    data = data_of(html([Source(run_view(sample_results()))]))
    assert data["samples"] is False
    assert all(row[COLUMNS.index("samples")] is None for row in data["rows"])


def test_times_and_ratios_of_the_tables_are_those_of_the_results(run: Results, page: str) -> None:
    text = Outline(page).text
    for view in case_views(run):
        for backend in view.backends:
            if backend.step:
                assert with_interval(backend.step, view.unit.seconds) in text
            if backend.ratio:
                assert with_interval(backend.ratio) in text


def test_a_hostile_text_in_every_field_stays_text() -> None:
    plain, spoilt = usual(), hostile(usual())
    ours, theirs = (
        Outline(html([Source(run_view(plain))])),
        Outline(
            html(
                [
                    Source(run_view(spoilt), "<b>"),
                ]
            )
        ),
    )
    assert set(theirs.tags) <= {*ours.tags, "h4"}  # h4: an unknown device has a warning
    assert theirs.tags.count("script") == 2
    assert not [name for name, _ in theirs.attributes if name.startswith("on")]
    assert not [value for name, value in theirs.attributes if name == "href" and not value.startswith("#")]
    assert "{{ 7*7 }}" in theirs.text  # no template of a text is evaluated


def test_every_failure_has_its_reason_and_its_remedy() -> None:
    text = Outline(html([Source(run_view(every_status()))])).text
    for failure in FAILURES.values():
        assert " ".join(failure["reason"].split()) in text
        assert failure.get("remedy", "") in text


def test_the_evidence_of_each_backend_names_what_was_compared_how_close_and_the_bound(page: str) -> None:
    text = Outline(page).text
    assert "133 4 dW_2 of the small network 1e-07 1e-05 3.1 % none" in text
    assert "dW_2 of the small network: error 0.031, allowed 4e-06" in text


def test_the_page_of_the_full_suite_is_clearly_below_three_megabytes(tmp_path: Path) -> None:
    assert page_file(tmp_path, full_suite()).stat().st_size < 2_800_000


def test_a_page_without_a_case_or_a_time_says_so(tmp_path: Path) -> None:
    text = page_file(tmp_path, sample_results(workloads=())).read_text(encoding="utf-8")
    assert "No case was measured." in text
    failed = sample_results(("numpy", "cpp"), failures=dict.fromkeys(("numpy", "cpp"), "crashed"))
    assert "No backend was timed." in page_file(tmp_path, failed).read_text(encoding="utf-8")


def test_runs_are_grouped_by_host_and_keep_their_own_ratios() -> None:
    first, second = sample_results(), sample_results(seed=1)
    elsewhere = second.model_copy(update={"host": {"cpu_model": "another CPU", "usable_cpus": 8}})
    page = page_of([Source(run_view(one)) for one in (first, elsewhere, second)])
    assert [len(runs) for _, runs in page.hosts] == [2, 1]
    assert [run.results for run in page.runs] == [first, second, elsewhere]
    assert [run["host"] for run in page.data["runs"]] == [0, 0, 1]
    assert page.hosts[1][0] == "Host 2: another CPU, 8 CPUs"
    numbers = [case.number for case in page.cases]
    assert numbers == [0, 1, 2]
    for case in page.data["cases"]:
        rows = {page.data["rows"][case["first"] + place][0] for pair in case["pairs"] for place in pair[:2]}
        assert rows == {page.data["cases"].index(case)}


def test_a_sweep_has_a_chart_and_its_tables() -> None:
    results = swept_results({"numpy": lambda n: 1e-5 + n * 1e-7, "c": lambda n: n * 1e-6}, [1, 4, 16])
    outline = Outline(html([Source(run_view(results))]))
    assert "Step time along batch: wine-deep along batch" in outline.text
    assert "Fastest: wine-deep along batch" in outline.text


# Figures -------------------------------------------------------------------------------------------------------------


def test_marks_stand_where_their_values_are_on_the_log_axis() -> None:
    axis = log_axis([1.0, 100.0])
    assert axis.at(10.0) == pytest.approx(50.0, abs=0.01)
    assert [tick.text for tick in axis.ticks] == ["1", "3", "10", "30", "100"]
    for tick in axis.ticks:
        assert axis.at(float(tick.text)) == pytest.approx(tick.at, abs=0.02)


def test_no_label_under_a_chart_lies_on_another_or_on_the_line_of_one() -> None:
    places = [5.0, 6.0, 99.0, 50.0, 50.0]
    found = lanes(places)
    assert sorted(found) == list(range(len(places)))
    for one, line in zip(places, found, strict=True):
        # A line goes down from its place to its label; labels go to the right of theirs.
        assert all(other >= line for place, other in zip(places, found, strict=True) if place < one)


def test_a_chart_of_curves_colours_the_backends_that_matter_and_greys_the_rest() -> None:
    (view,) = case_views(sample_results(ALL_BACKENDS))
    chart = curves("c", view, Looks())
    assert chart is not None
    assert len(chart.lines) == len(ALL_BACKENDS)
    strong = {line.name for line in chart.lines if line.strong}
    assert len(strong) == len(standing_out(view)) < len(ALL_BACKENDS)
    assert {"numpy (Python)", "cpp-tuned (C++)"} <= strong
    assert len(chart.under) == len(strong)


def test_curves_of_one_colour_end_in_different_marks(run: Results) -> None:
    page = page_of([Source(run_view(run))])
    text = html([Source(run_view(run))])
    for case in page.cases:
        assert case.curves is not None
        ends = [(line.end, page.looks.styles[line.look or 0]) for line in case.curves.lines if line.strong]
        assert all(end for end, _ in ends)
        assert len({style for _, style in ends}) == len(ends)
        assert len({style.colour for _, style in ends}) < len(ends)  # so that colour alone would not do
        (figure,) = re.findall(rf'<figure class="chart" id="{case.curves.name}">.*?</figure>', text, re.DOTALL)
        assert figure.count("<use ") == len(ends)


def test_the_chart_of_curves_names_no_order_of_times(page: str) -> None:
    text = Outline(page).text
    assert "the table of step times decides which backend is faster" in text
    assert "epochs take:" not in text
    assert "A curve further left is faster" not in text


def test_evidence_with_no_comparison_or_a_failed_one_is_no_proof() -> None:
    worst = {"trial": "small", "what": "dW_2", "error": 1e-7, "bound": 1e-5, "share": 0.03}
    for spoilt in ({"checks": 0}, {"failures": ["dW_2"]}):
        parity = {"passed": True, "checks": 9, "worst": worst, "failures": [], **spoilt}
        results = edited(sample_results(("numpy", "cpp")), {"cpp": {"parity": parity}})
        found = {row["backend"]: row["parity"] for row in rows_of(html([Source(run_view(results))]))}
        assert found["cpp"][0] is False


def test_evidence_without_its_nearest_comparison_hides_no_other() -> None:
    worst = {"trial": "small", "what": "dW_2", "error": 1e-7, "bound": 1e-5, "share": 0.03}
    parts = [{"passed": False, "failures": ["dW_2"]}, {"passed": True, "checks": 9, "worst": worst, "failures": []}]
    for known in (parts, parts[:1]):
        results = sample_results(("numpy", "cpp"), ("wine-deep", "digits")[: len(known)])
        cases = [edited(results, {"cpp": {"parity": part}}).cases[at] for at, part in enumerate(known)]
        text = html([Source(run_view(results.model_copy(update={"cases": cases})))])
        assert "inf" not in Outline(text).text
        assert ("dW_2 of the small network" in text) is (len(known) == 2)


def test_the_words_of_the_proof_are_explained_where_they_first_stand(page: str) -> None:
    text = Outline(page).text
    for word, meaning in (("oracle", "a slow network of reference"), ("bound", "the most that rounding can cause")):
        after = text[text.index("Why believe these numbers?") :]
        assert 0 < after.index(meaning) - after.index(word) < 100


def test_the_page_of_the_gallery_is_what_its_results_make() -> None:
    gallery = TESTS.parent / "docs" / "gallery"
    source = Source(run_view(load_results(gallery)), "docs/gallery", load_crossing(gallery))
    assert (gallery / "report.html").read_text(encoding="utf-8") == html([source]), (
        "python -m bench.report docs/gallery"
    )


def test_a_failed_backend_has_no_mark() -> None:
    (view,) = case_views(edited(sample_results(("numpy", "cpp", "c")), {"c": {"status": "crashed"}}))
    chart = effort("e", view, Looks())
    assert chart is not None
    assert [label.text for label in chart.beside] == ["cpp", "numpy"]
    assert len(chart.marks) == 2


def test_a_backend_has_one_look_in_all_figures_of_a_page(run: Results) -> None:
    page = page_of([Source(run_view(run))])
    for case in page.cases:
        for _, dots in case.plot.groups:
            for dot in dots:
                assert page.looks.styles[dot.look] == backend_style(dot.backend.name)


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3)), min_size=1, max_size=60))
def test_a_line_leaves_out_only_points_that_lie_on_it(points: list[tuple[float, float]]) -> None:
    axis = log_axis([1e-3, 1e3], 0.0)
    drawn = [tuple(map(float, place.split(","))) for place in polyline(points, axis, axis).split()]
    for a, b in points:
        x, y = axis.at(a) * 10, 1000 - axis.at(b) * 10
        nearest = math.inf
        for (x1, y1), (x2, y2) in pairwise([drawn[0], *drawn]):
            length = (x2 - x1) ** 2 + (y2 - y1) ** 2
            share = min(1.0, max(0.0, ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / length)) if length else 0.0
            nearest = min(nearest, math.hypot(x - x1 - share * (x2 - x1), y - y1 - share * (y2 - y1)))
        assert nearest < 2.5  # units of 1000: 1 of the line, and the rounding of its ends


def test_a_straight_line_is_its_ends() -> None:
    axis = log_axis([1e-3, 1e3], 0.0)
    assert len(polyline([(10.0**k, 10.0**k) for k in range(-3, 4)], axis, axis).split()) == 2
