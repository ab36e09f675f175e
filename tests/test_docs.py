"""The documents tell the truth: links lead somewhere, commands and options exist, Python in them runs.

What they say about results is proved by the tests of the code itself.
"""

import ast
import re
from pathlib import Path

import pytest

from bench import arguments
from bench.suites import load
from pyfnn import registry

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
}
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block in that language, with the document it is in."""
    fenced = re.compile(rf"^```{language}\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
    return [(name, code) for name, text in DOCUMENTS.items() for code in fenced.findall(text)]


def told(pattern: str) -> set[str]:
    """Everything in any document that matches; the group where there is one."""
    return {found for text in DOCUMENTS.values() for found in re.findall(pattern, text)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_relative_link_leads_to_a_file_and_every_anchor_to_a_heading(name: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", DOCUMENTS[name], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target} leads nowhere"
        if anchor:
            assert anchor in anchors(file), f"{name}: {file.name} has no heading #{anchor}"


def anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("marker", "command"),
    [
        ("install-run", "pip install -e . && python -m bench.run"),
        ("install-tests", "pip install -e '.[test,frameworks]'"),
        ("tests", "pytest"),
    ],
)
def test_the_readmes_marked_blocks_are_the_commands_a_user_is_promised(marker: str, command: str) -> None:
    (found,) = re.findall(rf"^<!-- ci: {marker} -->\n```sh\n(.*?)\n```$", DOCUMENTS["README.md"], flags=re.MULTILINE)
    assert found == command


@pytest.mark.parametrize("marker", ["install-tests", "tests"])
def test_ci_runs_the_readmes_own_commands(marker: str) -> None:
    assert f'eval "$(readme {marker})"' in CI


def test_every_option_of_the_command_is_told_and_every_option_told_exists() -> None:
    options = {
        option for option in re.findall(r"--[a-z][\w-]*", arguments.parser().format_help()) if option != "--help"
    }
    users = "\n".join(text for name, text in DOCUMENTS.items() if name == "README.md" or name.startswith("docs/"))
    missing = {option for option in options if not re.search(rf"{option}(?![\w-])", users)}
    assert not missing
    commands = re.findall(r"(?:bench\.run|pyfnn-bench)((?: [^`\n|&]*)?)", users)
    assert {option for command in commands for option in re.findall(r"--[a-z][\w-]*", command)} <= options | {"--help"}


def test_every_workload_suite_and_backend_is_told() -> None:
    hosted = [name for name, row in registry.rows().items() if row.host is not None]  # programs speak for themselves
    names = {*load.built_in_workloads(), *load.built_in_suites(), *hosted}
    assert names <= set(re.findall(r"[\w-]+", " ".join(told(r"`[^`\n]+`"))))


def test_every_module_that_a_document_runs_exists() -> None:
    for module in told(r"python -m ((?:bench|pyfnn)[\w.]*)"):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_every_nox_session_told_exists_and_every_one_there_is_is_told() -> None:
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    sessions = {node.name for node in functions if any("session" in ast.unparse(d) for d in node.decorator_list)}
    assert told(r"nox -s (\w+)") == sessions
    assert set(re.findall(r"nox -s (\w+)", CI)) <= sessions


@pytest.mark.parametrize(("name", "code"), blocks("python"))
def test_python_in_a_document_runs(name: str, code: str) -> None:
    exec(compile(code, name, "exec"), {"__name__": "document"})
