"""Claims about PYFNN_REQUIRE: which absent tools fail a test and which skip it."""

import pytest
from support.requirements import require


@pytest.mark.parametrize(
    ("required", "tool", "outcome"),
    [
        ("", "julia", "skipped"),
        ("go,julia", "julia", "failed"),
        ("go", "julia", "skipped"),
        ("all", "julia-inbounds", "failed"),
        ("all,-julia", "julia", "skipped"),
        ("all,-julia", "julia-inbounds", "skipped"),
        ("all,-julia-inbounds", "julia", "failed"),
        ("all,-julia", "julian", "failed"),
        ("all", "gpu", "skipped"),
        ("all,gpu", "gpu", "failed"),
    ],
)
def test_a_tool_is_required_by_name_or_by_all_without_its_family(
    required: str, tool: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYFNN_REQUIRE", required)
    kind = pytest.fail.Exception if outcome == "failed" else pytest.skip.Exception
    with pytest.raises(kind, match=f"{tool} is .*missing: install it"):
        require(tool, False, "install it")


def test_a_tool_that_is_there_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFNN_REQUIRE", "all")
    require("julia", True, "install it")
