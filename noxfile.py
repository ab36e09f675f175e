"""The development sessions. `nox -l` lists them; CI runs the same ones."""

import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

C_FAMILY = [str(path) for pattern in ("*.c", "*.h", "*.cpp", "*.hpp") for path in sorted(Path("native").rglob(pattern))]


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff, mypy and clang-format, and a build in which warnings are errors."""
    session.install("-e", ".[dev]", "-C", "cmake.define.PYFNN_WERROR=ON")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("clang-format", "--dry-run", "--Werror", *C_FAMILY)


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test suite."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """The long runs: workloads over many steps, 1000 more random networks, 100 kills, a wheel from the sdist."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "soak", "--timeout=3600", *session.posargs)


@nox.session
def sanitize(session: nox.Session) -> None:
    """The native code under AddressSanitizer and UndefinedBehaviorSanitizer, at odd sizes and on its error paths."""
    session.install("cmake", "ninja", "pybind11")
    build = Path(session.create_tmp()) / "sanitize"
    shutil.rmtree(build, ignore_errors=True)
    pybind11 = str(session.run("python", "-m", "pybind11", "--cmakedir", silent=True)).strip()
    options = ("PYFNN_SANITIZE=address,undefined", "PYFNN_WERROR=ON", "PYFNN_CUDA=OFF", f"pybind11_DIR={pybind11}")
    session.run("cmake", "-S", ".", "-B", str(build), "-G", "Ninja", *(f"-D{option}" for option in options))
    session.run("cmake", "--build", str(build))
    session.run("ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error")


@nox.session
def wheel(session: nox.Session) -> None:
    """A wheel for other machines: compiled for a stated CPU level, not for this one."""
    session.install("build")
    level = session.posargs[0] if session.posargs else "x86-64-v3"
    session.run("python", "-m", "build", "--wheel", "-C", f"cmake.define.PYFNN_MARCH={level}")
