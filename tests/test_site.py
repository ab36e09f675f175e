"""Claims about the documentation's site: each page is in the navigation, links lead where they do on GitHub."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from support.requirements import require

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    """The hooks of MkDocs."""
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / ".ci" / "site.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def navigation() -> list[str]:
    """Return the pages in the navigation of mkdocs.yml, in its order."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    plain = re.sub(r"!!python.*", "''", text)  # the only tag of the file

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages(part)]

    return pages(yaml.safe_load(plain)["nav"])


def test_every_page_is_in_the_navigation_once(site: ModuleType) -> None:
    found = [str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(navigation()) == sorted([*found, *site.PAGES.values()])


@pytest.mark.parametrize(
    ("folder", "link", "on_the_site"),
    [
        ("", "[m](docs/method.md#statements)", "[m](method.md#statements)"),
        ("", "![f](docs/images/overview.png)", "![f](images/overview.png)"),
        ("", "[c](CONTRIBUTING.md)", "[c](contributing.md)"),
        ("", "[r](docs/gallery/README.md)", "[r](gallery/README.md)"),
        ("docs", "[m](method.md)", "[m](method.md)"),
        ("docs", "[i](../README.md#run-it)", "[i](index.md#run-it)"),
        ("docs", "[n](../native/cpp/mlp.hpp)", "[n](https://example.org/blob/main/native/cpp/mlp.hpp)"),
        ("docs/gallery", "[i](../../README.md)", "[i](../index.md)"),
        ("docs/gallery", "[m](../method.md)", "[m](../method.md)"),
        ("docs", "[e](https://julialang.org) [a](#here)", "[e](https://julialang.org) [a](#here)"),
        ("", "[![f](docs/images/a.png)](docs/method.md)", "[![f](images/a.png)](method.md)"),
        ("", "```sh\n[m](docs/method.md)\n```", "```sh\n[m](docs/method.md)\n```"),
    ],
)
def test_links_lead_to_the_same_place_as_on_github(site: ModuleType, folder: str, link: str, on_the_site: str) -> None:
    assert site.with_links(link, folder, "https://example.org") == on_the_site


def test_a_link_that_leaves_the_site_keeps_its_text_where_no_repository_is_named(site: ModuleType) -> None:
    assert site.with_links("see [`mlp.hpp`](../native/cpp/mlp.hpp).", "docs", "") == "see `mlp.hpp`."


def test_formulas_become_mathml(site: ModuleType) -> None:
    require("latex2mathml", importlib.util.find_spec("latex2mathml") is not None, "pip install latex2mathml")
    html = site.on_page_content('<p><span class="arithmatex">\\(a &lt; b^2\\)</span></p>')
    assert html.startswith("<p><math")
    assert "<mo>&#x0003C;</mo>" in html
    assert "<msup><mi>b</mi><mn>2</mn></msup>" in html
