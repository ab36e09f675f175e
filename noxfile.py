"""Sessions for developers: lint, tests, sanitizers, soaks. `nox -l` lists them; CI runs the same ones."""

import os
import shutil
from pathlib import Path

import nox.virtualenv

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

EVERY_LEVEL = ("--config-settings", "cmake.define.PYFNN_LEVELS=all")  # an install of its own has this CPU's alone
SUFFIXES = {".c", ".h", ".cpp", ".hpp", ".cu", ".cuh"}
C_FOLDERS = ("native", "tests/cuda_on_cpu")
C_FAMILY = sorted(str(path) for top in C_FOLDERS for path in Path(top).rglob("*") if path.suffix in SUFFIXES)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, imports, formats and prose, after a build in which warnings are errors."""
    if not isinstance(session.virtualenv, nox.virtualenv.PassthroughEnv):  # CI has built so already
        session.install("-e", ".[dev]", *EVERY_LEVEL, "--config-settings", "cmake.define.PYFNN_WERROR=ON")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-logo")
    session.run("python", ".ci/prose.py")
    session.run("clang-format", "--dry-run", "--Werror", *C_FAMILY)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test suite, with cpp-tuned compiled for every level."""
    session.install("-e", ".[test]", *EVERY_LEVEL)
    session.run("pytest", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run what takes long: workloads over many steps, random networks, 100 kills, a wheel from the sdist."""
    session.install("-e", ".[test]", *EVERY_LEVEL)
    session.run("pytest", "-m", "soak", "--hypothesis-profile=fresh", "--timeout=3600", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz fnn.h with libFuzzer, every worker program with lines and files, and the library with new random examples.

    CONTRIBUTING.md has the counts. The main tests have the same examples in each run.
    """
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "hypothesis and not soak", "--hypothesis-profile=fresh")
    session.env["PYFNN_REQUIRE"] = "clang"
    session.run("pytest", "-m", "soak", "-s", "--timeout=3600", "tests/fuzz", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Test the native code under ASan and UBSan, then under TSan: at odd sizes, with threads, on its error paths."""
    session.install("cmake", "ninja", "pybind11")
    pybind11 = str(session.run("python", "-m", "pybind11", "--cmakedir", silent=True)).strip()
    for sanitizers in ("address,undefined", "thread"):
        build = _sanitized(session, sanitizers, pybind11)
        session.run("ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error", "--parallel", "2")


def _sanitized(session: nox.Session, sanitizers: str, pybind11: str) -> str:
    """Build under these sanitizers; return the folder."""
    build = Path(session.create_tmp()) / sanitizers
    shutil.rmtree(build, ignore_errors=True)
    fixed = ("PYFNN_WERROR=ON", "PYFNN_CUDA=OFF", "PYFNN_LEVELS=all")
    options = (f"PYFNN_SANITIZE={sanitizers}", *fixed, f"pybind11_DIR={pybind11}")
    session.run("cmake", "-S", ".", "-B", str(build), "-G", "Ninja", *(f"-D{option}" for option in options))
    session.run("cmake", "--build", str(build), "--target", "sanitize_tests")
    return str(build)


@nox.session
def valgrind(session: nox.Session) -> None:
    """Run cpp-tuned under valgrind, at batches up to 17; larger ones take an hour and add no coverage."""
    program = str(Path(session.create_tmp()) / "tuned_valgrind_test")
    source = "native/cpp/tuned/sanitize_test.cpp"
    flags = ("-std=c++17", "-O1", "-g", "-pthread", "-march=x86-64-v3", "-ffp-contract=fast")
    session.run("c++", *flags, source, "-o", program, external=True)
    session.run("valgrind", "-q", "--error-exitcode=1", "--leak-check=full", program, "17", external=True)


@nox.session
def gpu_sanitize(session: nox.Session) -> None:
    """Run our own kernels on a CUDA device under each tool of compute-sanitizer."""
    session.install("-e", ".[test]", "--config-settings", "cmake.define.PYFNN_CUDA=ON")
    names = "not torch and not jax and not near and not agree and not ceilings"  # nor is there time to be kept
    ours = ("-m", "gpu", "-k", names, "--timeout=0", "tests/test_gpu.py")
    session.env["PYFNN_REQUIRE"] = "gpu"
    for tool in session.posargs or ("memcheck", "racecheck", "initcheck", "synccheck"):
        watched = ("compute-sanitizer", "--tool", tool, "--target-processes", "all", "--error-exitcode", "9")
        session.run(*watched, "python", "-m", "pytest", *ours, external=True)


@nox.session(venv_backend="none")
def gpu(session: nox.Session) -> None:
    """Run all that only an NVIDIA GPU can show, within nine minutes, in this environment (docs/cuda.md)."""
    session.run("python", "-m", "bench.experiments.gpu", *session.posargs, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site in `site/`; a warning, a dead link or a page outside the navigation is an error."""
    if not isinstance(session.virtualenv, nox.virtualenv.PassthroughEnv):
        session.install("latex2mathml>=3.77", "mkdocs-material>=9.5")
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def wheel(session: nox.Session) -> None:
    """Build a wheel for other machines: compiled for every level, one of which is chosen at run time, or for one."""
    session.install("build")
    level = session.posargs[0] if session.posargs else "levels"
    cuda = "ON" if os.environ.get("CUDACXX") or shutil.which("nvcc") else "OFF"  # the machine that builds needs no GPU
    defines = {"PYFNN_MARCH": level, "PYFNN_CUDA": cuda}
    defines["PYFNN_CUDA_ARCHITECTURES"] = "75-real;80-real;86-real;89-real;90"
    settings = [f"--config-setting=cmake.define.{name}={value}" for name, value in defines.items()]
    session.run("python", "-m", "build", "--wheel", *settings)
