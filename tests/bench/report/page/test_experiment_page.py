"""Claims about the page of an experiment: it shows what report.json says, and nothing in a file can act on it."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.browser import LAPTOP, PHONE, accessibility_faults, opened
from support.experiment_reports import FIGURE_TEXT, QUESTION, spoil, write_report
from support.sample_results import sample_results

from bench.report.__main__ import main
from bench.report.page.svg import drawing
from bench.results.experiment_report import REPORT, holds_experiment, load_experiment_report
from bench.results.schema import ResultsError
from bench.results.store import save_results


class Text(HTMLParser):
    """The texts of a page and its links."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.downloads: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = dict(attrs)
        if tag == "a" and "download" in own:
            kind, _, content = str(own["href"]).partition(";base64,")
            assert kind.startswith("data:")
            self.downloads[str(own["download"])] = base64.b64decode(content).decode()

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_report(tmp_path / "halves")
    return tmp_path / "halves"


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_has_the_question_the_answers_the_tables_and_the_texts_of_the_figures(folder: Path) -> None:
    found = Text(page_of(folder))
    report = load_experiment_report(folder)
    for text in (
        QUESTION,
        *(finding.text for finding in report.findings),
        "row 1",
        "0.3333",  # four digits, and a dash for what is absent
        "–",
        "of one whole",
        FIGURE_TEXT,
        "Many rows: 60 rows",
        "backend",
        "packages.numpy",
        "cpu_model",
    ):
        assert text in found.texts, text
    assert found.texts.count(FIGURE_TEXT) == 2
    labels = re.findall(r'role="img" aria-label="([^"]*)"', page_of(folder))
    assert labels == ["A rising line, halves.", "A rising line, again."]


def test_downloads_are_the_files_beside_the_page(folder: Path) -> None:
    found = Text(page_of(folder)).downloads
    assert set(found) == {"halves.csv", "long.csv", REPORT}
    for name in ("halves.csv", "long.csv"):
        assert found[name] == (folder / name).read_text(encoding="utf-8")
    assert json.loads(found[REPORT]) == json.loads((folder / REPORT).read_text(encoding="utf-8"))


def test_the_command_writes_the_page_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = page_of(folder)
    (folder / "report.html").unlink()
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    assert page_of(folder) == first
    assert main([str(folder), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == first


def test_an_experiment_beside_a_run_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    save_results(sample_results(), tmp_path / "run")
    assert not holds_experiment(tmp_path / "run")
    assert main([str(tmp_path / "run"), str(folder), "--out", str(tmp_path / "page.html")]) == 2
    error = capsys.readouterr().err
    assert error == f"bench.report: {folder}: is an experiment, which has a page of its own; name it alone\n"
    assert not (tmp_path / "page.html").exists()


def test_cells_without_a_report_are_no_run_and_have_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text('{\n "schema": "pyfnn-experiment/1",\n "experiment": "moons"}')
    assert main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"run it again with --out {tmp_path}: finished cells are kept" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"figures": [{"name": "../../secret", "alt": ""}]}, "figures.0.name"),
        ({"figures": [{"name": "missing", "alt": ""}]}, "missing.svg: No such file"),
        ({"findings": [{"text": "a", "kind": "sure"}]}, "findings.0.kind"),
        ({"schema": "pyfnn-experiment-report/2"}, "schema"),
        ({"more": 1}, "more"),
    ],
)
def test_an_altered_report_is_refused_with_the_place(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    data = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    (folder / REPORT).write_text(json.dumps(data | change), encoding="utf-8")
    assert main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# Drawings


def svg(inside: str, box: str = "0 0 72 36") -> str:
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box}">{inside}</svg>'
    )


def shown(inside: str) -> str:
    return str(drawing(svg(inside), "f0-", "alt", "a.svg").markup)


@pytest.mark.parametrize(
    "inside",
    [
        "<script>pwned</script>",
        '<g onload="pwned"/>',
        '<a xlink:href="javascript:pwned"/>',
        '<use xlink:href="https://pwned.example/a.svg#b"/>',
        '<image xlink:href="https://pwned.example/a.png"/>',
        '<image xlink:href="data:image/svg+xml;base64,cHduZWQ=pwned"/>',
        "<foreignObject>pwned</foreignObject>",
        "<style>pwned{}</style>",
        '<rect style="fill:url(https://pwned.example)"/>',
        '<rect style="pwned:fixed"/>',
        '<rect fill="url(javascript:pwned)"/>',
        "<g>pwned</g>",
        '<html:p xmlns:html="http://www.w3.org/1999/xhtml">pwned</html:p>',
        '<rect id="pwned"/>',
    ],
)
def test_nothing_of_a_drawing_can_act_or_reach_outside(inside: str) -> None:
    assert "pwned" not in shown(inside)
    assert "pwned" in svg(inside)


def test_a_drawing_keeps_its_texts_and_refers_to_its_own_parts_with_a_prefix() -> None:
    inside = (
        '<defs><clipPath id="c"><rect width="9" height="9"/></clipPath><path id="m" d="M 0 0&#10;L 1 1"/></defs>'
        '<g clip-path="url(#c)"><use xlink:href="#m" x="3"/></g>'
        "<text style=\"font: 7px 'DejaVu Sans'; fill: #333\">a &lt; b<tspan>²</tspan> c</text>"
    )
    found = shown(inside)
    assert '<clipPath id="f0-c">' in found
    assert 'clip-path="url(#f0-c)"' in found
    assert '<path id="f0-m" d="M 0 0 L 1 1">' in found
    assert 'href="#f0-m"' in found
    assert ">a &lt; b<tspan>²</tspan> c</text>" in found
    assert "DejaVu Sans&#39;, Verdana, sans-serif" in found
    assert drawing(svg(inside), "f0-", "alt", "a.svg").width == 96


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<svg",
        "<p/>",
        svg("", "0 0 a b"),
        svg("", "0 0 1.2.3 4"),
        svg("", "0 0 ١ 4"),
        svg("<g>" * 20_000 + "</g>" * 20_000),
        '<!DOCTYPE svg [<!ENTITY a "b">]>' + svg("&a;"),
        svg("").replace("svg", "s"),
    ],
)
def test_what_is_no_drawing_is_refused_by_name(text: str) -> None:
    with pytest.raises(ResultsError, match=r"^a\.svg: "):
        drawing(text, "f0-", "alt", "a.svg")


# In a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_anyone_can_read_the_page_and_it_fits_the_screen(
    browser: Any, folder: Path, viewport: dict[str, int], scheme: str
) -> None:
    with opened(browser, folder / "report.html", viewport=viewport, color_scheme=scheme) as found:
        found.page.eval_on_selector_all("details", "(all) => all.forEach((one) => { one.open = true })")
        assert accessibility_faults(found.page) == []
        assert found.page.evaluate("() => document.documentElement.scrollWidth") <= viewport["width"]
        sizes = found.page.evaluate(
            "() => [...document.querySelectorAll('.drawn text')].map((text) => text.getBoundingClientRect().height)"
        )
        assert sizes
        assert min(sizes) > 8  # pixels
        assert found.errors == []
        assert len(found.requests) == 1


def test_a_download_is_a_file(browser: Any, folder: Path) -> None:
    with opened(browser, folder / "report.html") as found:
        with found.page.expect_download() as download:
            found.page.get_by_role("link", name="Download halves.csv").click()
        assert download.value.suggested_filename == "halves.csv"
        assert Path(download.value.path()).read_bytes() == (folder / "halves.csv").read_bytes()


def test_hostile_texts_and_drawings_do_nothing(browser: Any, folder: Path) -> None:
    spoil(folder)
    assert main([str(folder)]) == 0
    with opened(browser, folder / "report.html") as found:
        page = found.page
        assert page.evaluate("() => typeof pwned") == "undefined"
        assert "{{ 7*7 }}" in page.locator("h1").inner_text()
        assert page.locator("main").is_visible()
        assert page.locator("script, foreignObject, .drawn a, .drawn [onclick], .drawn style").count() == 0
        assert page.locator("text=seen").count() == 1
        assert found.errors == []
        assert len(found.requests) == 1
