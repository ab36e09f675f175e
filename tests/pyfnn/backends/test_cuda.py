"""Claims about the CUDA backends without a GPU: what is compiled, what it reports, and that a run goes on without them.

The kernels' results are tested in test_cuda_on_cpu_kernels and test_gpu.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.requirements import require
from support.runs import enter_folder

from bench import run
from bench.results.store import load_results
from pyfnn import compiled, registry
from pyfnn.backends import c, cuda
from pyfnn.errors import BackendUnavailable
from pyfnn.manifest import native_folder

ROWS = ("cuda", "cuda-blas")
TARGETS = ("fnn_cuda", "fnn_cuda_blas")
HOW = "with nvcc (README.md has its wheels): pip install -e . --config-settings cmake.define.PYFNN_CUDA=ON"
WITHOUT_DEVICES = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


def library(target: str) -> Path:
    """Return the compiled library; skip the test without one."""
    require("nvcc", target in compiled.build_info().SOURCES, HOW)
    return compiled.folder(target) / f"lib{target}.so"


def about(target: str) -> str:
    return c._text(c._ffi().dlopen(str(library(target))).fnn_about())


def tool(name: str) -> str:
    beside = Path(os.environ.get("CUDACXX", "nvcc")).parent
    found = shutil.which(name) or shutil.which(name, path=str(beside))
    require(name, found is not None, "install the CUDA toolkit, or pip install nvidia-cuda-cuobjdump")
    return str(found)


# --- The compiled libraries ---


@pytest.mark.parametrize("target", TARGETS)
def test_the_architectures_that_fnn_about_names_have_machine_code_and_those_without_real_ptx_too(target: str) -> None:
    path, cuobjdump = library(target), tool("cuobjdump")
    named = re.findall(r"(\d+)(-real)?[,\n]", re.findall(r"^flags=.* for (.*\n)", about(target), re.MULTILINE)[0])
    elf, ptx = (
        set(
            re.findall(
                r"sm_\d+",
                subprocess.run(
                    [cuobjdump, f"--list-{kind}", str(path)], check=True, text=True, capture_output=True
                ).stdout,
            )
        )
        for kind in ("elf", "ptx")
    )
    assert elf == {f"sm_{number}" for number, _ in named} != set()
    assert ptx == {f"sm_{number}" for number, real in named if not real}


@pytest.mark.parametrize("target", TARGETS)
def test_all_of_fnn_h_but_what_only_c_has_is_exported_and_nothing_else(target: str) -> None:
    nm = shutil.which("nm")
    path = library(target)
    require("nm", nm is not None, "install binutils")
    listed = subprocess.run([str(nm), "-D", "--defined-only", str(path)], check=True, capture_output=True, text=True)
    exported = {line.split()[-1] for line in listed.stdout.splitlines()} - {"_init", "_fini"}
    assert exported == set(re.findall(r"\b(fnn_\w+)\(", c._declarations())) - {
        "fnn_loss",
        "fnn_is_finite",
        *c._OPTIMIZERS,
    }


@pytest.mark.parametrize("target", TARGETS)
def test_loading_needs_no_library_of_cuda(target: str) -> None:
    readelf = shutil.which("readelf")
    path = library(target)
    require("readelf", readelf is not None, "install binutils")
    dynamic = subprocess.run([str(readelf), "-d", str(path)], check=True, capture_output=True, text=True).stdout
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    assert needed
    assert not [name for name in needed if "cu" in name]


@pytest.mark.parametrize(("target", "name"), [*zip(TARGETS, ROWS, strict=True)])
def test_fnn_about_names_compiler_flags_and_architectures(target: str, name: str) -> None:
    lines = about(target)
    assert f"name={name}\n" in lines
    assert re.search(r"^compiler=nvcc \d+\.\d", lines, re.MULTILINE)
    assert re.search(r"^flags=.*-O3.* for \d+(-real)?(,\d+(-real)?)*$", lines, re.MULTILINE)
    assert "many=yes\n" in lines


# --- Without a device ---


@pytest.mark.parametrize("state", ["no nvcc found", "no NVIDIA GPU found"])
@pytest.mark.parametrize("name", ROWS)
def test_without_nvcc_or_a_gpu_the_row_reports_the_reason_and_the_command_that_compiles_it(
    name: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "build_info", lambda: SimpleNamespace(SOURCES={}, CUDA=state))
    with pytest.raises(BackendUnavailable) as caught:
        registry.load_backend(name)
    assert caught.value.reason == f"its kernels are not compiled here (CUDA: {state})"
    assert caught.value.remedy == (
        "with nvcc of CUDA 12 or 13 on PATH: pip install -e . --config-settings cmake.define.PYFNN_CUDA=ON"
    )


# --- The machine's GPUs, as the build finds them ---

SMI = """#!/bin/sh
case $1 in
  --query-gpu=compute_cap) {query} ;;
  -L) {listing} ;;
esac
"""
FAILS = "echo 'NVIDIA-SMI has failed'; exit 9"


@pytest.mark.parametrize(
    ("smi", "gpus", "architectures"),
    [
        (None, "", "75-real;80-real;90"),
        (SMI.format(query=FAILS, listing=FAILS), "", "75-real;80-real;90"),
        (SMI.format(query="printf '9.0\\n9.0\\n'", listing=FAILS), "9.0", "90-real"),
        (SMI.format(query="printf '7.5\\n8.6\\n'", listing=FAILS), "7.5;8.6", "75-real;86-real"),
        (SMI.format(query="printf '8.6\\n99.0\\n'", listing=FAILS), "8.6;99.0", "75-real;80-real;90"),  # 99.0: unknown
        (SMI.format(query="printf '6.1\\n'", listing=FAILS), "6.1", "75-real;80-real;90"),
        (SMI.format(query=FAILS, listing="echo 'GPU 0: NVIDIA T4 (UUID: x)'"), "unknown", "75-real;80-real;90"),
    ],
    ids=["no nvidia-smi", "no driver", "one kind", "two kinds", "one that nvcc does not know", "too old", "old driver"],
)
def test_the_build_finds_the_gpus_and_compiles_for_them_if_nvcc_knows_them_all(
    smi: str | None, gpus: str, architectures: str, tmp_path: Path
) -> None:
    cmake = shutil.which("cmake")
    require("cmake", cmake is not None, "install cmake")
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\nprintf 'sm_75\\nsm_80\\nsm_86\\nsm_90\\n'\n")
    if smi:
        (tmp_path / "nvidia-smi").write_text(smi)
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    script = tmp_path / "find.cmake"
    script.write_text(
        f"include({native_folder() / 'c_cuda' / 'architectures.cmake'})\nfind_nvidia_gpus(gpus)\n"
        f'choose_cuda_architectures(chosen {nvcc} ${{gpus}})\nmessage("${{gpus}} ${{chosen}}")\n'
    )
    found = subprocess.run([str(cmake), "-P", str(script)], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert found.stderr == f"{gpus} {architectures}\n"


@pytest.mark.parametrize("name", ROWS)
def test_without_a_device_the_row_is_unavailable_with_reason_and_remedy(name: str) -> None:
    library("fnn_cuda")
    script = (
        "import sys, json, pyfnn\n"
        "try: pyfnn.load_backend(sys.argv[1])\n"
        "except pyfnn.BackendUnavailable as error: print(json.dumps([error.reason, error.remedy]))"
    )
    command = [sys.executable, "-c", script, name]
    done = subprocess.run(command, env=WITHOUT_DEVICES, check=True, capture_output=True, text=True)
    reason, remedy = json.loads(done.stdout)
    assert reason.startswith("no NVIDIA device can be used: ")
    assert "(cudaError" in reason
    assert "driver" in remedy


def test_fnn_create_without_a_device_fails_with_the_devices_message() -> None:
    script = f"""
from pyfnn.backends import c
ffi, lib = c._ffi(), c._ffi().dlopen({str(library("fnn_cuda"))!r})
names = [ffi.new("char[]", b"tanh"), ffi.new("char[]", b"identity")]
kept = ffi.new("int64_t[]", (2, 3, 1)), ffi.new("char *[]", names), ffi.new("char[]", b"squared_error")
network = ffi.new("fnn_network *", (2, kept[0], kept[1], kept[2], 0.0, 1, 1))
model = ffi.new("fnn_model **")
assert lib.fnn_create(network, ffi.new("double[13]"), model) == lib.FNN_DEVICE
assert "no NVIDIA device can be used" in c._text(lib.fnn_last_error(model[0]))
assert lib.fnn_forward(model[0], 0, 1, ffi.new("double[1]")) == lib.FNN_INVALID
lib.fnn_destroy(model[0])
network.sizes[1] = 0
assert lib.fnn_create(network, ffi.new("double[13]"), model) == lib.FNN_INVALID
assert "sizes[1] = 0" in c._text(lib.fnn_last_error(model[0]))
lib.fnn_destroy(model[0])
"""
    subprocess.run([sys.executable, "-c", script], env=WITHOUT_DEVICES, check=True)


def test_a_run_times_the_other_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = enter_folder(tmp_path, monkeypatch)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    options = ["--suite", "../tiny.toml", "--backends", "numpy,cuda,cuda-blas", "--precision", "1000"]
    assert run.main([*options, "--out", "out"]) == 0
    (case,) = load_results(folder / "out").cases
    rows = {row.name: row for row in case.backends}
    assert rows["numpy"].status == "ok"
    for name in ROWS:
        assert rows[name].status == "unavailable"
        assert rows[name].reason
        assert rows[name].remedy


# --- cuBLAS ---


def test_the_newest_cublas_of_a_wheel_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("cublas/lib/libcublas.so.12", "cu13/lib/libcublas.so.13"):
        (tmp_path / "nvidia" / place).parent.mkdir(parents=True)
        (tmp_path / "nvidia" / place).touch()
    monkeypatch.delenv(cuda.VARIABLE, raising=False)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path / "nvidia")])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec if name == "nvidia" else None)
    assert cuda.find_cublas() == tmp_path / "nvidia/cu13/lib/libcublas.so.13"
    (tmp_path / "nvidia/cu13/lib/libcublas.so.13").unlink()
    assert cuda.find_cublas() == tmp_path / "nvidia/cublas/lib/libcublas.so.12"
    monkeypatch.setenv(cuda.VARIABLE, "/some/libcublas.so.12")
    assert cuda.find_cublas() == Path("/some/libcublas.so.12")


def test_a_file_that_is_not_cublas_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library("fnn_cuda_blas")
    (tmp_path / "libcublas.so.13").write_text("not a library", encoding="utf-8")
    monkeypatch.setenv(cuda.VARIABLE, str(tmp_path / "libcublas.so.13"))
    with pytest.raises(BackendUnavailable, match=r"libcublas\.so\.13 is no cuBLAS that can be loaded"):
        registry.load_backend("cuda-blas")
