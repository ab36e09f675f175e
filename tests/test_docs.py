"""Claims about the documents: links lead somewhere, commands and options exist, Python in them runs.

The tests of the code itself prove what the documents say about results.
"""

import ast
import importlib.util
import os
import re
from pathlib import Path

import pytest
from planted import ensemble, kinds, model, optimizers
from support.requirements import require

from bench import arguments
from bench.suites import load
from pyfnn import cli, registry

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("tests/**/*.md")])
}
USER_PAGES = "\n".join(text for name, text in DOCUMENTS.items() if name == "README.md" or name.startswith("docs/"))
TWO_SCREENS = 80  # lines
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
FENCED = re.compile(r"^```.*?^```$", flags=re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Return the fenced blocks in this language, each with the name of its document."""
    fenced = re.compile(rf"^```{language}\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    return [(name, code) for name, text in DOCUMENTS.items() for code in fenced.findall(text)]


def found(pattern: str) -> set[str]:
    """Return the matches of a pattern in all documents; its group where it has one."""
    return {match for text in DOCUMENTS.values() for match in re.findall(pattern, text)}


def anchors(file: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", file.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading(name: str) -> None:
    text = re.sub(
        r'\]\([^)\s]+ "[^"]*"\)', "]", FENCED.sub("", DOCUMENTS[name])
    )  # tests/test_backpropagation.py has these
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(file), f"{name}: {file.name} has no heading #{anchor}"


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.startswith("docs/")])
def test_a_page_shows_a_figure_a_table_or_output_within_two_screens(name: str) -> None:
    lines = DOCUMENTS[name].splitlines()
    shown = [number for number, line in enumerate(lines, 1) if re.match(r"\||!\[|```", line)]
    assert shown
    assert shown[0] <= TWO_SCREENS


def test_the_planted_kinds_are_as_many_as_the_pages_say() -> None:
    results, timed = len(model.BUGS) + len(model.ENTRY_BUGS), len(kinds.KINDS.keys() - kinds.ACCEPTED)
    counts = [int(count) for count in re.findall(r"^\| .* \| (\d+) \| ", DOCUMENTS["docs/parity.md"], re.MULTILINE)]
    assert counts == [results, len(ensemble.BUGS), len(optimizers.BUGS), timed]
    assert (
        f"{results} planted bugs are rejected, and {timed} kinds of wrong or missing work"
        in DOCUMENTS["docs/method.md"]
    )


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_page_can_be_reached_from_the_readme_in_two_steps(page: str) -> None:
    readme = DOCUMENTS["README.md"]
    near = "".join(text for name, text in DOCUMENTS.items() if f"]({name}" in readme)
    assert f"](docs/{page}" in readme or f"]({page}" in near


@pytest.mark.parametrize(
    ("marker", "command"),
    [
        ("install-run", "pip install -e '.[bench]' && python -m bench.run"),
        ("install-tests", "pip install -e '.[test,frameworks]'"),
        ("tests", "pytest -n logical --dist worksteal"),
    ],
)
def test_the_readmes_marked_blocks_are_the_commands_a_user_is_promised(marker: str, command: str) -> None:
    (block,) = re.findall(rf"^<!-- ci: {marker} -->\n```sh\n(.*?)\n```$", DOCUMENTS["README.md"], flags=re.MULTILINE)
    assert block == command


@pytest.mark.parametrize("marker", ["languages-pip", "install-tests", "tests"])
def test_ci_runs_the_readmes_own_commands(marker: str) -> None:
    assert f'eval "$(readme {marker})"' in CI


def test_install_options_have_the_form_that_every_supported_pip_takes() -> None:
    assert not found(r"(?:pip|install)[^\n`]* -C[ =]")
    assert found(r"--config-settings (\w[\w.]*=\w+)")


def test_every_option_of_the_command_is_documented_and_every_documented_option_exists() -> None:
    help_text = arguments.parser().format_help()
    options = {option for option in re.findall(r"--[a-z][\w-]*", help_text) if option != "--help"}
    missing = {option for option in options if not re.search(rf"{option}(?![\w-])", USER_PAGES)}
    assert not missing
    commands = re.findall(r"(?:bench\.run|pyfnn run|pyfnn-bench)((?: [^`\n|&]*)?)", USER_PAGES)
    assert {option for command in commands for option in re.findall(r"--[a-z][\w-]*", command)} <= options | {"--help"}


def test_every_subcommand_of_pyfnn_is_documented_and_every_documented_one_exists() -> None:
    assert found(r"`pyfnn ([a-z]+)") == set(cli.COMMANDS)


def test_every_workload_suite_and_hosted_backend_is_documented() -> None:
    hosted = [name for name, row in registry.rows().items() if row.host is not None]  # manifests describe programs
    names = {*load.built_in_workloads(), *load.built_in_suites(), *hosted}
    assert names <= set(re.findall(r"[\w-]+", " ".join(found(r"`[^`\n]+`"))))


def test_every_module_that_a_document_runs_exists() -> None:
    for module in found(r"python -m ((?:bench|pyfnn)[\w.]*)"):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_every_file_that_a_document_names_by_its_path_exists() -> None:
    """Paths from the root, in backticks or plain."""
    paths = found(r"(?<![\w/.-])((?:pyfnn|bench|native|tests|docs)/[\w/]+\.[a-z]+)(?![\w*])")
    missing = {path for path in paths if not (ROOT / path).exists()}
    assert not missing


def test_every_nox_session_is_documented_and_every_documented_one_exists() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    sessions = {node.name for node in functions if any("session" in ast.unparse(d) for d in node.decorator_list)}
    assert found(r"nox -s (\w+)") == sessions
    assert set(re.findall(r"nox -s (\w+)", CI)) <= sessions


@pytest.mark.parametrize("name", sorted({name for name, _ in blocks("python")}))
def test_python_in_a_document_runs_from_top_to_bottom_and_prints_what_the_document_shows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers in the output may differ, as they do between machines."""
    codes = re.findall(r"^```python\n(.*?)^```$(?:\n\n```\n(.*?)^```$)?", DOCUMENTS[name], re.MULTILINE | re.DOTALL)
    if any("wine" in code for code, _ in codes):
        there = (Path(os.environ.get("PYFNN_DATA_DIR", "nowhere")) / "winequality-red.csv").exists()
        require("wine data", there, "set PYFNN_DATA_DIR to a folder with winequality-red.csv")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "document"}
    for code, shown in codes:
        exec(compile(code, name, "exec"), names)
        printed = capsys.readouterr().out
        assert not shown or re.sub(r"[\d.]+", "N", printed) == re.sub(r"[\d.]+", "N", shown)


def test_the_api_page_is_what_the_docstrings_say() -> None:
    spec = importlib.util.spec_from_file_location("api", ROOT / ".ci" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    assert DOCUMENTS["docs/api.md"] == api.page(), "run `python .ci/api.py`"
