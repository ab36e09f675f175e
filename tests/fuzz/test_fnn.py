"""Claims about the C library under inputs of any kind: no sanitizer stops it, and a call that fails changes nothing.

fnn_fuzz.c has the calls. Where clang's libFuzzer is installed, the soak uses it; elsewhere the file has a main.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.fnn_libraries import SOURCES, compiler
from support.requirements import require

HERE = Path(__file__).parent
CORPUS = sorted((HERE / "corpus").iterdir())
_FLAGS = ("-std=c11", "-O1", "-g", "-fno-sanitize-recover=all")
_STANDALONE = ("-DSTANDALONE", "-fsanitize=address,undefined")


def build(program: Path, cc: str, *flags: str, sources: Path = SOURCES) -> Path:
    """Compile fnn_fuzz.c under the sanitizers; skip the test where the compiler has none."""
    empty = program.with_suffix(".c")
    empty.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    trial = [cc, "-fsanitize=address,undefined", str(empty), "-o", str(program)]
    able = subprocess.run(trial, capture_output=True, check=False)
    require("sanitizers", able.returncode == 0, "install the compiler's ASan and UBSan libraries")
    subprocess.run(
        [cc, *_FLAGS, f"-I{sources}", *flags, str(HERE / "fnn_fuzz.c"), "-o", str(program), "-lm"], check=True
    )
    return program


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    return build(folder / "fnn_fuzz", compiler(), *_STANDALONE)


def run(program: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=False)


def test_no_sanitizer_stops_the_library_on_the_corpus_and_on_mutations_of_it(standalone: Path) -> None:
    done = run(standalone, 20_000, 1, *CORPUS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"20000 runs, {len(CORPUS)} files\n"


def test_a_read_beyond_the_end_of_an_array_is_found(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources)
    text = (sources / "fnn.c").read_text(encoding="utf-8")
    broken = text.replace("|| first > length - count)", "|| first > length)")
    assert broken != text
    (sources / "fnn.c").write_text(broken, encoding="utf-8")
    program = build(tmp_path / "broken", compiler(), *_STANDALONE, sources=sources)
    assert run(program, 20_000, 1, *CORPUS).returncode != 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_libfuzzer_finds_nothing_in_a_million_inputs(tmp_path: Path) -> None:
    clang = shutil.which("clang") or ""
    require("clang", bool(clang), "apt install clang")
    program = build(tmp_path / "fnn_fuzz", clang, "-fsanitize=fuzzer,address,undefined")
    runs = os.environ.get("FUZZ_RUNS", "1000000")
    found = tmp_path / "found"
    found.mkdir()
    options = (f"-runs={runs}", "-seed=1", "-max_len=512", f"-artifact_prefix={tmp_path}/")
    done = run(program, *options, found, HERE / "corpus")
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {runs} runs" in done.stderr
    print(done.stderr[-300:])
