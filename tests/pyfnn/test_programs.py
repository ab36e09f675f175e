"""Claims about programs: their toolchains, their builds in the cache, and their command lines."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from support.manifests import ROW, manifest, only_row

from pyfnn import launch, programs, registry
from pyfnn.errors import BackendUnavailable, BuildFailed
from pyfnn.manifest import Row
from pyfnn.process.program import command_of


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "cache")


def test_an_absent_toolchain_is_unavailable_with_reason_and_remedy(tmp_path: Path) -> None:
    path = manifest(tmp_path, {**ROW, "probe": "no-such-compiler --version", "remedy": "apt install it"})
    with pytest.raises(BackendUnavailable) as caught:
        registry.load_backend("mine", [path])
    assert caught.value.reason == "no-such-compiler is not on PATH"
    assert caught.value.remedy == "apt install it"


def test_a_failed_probe_makes_the_backend_unavailable_with_the_probes_message(tmp_path: Path) -> None:
    row = only_row(tmp_path, probe="sh -c 'echo broken installation >&2; exit 1'", remedy="reinstall it")
    with pytest.raises(BackendUnavailable, match=r"^\"sh -c .*\" failed: broken installation \(reinstall it\)"):
        programs.build(row)
    long = replace(row, probe=f"sh -c 'echo broken installation >&2; exit 1' {'x' * 80}")
    with pytest.raises(BackendUnavailable, match=r"^the probe of its toolchain failed: broken installation \("):
        programs.build(long)


def counted(tmp_path: Path, **changes: Any) -> tuple[Row, Path]:
    """Make a row whose every build appends a line to a log file; return both."""
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


def test_the_duration_of_a_build_is_recorded(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="sleep 0.3; cp {folder}/source.txt {build}/program")
    first = programs.build(row).seconds
    assert first is not None
    assert 0.3 <= first < 30
    assert programs.build(row).seconds == first
    for record in programs.build(row).folder.glob(".pyfnn*"):
        record.write_text("{")
    assert programs.build(row).seconds is None
    assert (programs.build(row).folder / "program").read_text() == "one"


def test_a_program_without_a_build_line_is_in_the_rows_folder(tmp_path: Path) -> None:
    row = only_row(tmp_path)
    assert programs.build(row) == programs.Built(row.folder, None)


def test_building_again_replaces_the_program_and_leaves_no_other_file(tmp_path: Path) -> None:
    row, log = counted(tmp_path)
    first = programs.build(row)
    (first.folder / "program").write_text("spoilt")
    assert programs.build(row, again=True).folder == first.folder
    assert (first.folder / "program").read_text() == "one"
    assert log.read_text().splitlines() == ["built"] * 2
    assert list(programs.cache_folder().iterdir()) == [first.folder]


def test_a_failed_rebuild_keeps_the_earlier_program(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="cp {folder}/source.txt {build}/program; test ! -e {build}/../../../../broken")
    first = programs.build(row)
    (tmp_path / "broken").touch()
    with pytest.raises(BuildFailed):
        programs.build(row, again=True)
    assert (first.folder / "program").read_text() == "one"
    assert list(programs.cache_folder().iterdir()) == [first.folder]


def test_a_cache_that_cannot_be_written_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = counted(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setattr(programs, "cache_folder", lambda: tmp_path / "file" / "cache")
    with pytest.raises(
        BackendUnavailable, match=r"takes no build: Not a directory \(make room there, or set XDG_CACHE"
    ):
        programs.build(row)


def test_sources_in_a_read_only_folder_are_built(tmp_path: Path) -> None:
    row, _ = counted(tmp_path)
    row.folder.chmod(0o555)
    try:
        before = sorted(row.folder.iterdir())
        assert (programs.build(row).folder / "program").read_text() == "one"
        assert sorted(row.folder.iterdir()) == before
    finally:
        row.folder.chmod(0o755)


def test_a_changed_source_build_line_or_compiler_causes_a_new_build(tmp_path: Path) -> None:
    row, log = counted(tmp_path)
    folders = {programs.build(row).folder}
    (row.folder / "source.txt").write_text("two")
    folders.add(programs.build(row).folder)
    assert {(folder / "program").read_text() for folder in folders} == {"one", "two"}
    folders.add(programs.build(replace(row, build=f"{row.build} # -O3")).folder)
    folders.add(programs.build(replace(row, probe="echo version 2")).folder)
    assert len(folders) == 4
    assert len(log.read_text().splitlines()) == 4


def test_a_failed_build_reports_the_compilers_message_and_leaves_no_file(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="echo 'source.txt:1: error: no such word' >&2; exit 1", remedy="fix it")
    with pytest.raises(BuildFailed) as caught:
        programs.build(row)
    assert "source.txt:1: error: no such word" in caught.value.reason
    assert caught.value.remedy == "fix it"
    assert list(programs.cache_folder().iterdir()) == []


def test_a_failed_build_is_repeated_at_the_next_request(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="test -e {folder}/installed && touch {build}/program")
    with pytest.raises(BuildFailed):
        programs.build(row)
    (tmp_path / "mine" / "installed").touch()
    assert (programs.build(row).folder / "program").exists()


def test_folder_names_may_contain_blanks_and_quotes(tmp_path: Path) -> None:
    row, _ = counted(tmp_path / "it's a folder", build="cp {folder}/source.txt {build}/program")
    assert (programs.build(row).folder / "program").read_text() == "one"


def test_a_build_line_may_contain_other_braces(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="awk 'BEGIN {{ print 7 }}' > {build}/program")
    assert (programs.build(row).folder / "program").read_text() == "7\n"


def test_processes_that_build_concurrently_all_get_the_program(tmp_path: Path) -> None:
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
    builders = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [builder.communicate(timeout=60)[0] for builder in builders] == ["one\n"] * 3
    assert [builder.returncode for builder in builders] == [0] * 3
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_slower_concurrent_build_does_not_replace_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_BUILD_PATIENCE", 60.0)
    row, log = counted(tmp_path)
    all_begun = f"until [ $(wc -l < {log}) -ge 4 ]; do sleep 0.02; done"
    row = replace(row, build=f"echo built >> {log}; {all_begun}; cp {{folder}}/source.txt {{build}}/program")
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: programs.build(row).folder, range(4)))
    first = folders[0].stat().st_ino
    assert len(log.read_text().splitlines()) == 4
    assert programs.build(row).folder.stat().st_ino == first
    assert list(programs.cache_folder().iterdir()) == [folders[0]]


def test_python_in_a_line_stands_for_the_running_interpreter(tmp_path: Path) -> None:
    line = "import sys; print(sys.executable)"
    row, _ = counted(tmp_path, probe=f"{{python}} -c '{line}'", build=f"{{python}} -c '{line}' > {{build}}/program")
    assert programs.probe(row) == sys.executable
    assert (programs.build(row).folder / "program").read_text() == f"{sys.executable}\n"
    assert command_of(replace(row, run="{python} {build}/program"))[0] == sys.executable


def test_compiler_messages_in_another_encoding_are_shown(tmp_path: Path) -> None:
    row, _ = counted(tmp_path, build="printf 'erreur: caract\\350re' >&2; exit 1")
    with pytest.raises(BuildFailed, match="erreur: caract"):
        programs.build(row)


def test_a_probe_that_cannot_be_executed_makes_the_backend_unavailable(tmp_path: Path) -> None:
    broken = tmp_path / "compiler"
    broken.write_text("no program")
    broken.chmod(0o755)
    with pytest.raises(BackendUnavailable, match="cannot be run: Exec format error"):
        programs.build(only_row(tmp_path, probe=str(broken)))


def test_a_build_that_takes_too_long_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_BUILD_PATIENCE", 0.5)
    row, _ = counted(tmp_path, build="sleep 98.7654; true")
    with pytest.raises(BuildFailed, match="was not done in"):
        programs.build(row)
    sleeping = [p for p in psutil.process_iter(["cmdline"]) if "98.7654" in (p.info["cmdline"] or [])]
    assert not psutil.wait_procs(sleeping, timeout=60)[1]


@pytest.mark.skipif(not launch.SUPERVISES, reason="the supervisor of a build's descendants is Linux's")
@pytest.mark.parametrize("line", ["sleep {seconds} & touch {{build}}/program", "setsid sleep {seconds} & exit 1"])
def test_what_a_build_line_leaves_in_the_background_is_ended(line: str, tmp_path: Path) -> None:
    seconds = f"97.{uuid4().int % 10**9:09}"  # no other test's processes have it
    row, _ = counted(tmp_path, build=line.format(seconds=seconds))
    with suppress(BuildFailed):
        assert (programs.build(row).folder / "program").exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if seconds in (p.info["cmdline"] or [])]


def test_a_build_that_a_killed_process_has_left_half_done_is_removed(tmp_path: Path) -> None:
    row, _ = counted(tmp_path)
    code = (
        "import os, sys; from pathlib import Path; from pyfnn.scratch import Scratch;"
        "Scratch(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    building = tmp_path / "building"
    subprocess.run([sys.executable, "-c", code, str(building)], check=False)
    (left,) = (path for path in building.iterdir() if path.is_dir())
    programs.build(row)
    assert not left.exists()


def test_other_braces_in_a_command_are_kept(tmp_path: Path) -> None:
    row = only_row(tmp_path, run="perl -e 'if (1) {exit}' {folder}/x {foldr}")
    assert command_of(row) == ["perl", "-e", "if (1) {exit}", f"{tmp_path}/x", "{foldr}"]


def test_a_missing_program_makes_the_backend_unavailable_with_the_remedy(tmp_path: Path) -> None:
    row = only_row(tmp_path, run="no-such-program {folder}", remedy="write it")
    with pytest.raises(BackendUnavailable, match="no-such-program is not on PATH") as caught:
        command_of(row)
    assert caught.value.remedy == "write it"


@pytest.mark.parametrize("line", ["echo 'cc: No space left on device' >&2; exit 1", "echo 'cc: error 7' >&2; exit 1"])
def test_a_full_cache_is_the_machines_fault(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, _ = counted(tmp_path, build=line)
    if "space" not in line:
        monkeypatch.setattr(programs, "_LEAST_ROOM", 1 << 62)
    with pytest.raises(
        BackendUnavailable, match=r"takes no build: No space left on device \(make room there"
    ) as caught:
        programs.build(row)
    assert not isinstance(caught.value, BuildFailed)
    assert list(programs.cache_folder().iterdir()) == []


def test_an_altered_record_of_a_build_does_not_matter(tmp_path: Path) -> None:
    row, _ = counted(tmp_path)
    for seconds in ("1e300", "-1", "NaN", "Infinity", '"x"', "null", "[" * 10_000):
        (programs.build(row).folder / ".pyfnn-build.json").write_text(f'{{"seconds": {seconds}}}')
        assert programs.build(row).seconds is None
