"""Claims about installing pyfnn: contents of a wheel, working folders, rejected options and their messages.

Two builds serve all claims, in fresh environments with the running environment's dependencies. The checkout does not
change. The compilers are wrapped: they get the build's own options, which the build records, and then -O0, because no
claim here needs fast code. They know one level of instruction sets, and the second build reuses objects of the first.
"""

import atexit
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.requirements import require

from pyfnn import registry

ROOT = Path(__file__).parents[2]
ON_X86 = platform.machine() in ("x86_64", "AMD64")
LEVEL, FLAG = (
    ("v3", "-march=x86-64-v3") if ON_X86 else ("aarch64", "-march=armv8-a")
)  # the one that is compiled, see below
HIDES = "is installed, but this folder hides it"
FOR_OTHERS = ("--config-settings=cmake.define.PYFNN_MARCH=levels", "--config-settings=cmake.define.PYFNN_CUDA=OFF")

# A compiler with -O0 as the last option. It refuses two of the three levels, as older compilers do, and compiles each
# object of the project once per -march: both builds have the same sources.
COMPILER = """#!/bin/sh
output= level= before=
for word; do
  [ "$before" = -o ] && output=$word
  case $word in
    -march=x86-64-v[24]) echo "unknown: $word" >&2; exit 1 ;;
    -march=*) level=$word ;;
  esac
  before=$word
done
case $output in native/*.o) ;; *) exec {compiler} "$@" -O0 ;; esac
kept={folder}/$(echo "$level-$output" | tr / _)
if [ -e "$kept" ]; then cp "$kept" "$output"; else {compiler} "$@" -O0 && cp "$output" "$kept"; fi
"""

# bench.run with two short launches.
BRIEF_RUN = """
import sys
from functools import partial
from bench import run, stages
from bench.measure.settings import Settings
stages.Settings = partial(Settings, min_launches=2, launches=2, rounds=1, block_seconds=0.01, burst_seconds=0.001)
sys.exit(run.main())
"""

# Prints the properties of an installed pyfnn as one line of JSON.
PROBE = """
import json, sys
import numpy as np
import pyfnn
from pyfnn import compiled, registry

def probed(name):
    row = registry.find(name)
    try:
        backend = registry.load(row)
    except pyfnn.BackendUnavailable as error:
        return {"reason": error.reason, "remedy": error.remedy}
    network = pyfnn.Network((3, 4, 2), "tanh", "squared_error")
    x, y = np.eye(3, dtype="float32"), np.ones((3, 2), "float32")
    with backend.create(network, pyfnn.initialize(network, 1)) as model:
        model.load(x, y, np.arange(3))
        model.train(0, 3, 2, 0.1)
        loss = model.loss_and_gradient(0, 3)[0]
    return {"loss": loss, "sources": len(row.source_files()), "flags": backend.description.flags}

answer = {"home": pyfnn.__file__, "backends": {name: probed(name) for name in ("numpy", "cpp", "c")}}
try:
    info = compiled.build_info()
    answer["build"] = {k: v for k, v in vars(info).items() if k.isupper()} | {"file": info.__file__}
except pyfnn.BackendUnavailable as error:
    answer["build"] = {"reason": error.reason, "remedy": error.remedy}
print(json.dumps(answer))
"""


@cache
def quick_compilers() -> dict[str, str]:
    """Return CC and CXX, scripts around the compilers."""
    folder = Path(tempfile.mkdtemp(prefix="pyfnn-compilers-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    scripts = {}
    for variable, default in (("CC", "cc"), ("CXX", "c++")):
        script = folder / default
        compiler = os.environ.get(variable, shutil.which(default) or default)
        script.write_text(COMPILER.replace("{compiler}", compiler).replace("{folder}", str(folder)))
        script.chmod(0o755)
        scripts[variable] = str(script)
    return scripts


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command without this process's Python and pyfnn settings, as on a machine without a CUDA compiler.

    stdout and stderr of the result are one text.
    """
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYFNN", "SKBUILD", "CMAKE"))
    }
    words = [str(word) for word in command]
    environment = {
        **kept,
        "COLUMNS": "500",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUDACXX": "/no/nvcc",
        **quick_compilers(),
    }
    done = subprocess.run(
        words, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert not check or done.returncode == 0, f"{words}:\n{done.stdout}"
    return done


def probe(python: Path, cwd: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(run(python, "-c", PROBE, cwd=cwd).stdout.splitlines()[-1])
    return answer


@cache
def files_of_the_project() -> tuple[str, ...]:
    """Return the files of the project, committed or not, without those that git ignores."""
    require("git", shutil.which("git") is not None and (ROOT / ".git").exists(), "run the tests in a git checkout")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).stdout.split("\0")
    return tuple(name for name in listed if name and (ROOT / name).is_file())


def copy_of_the_project(folder: Path) -> Path:
    for name in files_of_the_project():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def environment(folder: Path, *install: str | Path) -> Path:
    """Make a fresh virtual environment, install pyfnn alone into it, and return its Python.

    A .pth file adds the running environment's folders to sys.path. Python does not read their .pth files, so the
    dependencies are available, but an editable pyfnn is not.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", *install, cwd=folder)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip())
    borrowed = [path for path in sys.path if path.endswith("-packages")]
    (site / "dependencies.pth").write_text("\n".join(borrowed) + "\n")
    return python


def measure(python: Path, *backends: str, cwd: Path) -> tuple[str, dict[str, Any]]:
    """Run the benchmark of these backends; return its output and the backends' results by name."""
    command = (python, "-c", BRIEF_RUN, "--workloads", "wine-shallow", "--backends", ",".join(backends))
    out = Path(tempfile.mkdtemp(dir=cwd.parent))
    output = run(*command, "--reference", backends[0], "--precision", "1000", "--out", out, cwd=cwd).stdout
    (case,) = json.loads((out / "results.json").read_text())["cases"]
    return output, {backend["name"]: backend for backend in case["backends"]}


class Measured(NamedTuple):
    """A run of backends from a wheel, the programs among them, and their cache; `unchanged`: the wheel's folder."""

    backends: dict[str, Any]
    programs: list[str]
    cache: Path
    unchanged: bool


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel for other machines, without CUDA."""
    source = copy_of_the_project(tmp_path_factory.mktemp("source"))
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", source, "--no-deps", "-w", folder, *FOR_OTHERS, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("from_wheel"), wheel)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project, without compiled files."""
    return copy_of_the_project(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def editable(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the copy as editable, by the ordinary command."""
    return environment(tmp_path_factory.mktemp("editable"), "-e", checkout)


@pytest.fixture
def changed(checkout: Path) -> Iterator[Path]:
    """Add one byte to a native source of the copy, after its compilation."""
    source = checkout / "native" / "cpp" / "mlp.hpp"
    text = source.read_bytes()
    source.write_bytes(text + b"\n")
    yield source
    source.write_bytes(text)


def test_a_wheel_contains_packages_native_sources_and_compiled_parts_and_nothing_else(wheel: Path) -> None:
    expected = {name for name in files_of_the_project() if name.startswith(("pyfnn/", "bench/"))}
    native = (name for name in files_of_the_project() if name.startswith("native/"))
    expected |= {f"pyfnn/{name}" for name in native if not name.endswith("CMakeLists.txt")}
    held = {name for name in zipfile.ZipFile(wheel).namelist() if not re.match(r"pyfnn-[^/]+\.dist-info/", name)}
    made = held - expected
    assert expected <= held
    assert {"pyfnn/py.typed", "pyfnn/backends/_cpp.pyi", "bench/suites/workloads.toml"} <= held
    assert {"pyfnn/_build_info.py", f"pyfnn/libfnn_c_{LEVEL}.so"} <= made
    assert all(name.endswith(".so") for name in made - {"pyfnn/_build_info.py"})


def test_a_wheel_works_in_any_folder(from_wheel: Path, tmp_path: Path) -> None:
    found = probe(from_wheel, tmp_path)
    losses = [answer["loss"] for answer in found["backends"].values()]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)
    assert Path(found["home"]).is_relative_to(from_wheel.parent.parent)
    assert all(answer["sources"] >= 1 for answer in found["backends"].values())


@pytest.fixture(scope="module")
def measured(from_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Measure compiled backends, and a program of another language where there is a compiler of one."""
    rows = [row for row in registry.rows().values() if row.build and row.host is None]
    names = [row.name for row in rows if shutil.which(str(row.probe).split()[0])][:1]
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        home = Path(probe(from_wheel, folder)["home"]).parent
        before = sorted(home.rglob("*"))
        _, backends = measure(from_wheel, "c", "cpp", *names, cwd=folder)
    return Measured(backends, names, folder / "cache", unchanged=sorted(home.rglob("*")) == before)


def test_a_wheel_measures_in_any_folder(measured: Measured) -> None:
    for name in ("c", "cpp"):
        assert measured.backends[name]["status"] == "ok"
        assert measured.backends[name]["source_lines"] > 50


def test_a_wheel_builds_a_program_of_another_language_outside_its_own_folder(measured: Measured) -> None:
    remedy = "install one: python -m bench.run --list explains how"
    require("a compiler of another language", bool(measured.programs), remedy)
    (name,) = measured.programs
    assert measured.backends[name]["status"] == "ok"
    assert any(measured.cache.rglob(f"{name}-*"))
    assert measured.unchanged


def test_the_command_pyfnn_bench_equals_bench_run(from_wheel: Path, tmp_path: Path) -> None:
    listed = run(from_wheel.parent / "pyfnn-bench", "--list", cwd=tmp_path).stdout
    assert "wine-deep" in listed
    for name in ("numpy", "cpp", "c", "cpp-tuned"):
        assert re.search(rf"^[^\w]*{re.escape(name)}\b.*\bavailable", listed, flags=re.MULTILINE)
    by_name = run(from_wheel.parent / "pyfnn-bench", "--help", cwd=tmp_path).stdout
    assert by_name == run(from_wheel, "-m", "bench.run", "--help", cwd=tmp_path).stdout


def test_a_wheel_for_other_machines_has_every_part_for_each_level_and_records_the_one_in_use(
    from_wheel: Path, tmp_path: Path
) -> None:
    found = probe(from_wheel, tmp_path)
    assert found["build"]["LEVEL"] == "levels"
    assert found["build"]["CUDA"] == "off"
    assert list(found["build"]["LEVELS"]) == [LEVEL]
    for name in ("cpp", "c"):
        assert FLAG in found["backends"][name]["flags"].split()
        assert found["backends"][name]["flags"] == found["build"]["PLAIN_LEVELS"][LEVEL]
    assert f"for each of {LEVEL}, chosen at run time" in found["build"]["CXX_FLAGS"]
    baseline = {"_cpu", "pyfnn_scatter"}
    assert all(target.endswith(f"_{LEVEL}") for target in found["build"]["SOURCES"].keys() - baseline)


def test_a_build_without_git_has_a_version_and_reports_it(from_wheel: Path, tmp_path: Path) -> None:
    code = "import importlib.metadata, pyfnn; print(pyfnn.__version__, importlib.metadata.version('pyfnn'))"
    assert run(from_wheel, "-c", code, cwd=tmp_path).stdout.split() == ["0.0", "0.0"]


def test_a_native_part_records_every_source_that_it_includes(from_wheel: Path, tmp_path: Path) -> None:
    build = probe(from_wheel, tmp_path)["build"]
    native = Path(build["file"]).parent / "native"
    assert {f"_cpp_{LEVEL}", f"fnn_c_{LEVEL}"} <= build["SOURCES"].keys()
    for target, recorded in build["SOURCES"].items():
        for name in recorded:
            included = re.findall(r'^\s*#\s*include\s+"([^"]+)"', (native / name).read_text(), flags=re.MULTILINE)
            missing = {os.path.normpath(Path(name).parent / file) for file in included} - recorded.keys()
            assert not missing, f"{target} includes {missing} and does not record it"


def test_an_editable_install_runs_from_its_checkout_and_leaves_no_file_there(editable: Path, checkout: Path) -> None:
    found = probe(editable, checkout)
    assert Path(found["home"]).is_relative_to(checkout)
    assert not Path(found["build"]["file"]).is_relative_to(checkout)
    assert all("loss" in answer for answer in found["backends"].values())
    left = {str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()}
    assert left == set(files_of_the_project())


def test_a_build_is_by_default_release_for_this_machine_and_records_its_options(editable: Path, checkout: Path) -> None:
    build = probe(editable, checkout)["build"]
    assert (build["BUILD_TYPE"], build["LEVEL"]) == ("Release", "native")
    assert "-O3" in build["C_FLAGS"]
    assert "-O3" in build["CXX_FLAGS"]
    macros = subprocess.run(
        ["cc", "-march=native", "-dM", "-E", "-x", "c", "-"], input="", capture_output=True, text=True
    )
    for name in ("AVX512F", "AVX2", "FMA"):  # instruction sets of "native" on this machine
        assert (f"#define __{name}__ 1" in macros.stdout) == (name in build["C_FLAGS"])
    for field in ("C_COMPILER", "CXX_COMPILER"):
        assert re.fullmatch(r"\w+ \d[\d.]+", build[field])
    assert re.fullmatch(r"\d[\d.]+\w*", build["PYBIND11"])


def test_a_build_without_a_gpu_or_a_cuda_compiler_succeeds_and_records_it(editable: Path, checkout: Path) -> None:
    gpus = shutil.which("nvidia-smi") and run("nvidia-smi", "-L", cwd=checkout, check=False).returncode == 0
    assert probe(editable, checkout)["build"]["CUDA"] == ("no nvcc found" if gpus else "no NVIDIA GPU found")


def test_a_build_for_this_machine_has_the_highest_level_of_the_cpu_alone(editable: Path, checkout: Path) -> None:
    build = probe(editable, checkout)["build"]
    assert list(build["LEVELS"]) == [LEVEL]  # which is the only one that the compiler knows, see above
    assert [name for name in build["SOURCES"] if name.startswith("_tuned")] == [f"_tuned_{LEVEL}"]


def test_a_stale_build_is_rejected_with_the_file_and_the_remedy(editable: Path, checkout: Path, changed: Path) -> None:
    backends = probe(editable, checkout)["backends"]
    assert backends["cpp"]["reason"] == f"{changed} is not what _cpp was compiled from"
    assert "pip install -e ." in backends["cpp"]["remedy"]
    assert "loss" in backends["c"]


def test_an_install_hidden_by_the_folder_is_reported_and_numpy_still_runs(from_wheel: Path, checkout: Path) -> None:
    found = probe(from_wheel, checkout)
    assert Path(found["home"]).is_relative_to(checkout)
    assert "loss" in found["backends"]["numpy"]
    for name in ("cpp", "c"):
        assert HIDES in found["backends"][name]["reason"]
        assert found["backends"][name]["remedy"] == "run from another folder, or in the checkout: pip install -e ."


def test_bench_run_in_a_folder_that_hides_the_install_prints_the_remedy(from_wheel: Path, checkout: Path) -> None:
    output, backends = measure(from_wheel, "numpy", "cpp", "c", cwd=checkout)
    assert re.search(rf"^warning: .*{HIDES}\. To do: run from another folder", output, flags=re.MULTILINE)
    assert "Traceback" not in output
    assert backends["numpy"]["status"] == "ok"
    for name in ("cpp", "c"):
        assert backends[name]["status"] == "unavailable"
        assert HIDES in backends[name]["reason"]
        assert "pip install -e ." in backends[name]["remedy"]


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        ("PYFNN_CUDA=ON", "PYFNN_CUDA=ON, but there is no working nvcc: put it on PATH, or set CUDACXX to it"),
        (
            "CMAKE_C_FLAGS=-ffast-math",
            "-ffast-math is set for C (CFLAGS or CXXFLAGS?): nothing here may be compiled so",
        ),
        ("PYFNN_MARCH=pdp-11", "PYFNN_MARCH=pdp-11: the C compiler takes it neither as -march nor as -mcpu"),
        ("PYFNN_LEVELS=v9", f"PYFNN_LEVELS=v9: must be native, all, or one of {LEVEL}"),
    ],
)
def test_an_invalid_build_option_is_an_error_with_a_clear_message(
    definition: str, words: str, checkout: Path, tmp_path: Path
) -> None:
    cmake = shutil.which("cmake")
    require("cmake", cmake is not None, "pip install cmake")
    done = run(str(cmake), "-S", checkout, "-B", tmp_path / "build", f"-D{definition}", cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert words in " ".join(done.stdout.split())


def test_pip_hands_an_option_of_the_build_on_and_shows_its_error(checkout: Path, tmp_path: Path) -> None:
    option = "--config-settings=cmake.define.PYFNN_CUDA=maybe"
    done = run(sys.executable, "-m", "pip", "wheel", checkout, "--no-deps", option, cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert "PYFNN_CUDA=maybe: must be AUTO, ON or OFF" in " ".join(done.stdout.split())


@pytest.mark.soak
def test_a_source_distribution_builds_the_same_wheel(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--sdist", checkout, "-o", tmp_path, cwd=tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", archive, "--no-deps", "-w", tmp_path, *FOR_OTHERS, cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(built).namelist()) == set(zipfile.ZipFile(wheel).namelist())
