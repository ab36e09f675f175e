"""Claims about backend.toml files and about the registry of their rows."""

from pathlib import Path
from typing import Any

import pytest
from support.manifests import ROW, manifest, only_row

from pyfnn import registry
from pyfnn.errors import BackendUnavailable, InvalidInput, UnknownName
from pyfnn.manifest import Row, read_manifest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[backend]\n", r"line 1"),
        ("backend = 3\n", "backend: must be"),
        ("backend = [3]\n", "backend: must be"),
        ('[[backend]]\nname = "a"\n', r"backend\.0\.language: is missing"),
        ("colour = 1\n", "colour: unknown key"),
    ],
)
def test_a_malformed_manifest_is_rejected_with_the_place_in_it(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "backend.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=words) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "blue"}, r"backend\.0\.colour: unknown key; known: name"),
        ({"division": "fast"}, r"backend\.0\.division: 'fast' must be one of textbook, plain, tuned, framework"),
        ({"name": "Mine Own"}, r"backend\.0\.name: 'Mine Own' must match"),
        ({"host": "mine:Plain"}, "either host .* or run"),
        ({"host": "mine"}, r"backend\.0\.host: 'mine' must match"),
        ({"sources": "worker.pl"}, r"backend\.0\.sources: 'worker\.pl' must be a list"),
        ({"remedy": 3}, r"backend\.0\.remedy: 3 must be a string"),
        ({"manifest": "x"}, r"backend\.0\.manifest: unknown key"),
    ],
)
def test_a_row_that_breaks_a_rule_is_rejected_with_its_key(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        only_row(tmp_path, **changes)


def test_a_row_with_neither_host_nor_run_is_rejected(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "run"}
    with pytest.raises(InvalidInput, match=r"either host .* or run"):
        read_manifest(manifest(tmp_path, row))


def test_a_missing_or_binary_manifest_is_rejected_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"backend\.toml: .*No such file"):
        read_manifest(tmp_path / "backend.toml")
    (tmp_path / "backend.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"backend\.toml: "):
        read_manifest(tmp_path / "backend.toml")


def test_two_backends_of_one_name_are_rejected_with_both_paths(tmp_path: Path) -> None:
    first, second = manifest(tmp_path / "a", ROW), manifest(tmp_path / "b", ROW)
    with pytest.raises(InvalidInput, match=r"two backends are called 'mine': in .*/a/.* and .*/b/"):
        registry.rows([first, second])
    with pytest.raises(InvalidInput, match="two backends are called 'numpy'"):
        registry.rows([manifest(tmp_path / "c", {**ROW, "name": "numpy"})])
    with pytest.raises(InvalidInput, match="two backends are called 'mine'"):
        registry.rows([manifest(tmp_path / "d", ROW, {**ROW, "language": "D"})])


def test_the_same_manifest_may_be_given_twice(tmp_path: Path) -> None:
    path = manifest(tmp_path, ROW)
    assert registry.find("mine", [path, path]).language == "C"


def test_an_added_backend_is_found_and_an_unknown_name_gets_the_nearest_match(tmp_path: Path) -> None:
    path = manifest(tmp_path, ROW)
    assert registry.find("mine", [path]).folder == tmp_path
    with pytest.raises(UnknownName, match="unknown backend 'mime'; did you mean 'mine'"):
        registry.find("mime", [path])
    with pytest.raises(UnknownName):
        registry.find("mine")


def test_every_built_in_row_has_existing_sources_and_all_but_those_of_numpy_a_remedy() -> None:
    for row in registry.rows().values():
        assert row.source_files(), row.name
        assert row.remedy or row.name in ("numpy", "numpy-article"), row.name


def test_source_files_are_the_files_that_the_patterns_match(tmp_path: Path) -> None:
    row = only_row(tmp_path, sources=["*.c", "sub/*.h"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.c").touch()
    (tmp_path / "sub" / "b.h").touch()
    (tmp_path / "sub" / "b.c").touch()
    assert row.source_files() == [tmp_path / "a.c", tmp_path / "sub" / "b.h"]
    assert only_row(tmp_path).source_files() == []


def test_a_host_whose_module_lacks_the_class_is_unavailable(tmp_path: Path) -> None:
    row = {**ROW, "host": "pyfnn.backends.numpy:Nowhere", "remedy": "do this"}
    del row["run"]
    with pytest.raises(BackendUnavailable, match=r"no attribute 'Nowhere'.*do this"):
        registry.load_backend("mine", [manifest(tmp_path, row)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": ""}, "run: .*must be a command"),
        ({"probe": "  "}, "probe: .*must be a command"),
        ({"run": "python3 'open"}, "run: .*No closing quotation"),
        ({"sources": ["/etc/*"]}, "sources: .*relative to the manifest"),
    ],
)
def test_an_empty_command_an_open_quote_and_an_absolute_source_are_rejected(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        only_row(tmp_path, **changes)


def test_folders_that_match_a_source_pattern_are_ignored(tmp_path: Path) -> None:
    row = only_row(tmp_path, sources=["src/*"])
    (tmp_path / "src" / "folder").mkdir(parents=True)
    (tmp_path / "src" / "a.c").touch()
    assert row.source_files() == [tmp_path / "src" / "a.c"]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("pyfnn.backends.numpy:np", r"mine: host = 'pyfnn\.backends\.numpy:np' cannot be called with a row"),
        ("pathlib:Path", r"mine: host = 'pathlib:Path' cannot be called with a row"),
        ("builtins:repr", r"mine: host = 'builtins:repr' is no subclass of pyfnn\.Backend"),
    ],
)
def test_a_host_that_is_no_backend_is_unavailable(host: str, words: str, tmp_path: Path) -> None:
    row = {**ROW, "host": host, "remedy": "do this"}
    del row["run"]
    with pytest.raises(BackendUnavailable, match=words) as caught:
        registry.load_backend("mine", [manifest(tmp_path, row)])
    assert caught.value.remedy == "do this"


def test_a_source_that_is_no_pattern_is_rejected() -> None:
    with pytest.raises(InvalidInput, match=r"sources: '.' is no pattern"):
        Row(name="mine", language="C", division="plain", run="x", sources=(".",))


def test_a_manifest_of_great_depth_or_with_a_number_of_great_length_is_rejected(tmp_path: Path) -> None:
    for text in (f"x = {'[' * 100_000}", f"x = {'9' * 5000}", "x = 1979-13-45"):
        (tmp_path / "backend.toml").write_text(text)
        with pytest.raises(InvalidInput, match=r"backend\.toml: "):
            read_manifest(tmp_path / "backend.toml")
