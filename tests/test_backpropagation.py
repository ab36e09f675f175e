"""Claims about docs/backpropagation.md: every formula is true, and every link to a line leads to the line it names.

The checks of the formulas are in `formulas`. Derivatives are compared with the complex step, which shares no code with
the oracle's backward pass.
"""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from formulas import others, ours  # noqa: F401 - they fill CHECKS
from formulas.registry import CHECKS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "backpropagation.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROW = re.compile(
    r"^\|(?: (?P<name>[^$|]+) \|)? (?P<left>\$[^|]+\$) \| (?P<right>\$[^|]+\$) \| (?P<rest>.+) \|$", re.MULTILINE
)


@pytest.mark.parametrize("row", CHECKS, ids=lambda row: CHECKS[row].__name__)
def test_a_formula_of_the_page_is_true(row: tuple[str, str]) -> None:
    CHECKS[row]()


def test_the_page_has_exactly_the_formulas_that_are_checked() -> None:
    rows = [(row["left"], row["right"]) for row in ROW.finditer(TEXT)]
    assert sorted(rows) == sorted(CHECKS)


def test_every_formula_links_to_its_check_and_those_of_the_oracle_to_its_line() -> None:
    for row in ROW.finditer(TEXT):
        check = CHECKS[row["left"], row["right"]].__name__
        assert f'"def {check}("' in row["rest"], check
        assert row["name"] or re.search(r'\.\./pyfnn/(oracle|losses|activations)\.py#L\d+ "', row["rest"]), check


def anchors() -> Any:
    spec = importlib.util.spec_from_file_location("anchors", ROOT / ".ci" / "anchors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_to_a_line_leads_to_the_line_it_names() -> None:
    assert anchors().updated(PAGE) == TEXT, "run `python .ci/anchors.py`"
    assert len(anchors().LINK.findall(TEXT)) > 70


def test_a_link_whose_code_has_moved_or_gone_is_found(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("first\nsecond\nsecond again\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text('[a](code.py#L7 "first") [b](code.py#L1 "second again")', encoding="utf-8")
    assert anchors().updated(page) == '[a](code.py#L1 "first") [b](code.py#L3 "second again")'
    for code in ("second", "third"):
        page.write_text(f'[a](code.py#L2 "{code}")', encoding="utf-8")
        with pytest.raises(LookupError, match=code):
            anchors().updated(page)


def test_the_formulas_keep_to_what_github_and_the_site_both_render() -> None:
    """Markdown takes a backslash before punctuation, and an underscore after punctuation, before TeX sees them."""
    formulas = re.findall(r"\$([^$]+)\$", TEXT)
    assert len(formulas) > 70
    for text in formulas:
        assert not re.search(r"\\[^a-zA-Z]|[)\]}]_|[*<>|`\n]", text), text
        assert text == text.strip(), text
