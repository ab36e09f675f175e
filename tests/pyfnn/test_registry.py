"""Claims about backend.toml files and about building the programs that they name."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pyfnn import programs, registry
from pyfnn.errors import BackendUnavailable, BuildFailed, InvalidInput, UnknownName
from pyfnn.manifest import Row, read_manifest
from pyfnn.process.program import command_of

ROW = {"name": "mine", "language": "C", "division": "plain", "run": "{build}/program"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")


def manifest(folder: Path, *rows: dict[str, Any]) -> Path:
    """A backend.toml with these rows, in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for row in rows:
        lines += ["[[backend]]", *(f"{key} = {value!r}" for key, value in row.items())]
    (folder / "backend.toml").write_text("\n".join(lines) + "\n")
    return folder / "backend.toml"


def only_row(folder: Path, **changes: Any) -> Row:
    (row,) = read_manifest(manifest(folder, {**ROW, **changes}))
    return row


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[backend]\n", r"line 1"),
        ("backend = 3\n", "'int' object is not iterable|backend"),
        ("backend = [3]\n", "backend"),
        ('[[backend]]\nname = "a"\n', r"backend\.0\.language: Field required"),
        ("colour = 1\n", "colour: Extra inputs are not permitted"),
    ],
)
def test_a_malformed_manifest_is_named_with_the_place_in_it(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "backend.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=words) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "blue"}, r"backend\.0\.colour: Extra inputs are not permitted"),
        ({"division": "fast"}, r"backend\.0\.division: Input should be 'plain', 'tuned' or 'framework'"),
        ({"name": "Mine Own"}, r"backend\.0\.name: String should match pattern"),
        ({"host": "mine:Plain"}, "either host .* or run"),
        ({"host": "mine"}, r"backend\.0\.host: String should match pattern"),
        ({"sources": "worker.pl"}, r"backend\.0\.sources"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_with_its_key(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        only_row(tmp_path, **changes)


def test_a_row_with_neither_host_nor_run_is_refused(tmp_path: Path) -> None:
    row = {key: value for key, value in ROW.items() if key != "run"}
    with pytest.raises(InvalidInput, match=r"either host .* or run"):
        read_manifest(manifest(tmp_path, row))


def test_a_manifest_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"backend\.toml: .*No such file"):
        read_manifest(tmp_path / "backend.toml")
    (tmp_path / "backend.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInput, match=r"backend\.toml: "):
        read_manifest(tmp_path / "backend.toml")


def test_two_backends_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    first, second = manifest(tmp_path / "a", ROW), manifest(tmp_path / "b", ROW)
    with pytest.raises(InvalidInput, match=r"two backends are called 'mine': in .*/a/.* and .*/b/"):
        registry.rows([first, second])
    with pytest.raises(InvalidInput, match="two backends are called 'numpy'"):
        registry.rows([manifest(tmp_path / "c", {**ROW, "name": "numpy"})])
    with pytest.raises(InvalidInput, match="two backends are called 'mine'"):
        registry.rows([manifest(tmp_path / "d", ROW, {**ROW, "language": "D"})])


def test_the_same_manifest_twice_is_fine(tmp_path: Path) -> None:
    path = manifest(tmp_path, ROW)
    assert registry.find("mine", [path, path]).language == "C"


def test_an_added_backend_is_found_and_an_unknown_one_gets_the_nearest_match(tmp_path: Path) -> None:
    path = manifest(tmp_path, ROW)
    assert registry.find("mine", [path]).folder == tmp_path
    with pytest.raises(UnknownName, match="unknown backend 'mime'; did you mean 'mine'"):
        registry.find("mime", [path])
    with pytest.raises(UnknownName):
        registry.find("mine")


def test_every_built_in_row_names_sources_that_exist_and_a_remedy_where_it_needs_one() -> None:
    for row in registry.rows().values():
        assert row.source_files(), row.name
        assert row.remedy or row.name == "numpy", row.name


def test_sources_are_the_files_that_its_patterns_match(tmp_path: Path) -> None:
    row = only_row(tmp_path, sources=["*.c", "sub/*.h"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.c").touch()
    (tmp_path / "sub" / "b.h").touch()
    (tmp_path / "sub" / "b.c").touch()
    assert row.source_files() == [tmp_path / "a.c", tmp_path / "sub" / "b.h"]
    assert only_row(tmp_path).source_files() == []


def test_a_host_that_is_missing_its_class_is_unavailable(tmp_path: Path) -> None:
    row = {**ROW, "host": "pyfnn.backends.numpy:Nowhere", "remedy": "do this"}
    del row["run"]
    with pytest.raises(BackendUnavailable, match=r"no attribute 'Nowhere'.*do this"):
        registry.load_backend("mine", [manifest(tmp_path, row)])


# Programs -------------------------------------------------------------------------------------------------------------


def test_an_absent_toolchain_is_unavailable_with_reason_and_remedy(tmp_path: Path) -> None:
    path = manifest(tmp_path, {**ROW, "probe": "no-such-compiler --version", "remedy": "apt install it"})
    with pytest.raises(BackendUnavailable) as caught:
        registry.load_backend("mine", [path])
    assert caught.value.reason == "no-such-compiler is not on PATH"
    assert caught.value.remedy == "apt install it"


def test_a_probe_that_fails_is_unavailable_with_its_words(tmp_path: Path) -> None:
    row = only_row(tmp_path, probe="sh -c 'echo broken installation >&2; exit 1'", remedy="reinstall it")
    with pytest.raises(BackendUnavailable, match=r"failed: broken installation \(reinstall it\)"):
        programs.build(row)


def counted(tmp_path: Path, **changes: Any) -> tuple[Row, Path]:
    """A row whose build leaves a line in a file each time it is run, and that file."""
    log = tmp_path / "builds"
    build = f"echo built >> {log}; cp {{folder}}/source.txt {{build}}/program"
    row = only_row(tmp_path / "mine", **{"build": build, **changes})
    (row.folder / "source.txt").write_text("one")
    return row, log


def test_a_program_is_built_once(tmp_path: Path) -> None:
    row, log = counted(tmp_path)
    first, second = programs.build(row), programs.build(row)
    assert first == second
    assert (first.folder / "program").read_text() == "one"
    assert log.read_text().splitlines() == ["built"]
    assert list(programs.cache_folder().iterdir()) == [first.folder]


def test_what_building_took_is_known_later_too(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="sleep 0.3; cp {folder}/source.txt {build}/program")
    first = programs.build(row).seconds
    assert first is not None
    assert 0.3 <= first < 30
    assert programs.build(row).seconds == first
    for record in programs.build(row).folder.glob(".pyfnn*"):
        record.write_text("{")
    assert programs.build(row).seconds is None
    assert (programs.build(row).folder / "program").read_text() == "one"


def test_a_program_that_needs_no_building_is_its_own_folder(tmp_path: Path) -> None:
    row = only_row(tmp_path)
    assert programs.build(row) == programs.Built(row.folder, None)


def test_asked_to_build_again_it_does_and_leaves_nothing_else(tmp_path: Path) -> None:
    row, log = counted(tmp_path)
    first = programs.build(row)
    (first.folder / "program").write_text("spoilt")
    assert programs.build(row, again=True).folder == first.folder
    assert (first.folder / "program").read_text() == "one"
    assert log.read_text().splitlines() == ["built"] * 2
    assert list(programs.cache_folder().iterdir()) == [first.folder]


def test_a_build_again_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="cp {folder}/source.txt {build}/program; test ! -e {build}/../../../broken")
    first = programs.build(row)
    (tmp_path / "broken").touch()
    with pytest.raises(BuildFailed):
        programs.build(row, again=True)
    assert (first.folder / "program").read_text() == "one"
    assert list(programs.cache_folder().iterdir()) == [first.folder]


def test_a_cache_that_takes_no_files_is_unavailable_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = counted(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "file" / "cache")
    with pytest.raises(
        BackendUnavailable, match=r"takes no build: Not a directory \(make room there, or set XDG_CACHE"
    ):
        programs.build(row)


def test_sources_in_a_folder_that_takes_no_files_are_built(tmp_path: Path) -> None:
    row, _ = counted(tmp_path)
    row.folder.chmod(0o555)
    try:
        before = sorted(row.folder.iterdir())
        assert (programs.build(row).folder / "program").read_text() == "one"
        assert sorted(row.folder.iterdir()) == before
    finally:
        row.folder.chmod(0o755)


def test_a_changed_source_build_line_or_compiler_builds_again(tmp_path: Path) -> None:
    row, log = counted(tmp_path)
    folders = {programs.build(row).folder}
    (row.folder / "source.txt").write_text("two")
    folders.add(programs.build(row).folder)
    assert {(folder / "program").read_text() for folder in folders} == {"one", "two"}
    folders.add(programs.build(row.model_copy(update={"build": f"{row.build} # -O3"})).folder)
    folders.add(programs.build(row.model_copy(update={"probe": "echo version 2"})).folder)
    assert len(folders) == 4
    assert len(log.read_text().splitlines()) == 4


def test_a_build_that_fails_says_so_in_the_compilers_words_and_leaves_nothing(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="echo 'source.txt:1: error: no such word' >&2; exit 1", remedy="fix it")
    with pytest.raises(BuildFailed) as caught:
        programs.build(row)
    assert "source.txt:1: error: no such word" in caught.value.reason
    assert caught.value.remedy == "fix it"
    assert list(programs.cache_folder().iterdir()) == []


def test_a_failed_build_is_tried_again(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="test -e {folder}/installed && touch {build}/program")
    with pytest.raises(BuildFailed):
        programs.build(row)
    (tmp_path / "mine" / "installed").touch()
    assert (programs.build(row).folder / "program").exists()


def test_folders_with_blanks_and_quotes_are_fine(tmp_path: Path) -> None:
    row, _ = counted(tmp_path / "it's a folder", build="cp {folder}/source.txt {build}/program")
    assert (programs.build(row).folder / "program").read_text() == "one"


def test_a_build_line_may_hold_braces_of_its_own(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="awk 'BEGIN {{ print 7 }}' > {build}/program")
    assert (programs.build(row).folder / "program").read_text() == "7\n"


def test_processes_that_build_at_once_all_get_the_program(tmp_path: Path) -> None:
    if shutil.which("sh") is None:
        pytest.skip("sh is missing: builds are shell lines")
    log = tmp_path / "builds"
    row, _ = counted(tmp_path, build=f"echo built >> {log}; sleep 0.3; cp {{folder}}/source.txt {{build}}/program")
    code = (
        "import sys; from pathlib import Path; from pyfnn import programs, registry;"
        f"programs.cache_folder = lambda: Path({str(tmp_path / 'cache')!r});"
        f"row = registry.find('mine', [Path({str(row.manifest)!r})]);"
        "print((programs.build(row).folder / 'program').read_text())"
    )
    racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [racer.communicate(timeout=60)[0] for racer in racers] == ["one\n"] * 3
    assert [racer.returncode for racer in racers] == [0] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_first_build_that_is_late_leaves_the_one_before_in_place(tmp_path: Path) -> None:
    row, log = counted(tmp_path)
    inner = f"{sys.executable} -c 'import time; time.sleep(0.5)'; cp {{folder}}/source.txt {{build}}/program"
    row = row.model_copy(update={"build": f"echo built >> {log}; {inner}"})
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: programs.build(row).folder, range(4)))
    first = folders[0].stat().st_ino
    assert len(log.read_text().splitlines()) == 4
    assert programs.build(row).folder.stat().st_ino == first
    assert list(programs.cache_folder().iterdir()) == [folders[0]]


def test_words_in_another_encoding_are_shown_and_cost_only_this_backend(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="printf 'erreur: caract\\350re' >&2; exit 1")
    with pytest.raises(BuildFailed, match="erreur: caract"):
        programs.build(row)


def test_a_probe_that_cannot_be_run_is_unavailable(tmp_path: Path) -> None:
    broken = tmp_path / "compiler"
    broken.write_text("no program")
    broken.chmod(0o755)
    with pytest.raises(BackendUnavailable, match="cannot be run: Exec format error"):
        programs.build(only_row(tmp_path, probe=str(broken)))


def test_a_build_that_takes_too_long_is_ended_with_all_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_BUILD_PATIENCE", 0.5)
    row, _ = counted(tmp_path, build="sleep 98.7654; true")
    with pytest.raises(BuildFailed, match="was not done in"):
        programs.build(row)
    assert not [p for p in psutil.process_iter(["cmdline"]) if "98.7654" in (p.info["cmdline"] or [])]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run": ""}, "run: .*must be a command"),
        ({"probe": "  "}, "probe: .*must be a command"),
        ({"run": "python3 'open"}, "run: .*No closing quotation"),
        ({"sources": ["/etc/*"]}, "sources: .*relative to the manifest"),
    ],
)
def test_a_line_that_is_no_command_or_a_source_out_of_place_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        only_row(tmp_path, **changes)


def test_braces_that_are_not_ours_stay_as_they_are(tmp_path: Path) -> None:
    row = only_row(tmp_path, run="perl -e 'if (1) {exit}' {folder}/x {foldr}")
    assert command_of(row) == ["perl", "-e", "if (1) {exit}", f"{tmp_path}/x", "{foldr}"]


def test_a_program_that_is_not_there_is_unavailable_with_the_remedy(tmp_path: Path) -> None:
    row = only_row(tmp_path, run="no-such-program {folder}", remedy="write it")
    with pytest.raises(BackendUnavailable, match="no-such-program is not on PATH") as caught:
        command_of(row)
    assert caught.value.remedy == "write it"


def test_folders_among_the_sources_do_no_harm(tmp_path: Path) -> None:
    row = only_row(tmp_path, sources=["src/*"])
    (tmp_path / "src" / "folder").mkdir(parents=True)
    (tmp_path / "src" / "a.c").touch()
    assert row.source_files() == [tmp_path / "src" / "a.c"]
