"""Claims about the GPUs that the CUDA kernels are compiled for: native/c_cuda/architectures.cmake, without a GPU."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.requirements import require

from pyfnn.manifest import native_folder

ALL = "75-real;80-real;90"
KNOWN = "sm_75 sm_80 sm_86 sm_89 sm_90"


def chosen(folder: Path, answer: str | None, named: str = "") -> str:
    """Return the choice on a machine whose nvidia-smi prints these lines, or, with None, that has none."""
    cmake = shutil.which("cmake")
    require("cmake", cmake is not None, "install CMake")
    programs = {"nvcc": f"printf '%s\\n' {KNOWN}"}
    programs["nvidia-smi"] = "exit 9" if answer is None else f"printf '%s\\n' {answer}"
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    script = folder / "choose.cmake"
    script.write_text(
        f'set(PYFNN_CUDA_ARCHITECTURES "{named}")\ninclude({native_folder()}/c_cuda/architectures.cmake)\n'
        f"find_nvidia_gpus(gpus)\n"
        f'choose_cuda_architectures(found {folder}/nvcc ${{gpus}})\nmessage(STATUS "${{found}}")\n',
        encoding="utf-8",
    )
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(cmake), "-P", str(script)], env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip().removeprefix("-- ")


@pytest.mark.parametrize(
    ("answer", "architectures"),
    [
        (None, ALL),
        ("9.0", "90-real"),
        ("8.6 8.6 7.5", "86-real;75-real"),
        ("12.0", ALL),  # unknown to this nvcc
        ("9.0 12.0", ALL),
        ("6.1", ALL),
        ("", ALL),
        ("'No devices were found'", ALL),
    ],
)
def test_without_a_named_list_the_machines_gpus_are_compiled_for_if_nvcc_knows_them_all_else_all_since_turing(
    tmp_path: Path, answer: str | None, architectures: str
) -> None:
    assert chosen(tmp_path, answer) == architectures


def test_a_named_list_is_taken_as_it_is(tmp_path: Path) -> None:
    assert chosen(tmp_path, "9.0", "80-real;90") == "80-real;90"
