"""Claims about releases: versions follow tags, the workflow builds what pyproject.toml says, CITATION.cff is whole."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false")


# Versions


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *IDENTITY, *words], cwd=folder, check=True, capture_output=True)


def version(folder: Path) -> str:
    """Return the version that a build of this folder would have."""
    code = "from setuptools_scm import get_version; print(get_version(**OPTIONS))"
    options = {**PROJECT["tool"]["setuptools_scm"], "root": str(folder)}
    words = [sys.executable, "-W", "ignore", "-c", code.replace("**OPTIONS", f"**{options!r}")]
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits; the first is tagged v1.2.3."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    for name in ("one", "two"):
        (folder / name).write_text(name)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", name)
        if name == "one":
            git(folder, "tag", "v1.2.3")
    return folder


def test_a_version_is_that_of_the_tag(repository: Path) -> None:
    assert re.fullmatch(r"1\.2\.4\.dev1\+g[0-9a-f]+", version(repository))
    git(repository, "checkout", "-q", "v1.2.3")
    assert version(repository) == "1.2.3"


def test_a_shallow_clone_without_tags_and_a_tree_without_git_have_a_version(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--depth=1", "--no-tags", f"file://{repository}", "shallow")
    assert re.fullmatch(r"0\.\d\.dev1\+g[0-9a-f]+", version(tmp_path / "shallow"))
    bare = tmp_path / "bare"
    bare.mkdir()
    assert version(bare) == PROJECT["tool"]["setuptools_scm"]["fallback_version"]


# The workflow


def steps(job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOW["jobs"][job]["steps"]
    return found


def test_wheels_are_built_for_linux_and_macos_on_x86_and_arm_with_every_level() -> None:
    assert WORKFLOW["jobs"]["wheels"]["strategy"]["matrix"]["runner"] == [
        "ubuntu-24.04",
        "ubuntu-24.04-arm",
        "macos-15-intel",
        "macos-15",
    ]
    settings = PROJECT["tool"]["cibuildwheel"]["config-settings"]
    assert settings["cmake.define.PYFNN_MARCH"] == "levels"
    options = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for name in settings:
        assert re.search(rf"(set|option)\({name.rpartition('.')[2]} ", options), name


def test_every_build_has_the_tags_and_what_is_published_was_tried_and_is_of_the_tag() -> None:
    for job in ("wheels", "sdist"):
        checkout = steps(job)[0]
        assert checkout["uses"].startswith("actions/checkout@")
        assert checkout["with"] == {"fetch-depth": 0, "persist-credentials": False}
    assert "pyfnn run" in PROJECT["tool"]["cibuildwheel"]["test-command"]
    assert any("pyfnn run" in step.get("run", "") for step in steps("sdist"))
    publish = WORKFLOW["jobs"]["publish"]
    assert sorted(publish["needs"]) == ["sdist", "wheels"]
    assert publish["if"] == "github.event_name == 'push'"  # a run by hand, even on a tag, publishes nothing
    assert WORKFLOW[True] == {"push": {"tags": ["v*"]}, "workflow_dispatch": None}  # YAML reads the key `on` as True
    assert publish["permissions"] == {"id-token": "write"}
    assert WORKFLOW["permissions"] == {"contents": "read"}


@pytest.mark.parametrize(
    ("names", "right"),
    [
        (["pyfnn-1.2.3.tar.gz", "pyfnn-1.2.3-cp312-cp312-manylinux_2_28_x86_64.whl"], True),
        (["pyfnn-1.2.3.tar.gz", "pyfnn-1.2.4.dev1+g1a2b3c4-cp312-cp312-manylinux_2_28_x86_64.whl"], False),
        (["pyfnn-1.2.31.tar.gz"], False),
    ],
)
def test_files_of_another_version_than_the_tag_are_not_published(names: list[str], right: bool, tmp_path: Path) -> None:
    (check,) = (step["run"] for step in steps("publish") if "run" in step)
    (tmp_path / "dist").mkdir()
    for name in names:
        (tmp_path / "dist" / name).touch()
    environment = {"GITHUB_REF_NAME": "v1.2.3", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", check], cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode == 0) is right


# Citation


def test_the_citation_agrees_with_the_package() -> None:
    """The keys that version 1.2.0 of the format requires are there, and those that the package has, too, agree."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = PROJECT["project"]
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["authors"] == [{"name": author["name"]} for author in project["authors"]]
    assert citation["license"] == project["license"]
    assert citation["keywords"] == project["keywords"]
    assert citation["title"].startswith(f"{project['name']}: ")
    allowed = {"abstract", "cff-version", "message", "title", "type", "authors", "license", "keywords"}
    assert citation.keys() <= allowed
