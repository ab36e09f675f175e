"""Claims about docs/ci: the script and each step of the workflow do what they say, with stand-ins for python and gh."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import arguments, compare

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "docs" / "ci" / "compare.sh"
STAND_IN = """#!/bin/sh
for word; do printf "%s\\n" "$word"; done >> "$RECORD"
echo --end-- >> "$RECORD"
if [ -n "$PRINTED" ]; then printf "%b\\n" "$PRINTED"; fi
exit ${STATUS:-0}
"""
GITHUB = {"github.event.pull_request.base.sha": "1a2b3c4", "github.event.number": "7", "github.token": "secret"}


class Stage:
    """A folder with stand-ins that record their words."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.record = folder, folder / "record"
        for name in ("python", "gh"):
            (folder / name).write_text(STAND_IN)
            (folder / name).chmod(0o755)

    def run(self, command: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        variables = {**os.environ, "PATH": path, "RECORD": str(self.record), **environment}
        words = ["bash", "-eo", "pipefail", "-c", command]
        return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)

    def calls(self) -> list[list[str]]:
        return [call.splitlines() for call in self.record.read_text().split("--end--\n") if call]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def steps() -> list[dict[str, Any]]:
    document = yaml.safe_load((ROOT / "docs" / "ci" / "compare.yml").read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = document["jobs"]["compare"]["steps"]
    return found


def step(name: str) -> tuple[str, dict[str, str]]:
    """Return the command and the environment of a step, as GitHub fills it in."""
    (found,) = (one for one in steps() if one.get("name") == name)
    environment = {k: re.sub(r"\$\{\{ (.*?) \}\}", lambda m: GITHUB[m[1]], v) for k, v in found.get("env", {}).items()}
    return found["run"], environment


def checked(call: list[str]) -> tuple[Any, Any]:
    """Return a call of bench.compare as its own parser and that of bench.run read it."""
    assert call[:2] == ["-m", "bench.compare"]
    own = call.index("--")
    return compare._parser().parse_args(call[2:own]), arguments.parser().parse_args(call[own + 1 :])


def test_the_script_measures_against_the_revision_and_writes_the_table(stage: Stage) -> None:
    done = stage.run(f"{shlex.quote(str(SCRIPT))} main table.md --backends 'numpy,c' --budget 30", FAIL_OVER="8%")
    assert (done.returncode, done.stderr) == (0, "")
    (call,) = stage.calls()
    own, options = checked(call)
    assert (own.against, own.markdown, own.fail_over) == ("main", Path("table.md"), 0.08)
    assert (options.backends, options.budget) == ("numpy,c", 30)


def test_the_script_has_a_suite_and_a_limit_of_its_own_and_passes_the_exit_status_on(stage: Stage) -> None:
    for status in (0, compare.SLOWER, compare.CANNOT_COMPARE):
        assert stage.run(f"{SCRIPT} main table.md", STATUS=str(status)).returncode == status
    own, options = checked(stage.calls()[0])
    assert (own.fail_over, options.suite) == (0.05, "quick")
    assert stage.run(f"{SCRIPT} main").returncode != 0


def test_the_workflow_measures_against_the_base_of_the_pull_request(stage: Stage) -> None:
    command, environment = step("Compare")
    assert stage.run(command, ROOT, **environment).returncode == 0
    (call,) = stage.calls()
    own, options = checked(call)
    assert (own.against, own.markdown) == ("1a2b3c4", Path("table.md"))
    uploaded = next(one["with"]["path"] for one in steps() if "upload-artifact" in one.get("uses", ""))
    assert options.out.is_relative_to(uploaded)


def comment(stage: Stage, **environment: str) -> tuple[list[list[str]], str]:
    """Return the calls of gh in the step that comments, and what the step printed; check the summary."""
    command, variables = step("Comment")
    (stage.folder / "table.md").write_text("| a |\n")
    summary = stage.folder / "summary"
    variables |= {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_REPOSITORY": "me/mine", **environment}
    done = stage.run(command, stage.folder, **variables)
    assert done.returncode == 0
    assert summary.read_text() == "| a |\n"
    return stage.calls(), done.stdout


LOOK = ["api", "--paginate", "repos/me/mine/issues/7/comments", "--jq"]


def test_the_workflow_comments_the_table_with_its_mark(stage: Stage) -> None:
    (look, write), _ = comment(stage)
    assert look[:4] == LOOK
    assert write == ["pr", "comment", "7", "--body-file", "comment.md"]
    mark, *rest = (stage.folder / "comment.md").read_text().splitlines()
    assert rest == ["", "| a |"]
    assert mark.startswith("<!--")
    assert f'startswith("{mark}")' in look[4]


def test_the_workflow_edits_its_own_last_comment_and_no_other_one(stage: Stage) -> None:
    (look, write), _ = comment(stage, PRINTED="11\n12")
    assert look[:4] == LOOK
    assert write[:4] == ["api", "--method", "PATCH", "repos/me/mine/issues/comments/12"]
    assert write[4:] == ["--field", "body=@comment.md"]


def test_the_workflow_says_so_where_it_may_not_comment(stage: Stage) -> None:
    calls, printed = comment(stage, STATUS="1")
    assert len(calls) == 2
    assert "no right to comment" in printed


def test_no_credentials_stay_beside_the_code_that_is_measured() -> None:
    (checkout,) = (one for one in steps() if "actions/checkout" in one.get("uses", ""))
    assert checkout["with"]["persist-credentials"] is False
    assert [one.get("name") for one in steps() if "GH_TOKEN" in one.get("env", {})] == ["Comment"]


def test_the_workflow_installs_as_the_readme_does() -> None:
    assert step("Install")[0] in (ROOT / "README.md").read_text(encoding="utf-8")
