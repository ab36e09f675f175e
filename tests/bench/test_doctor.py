"""Claims about the doctor: it checks this machine and every backend within its time limit and leaves nothing behind.

Tests of warnings from made-up facts are in advice/test_advice.py.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.places import TESTS
from support.requirements import require, workers

from bench import ceilings, doctor
from bench.advice import advice, machine
from bench.advice.machine import MachineFacts, advice_on_machine
from bench.interruption import INTERRUPTED
from bench.machine import availability, blas, blas_probe, description
from bench.machine.availability import Availability, try_all
from bench.machine.description import describe_machine
from pyfnn import registry

ABSENT = 'host = "no_such_module:Backend"\nremedy = "write it"'
DYING = 'host = "doctored:Dying"'
HANGING = 'host = "doctored:Hanging"'
CHATTY = 'host = "doctored:Chatty"'
DOCTORED = """
import os, subprocess, time
import pyfnn
def Dying(row): os._exit(7)
def Hanging(row): subprocess.run(["sleep", "600"])
def Chatty(row):
    print('{"name": "numpy", "here": "unavailable", "openmp": []}', flush=True)
    return pyfnn.load_backend("numpy")
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a backend.toml of backends that are absent, end their process, print, or hang."""
    (tmp_path / "doctored.py").write_text(DOCTORED)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(TESTS)]))
    hosts = {"absent": ABSENT, "dying": DYING, "chatty": CHATTY, "hanging": HANGING}
    tables = (
        f'[[backend]]\nname = "{name}"\nlanguage = "Python"\ndivision = "plain"\n{lines}\n'
        for name, lines in hosts.items()
    )
    path = tmp_path / "a=b.toml"
    path.write_text("\n".join(tables))
    return path


def test_a_backend_that_is_absent_dies_or_hangs_affects_no_other_and_leaves_no_process(manifest: Path) -> None:
    rows = [registry.find(name, [manifest]) for name in ("hanging", "numpy", "dying", "absent", "chatty")]
    for limit in (8.0, 60.0):  # seconds; on a busy machine the first may be too few for the others
        start = time.perf_counter()
        hanging, *others = try_all(rows, limit)
        assert time.perf_counter() - start < limit + 60
        assert hanging == Availability("hanging", "not tried", f"no answer within {limit:g} s")
        if all(one.here != "not tried" for one in others):
            break
    numpy, dying, absent, chatty = others
    assert (numpy.here, numpy.reason) == ("available", "")
    assert (dying.here, "status 7" in dying.reason) == ("unavailable", True)
    assert (absent.here, absent.remedy) == ("unavailable", "write it")
    assert "no_such_module" in absent.reason
    assert (chatty.here, chatty.reason) == ("available", "")  # output of a library is not an answer
    assert not workers()
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(manifest) in " ".join(p.info["cmdline"] or ())]


def test_no_backend_is_tried_where_none_is_named() -> None:
    assert try_all([], 0.0) == []
    assert machine.try_frameworks([registry.find("numpy")]) == []


def test_the_openmp_runtimes_of_a_backends_process_are_found(manifest: Path) -> None:
    (manifest.parent / "doctored.py").write_text(
        "import pyfnn, sklearn.cluster\ndef Dying(row):\n    return pyfnn.load_backend('numpy')\n"
    )
    (found,) = try_all([registry.find("dying", [manifest])], 60.0)
    assert (found.here, found.reason) == ("available", "")
    require("scikit-learn with OpenMP", bool(found.openmp), "PyPI's scikit-learn brings one")
    assert all("omp" in Path(file).name and Path(file).exists() for file in found.openmp)
    assert advice_on_machine(MachineFacts(openmp={"dying": (*found.openmp, "/b/libiomp5.so")}))


@pytest.mark.parametrize(
    ("kernels", "level", "better"),
    [
        ("Haswell", "v4", "SkylakeX"),
        ("Zen", "v4", "SkylakeX"),
        ("Cooperlake", "v4", None),
        ("Haswell", "v3", None),
        ("SkylakeX", "v3", None),
        ("Sandybridge", "v3", "Haswell"),
        ("Prescott", None, None),
        ("neoversen1", None, None),
    ],
)
def test_kernels_are_old_where_the_instruction_set_of_the_cpu_has_newer_ones(
    kernels: str, level: str | None, better: str | None
) -> None:
    assert blas.newer_kernels(kernels, level) == better


def test_a_warning_of_old_kernels_has_the_measured_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked in a process whose OpenBLAS is set to AVX2 kernels, on a CPU with AVX-512."""
    level = description.level(describe_machine()["instruction_sets"])
    require("AVX-512", level == "v4", "a CPU that has it")
    require("an OpenBLAS in NumPy", blas_probe.of_numpy() is not None, "PyPI's NumPy")
    code = (
        "import functools; from bench.advice.machine import MachineFacts, advice_on_machine\n"
        "from bench.machine import blas\n"
        "blas.measure = functools.partial(blas.measure, patience=120.0)\n"
        "print(*advice_on_machine(MachineFacts(blas=blas.examine('v4'))))"
    )
    monkeypatch.setenv(blas.VARIABLE, "Haswell")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "uses Haswell kernels, which are older than this CPU's instruction set" in done.stdout
    assert "with OPENBLAS_CORETYPE=SkylakeX" in done.stdout
    assert "times that" in done.stdout
    assert "of the multiply-add peak" in done.stdout


def test_a_measurement_uses_the_requested_kernels_and_stays_below_the_peak() -> None:
    level = description.level(describe_machine()["instruction_sets"])
    require(
        "an OpenBLAS in NumPy on a CPU with AVX2", blas_probe.of_numpy() is not None and level is not None, "x86-64"
    )
    gflops, peak = 0.0, 0.0
    for _ in range(5):  # a busy machine lowers either rate now and then
        reached = blas.measure("Haswell", patience=120.0)
        assert reached is not None
        assert reached.kernels == "Haswell"
        assert reached.peak is not None
        gflops, peak = max(gflops, reached.gflops), max(peak, reached.peak)
        if 0.02 * peak < gflops < 1.05 * peak:
            break
    assert 0.02 * peak < gflops < 1.05 * peak


def test_a_measurement_that_fails_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert blas.measure(patience=0.01) is None
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert blas.measure() is None


def test_the_facts_of_this_machine_are_read_and_every_warning_has_a_remedy() -> None:
    facts = machine.read_machine(describe_machine(), [])
    assert facts.memory_bytes
    assert facts.memory_available_bytes
    assert facts.others is not None
    assert facts.others >= 0
    assert all(one.message and one.remedy for one in advice_on_machine(facts))


def test_the_doctor_prints_machine_warnings_and_every_backend_with_its_remedy(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 30.0)  # the machine may be busy
    loaded = advice.Advice("load", "others are [busy]", "wait")
    monkeypatch.setattr("bench.doctor.advice_on_machine", lambda _: (loaded,))
    (manifest.parent / "doctored.py").write_text(DOCTORED.replace('subprocess.run(["sleep", "600"])', "pass"))
    assert doctor.main(["--backend", str(manifest)]) == 0
    printed = capsys.readouterr().out
    assert str(describe_machine()["cpu_model"]) in printed
    assert "warning: load: others are [busy]\n  to do: wait\n" in printed
    assert all(f"\n{name} (" in printed for name in registry.rows([manifest]))
    assert "absent (Python, plain): unavailable: absent cannot be imported: No module named 'no_such_module'" in printed
    assert "\n  to do: write it\n" in printed
    assert "numpy (Python, plain): available\n" in printed


def test_an_invalid_manifest_ends_the_doctor_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text("[[backend]]\nname = 3\n")
    assert doctor.main(["--backend", str(tmp_path / "bad.toml")]) == 2
    assert "bad.toml" in capsys.readouterr().err


def test_the_time_limit_of_backends_leaves_time_for_the_rest_within_ten_seconds() -> None:
    assert doctor.PATIENCE + 2 * blas.PATIENCE < 9.5
    assert availability.try_all([registry.find("numpy")], 0.0)[0].here == "not tried"


def test_ctrl_c_ends_the_doctor_and_the_probes_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "show", end)
    monkeypatch.setattr(ceilings, "measure_ceilings", end)
    assert doctor.main([]) == ceilings.main([]) == INTERRUPTED


def test_a_probe_that_cannot_be_started_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(ceilings, "measure_ceilings", fail)
    assert ceilings.main([]) == 1
    assert capsys.readouterr().err == "bench.ceilings: no more processes\n"
