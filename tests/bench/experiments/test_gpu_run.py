"""Claims about bench.experiments.gpu, the run of all that only a GPU can show: it is bounded, and nothing stops it.

The whole of it is rehearsed here on kernels that run on the CPU, with stand-ins for CUDA's tools.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from support.cuda_kernels import PATHS, compiled_kernels, shared_folder
from support.processes import alive, until

from bench.experiments.gpu.__main__ import Run, environment_of_steps
from bench.experiments.gpu.plan import (
    LIMIT,
    REQUIRED,
    RESERVE,
    ROOT,
    Part,
    Setting,
    Step,
    find_tool,
    install_command,
    plan,
)
from bench.results.store import load_results

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TOOL = """#!/bin/sh
# Stands in for a tool of CUDA: skips its options and runs the command.
echo "========= ERROR SUMMARY: 0 errors"
echo "    Duration                 us       12.3"
while [ "$1" != "{python}" ]; do shift; done
exec "$@"
"""


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def part(name: str, *steps: Step, seconds: float = 30.0, together: bool = False) -> Part:
    return Part(name, f"the part {name}", seconds, steps, together)


def ended(out: Path) -> dict[str, dict[str, Any]]:
    lines = (out / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["step"]: line for line in map(json.loads, lines)}


def run(out: Path, *parts: Part) -> dict[str, dict[str, Any]]:
    Run(Setting(out), os.environ).run(parts)
    return ended(out)


def test_the_bounds_of_all_parts_add_up_to_less_than_nine_minutes(tmp_path: Path) -> None:
    parts = plan(Setting(tmp_path))
    assert sum(each.seconds for each in parts) <= LIMIT - RESERVE
    assert LIMIT == 540
    assert [each.name for each in parts][-5:] == ["parity", "sanitizers", "suite", "crossover", "ncu"]


def test_the_whole_run_passes_in_a_rehearsal_without_a_gpu(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = shared_folder(tmp_path_factory)
    for path in PATHS:
        compiled_kernels(kernels, path)
    for name in ("compute-sanitizer", "ncu"):
        (tmp_path / name).write_text(TOOL.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "bench.experiments.gpu", "--rehearse", str(kernels), "--out", str(out)]
    subprocess.run(
        [*command, "--scale=10", "--archive", str(tmp_path / "all.tar.gz")], cwd=ROOT, check=True, capture_output=True
    )
    steps, page = ended(out), (out / "summary.md").read_text(encoding="utf-8")
    assert {name: step["reason"] for name, step in steps.items() if step["status"] != "ok"} == {}
    parts = plan(Setting(out, rehearse=kernels))
    assert len(steps) == sum(len(each.steps) + (each.prepared is not None) for each in parts)
    for title in ("## Aims", "## Parity", "## compute-sanitizer", "## Suite", "## Two ways to train"):
        assert title in page
    assert "not finished" not in page
    assert "| parity | 4 of 4 passed | reached |" in page
    with tarfile.open(tmp_path / "all.tar.gz") as packed:
        names = packed.getnames()
    assert {"out/summary.md", "out/suite/results.json"} <= set(names)
    assert not any(name.startswith("out/kernels") for name in names)
    (case,) = load_results(out / "suite").cases
    assert [(backend.name, backend.status) for backend in case.backends][:2] == [("c", "ok"), ("numpy", "ok")]


class JumpingClock:
    """A clock that jumps ahead by so many seconds once a log has a line, so that a step may take long to start."""

    def __init__(self, log: Path, seconds: float) -> None:
        self._log, self._seconds = log, seconds

    def monotonic(self) -> float:
        ready = self._log.exists() and self._log.read_text().endswith("\n")
        return time.monotonic() + (self._seconds if ready else 0.0)

    sleep = staticmethod(time.sleep)

    def set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("__main__", "bounded"):
            monkeypatch.setattr(f"bench.experiments.gpu.{module}.time", self)


def test_a_hanging_step_is_ended_at_its_bound_with_its_children_and_the_rest_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, begin = tmp_path / "logs" / "hang.txt", time.monotonic()
    JumpingClock(log, 101.0).set(monkeypatch)
    spawn = "import subprocess, time; p = subprocess.Popen(['sleep', '77'], start_new_session=True); print(p.pid)"
    hang = Step("hang", python(f"{spawn}; import sys; sys.stdout.flush(); time.sleep(77)"))
    found = run(tmp_path, part("one", hang, seconds=100.0), part("two", Step("next", python("print('done')"))))
    assert time.monotonic() - begin < 70
    assert (found["hang"]["status"], found["next"]["status"]) == ("cut off", "ok")
    assert "100 s" in found["hang"]["reason"]
    child = int(log.read_text())
    assert until(lambda: not alive(child))


def test_a_step_is_interrupted_before_its_bound_to_write_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "logs" / "long.txt"
    JumpingClock(log, 41.0).set(monkeypatch)  # to before the bound
    begin = "import time\ntry:\n    print('begun', flush=True); time.sleep(77)"
    code = f"{begin}\nexcept KeyboardInterrupt:\n    print('kept')"
    found = run(tmp_path, part("one", Step("long", python(code), grace=60.0), seconds=100.0))
    assert found["long"]["status"] == "cut off"
    assert log.read_text() == "begun\nkept\n"


def test_steps_that_follow_each_other_share_what_is_left_of_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ends, taken = [100.0], list[float](), [10.0, 25.0, 1.0]

    class Taking:
        """A command that takes these seconds."""

        status, seconds = 0, 0.0

        def __init__(self, *_: object) -> None:
            pass

        def wait(self, end: float, _: float) -> bool:
            ends.append(end - 100.0)
            now[0] += taken.pop(0)
            return True

    monkeypatch.setattr("bench.experiments.gpu.__main__.Command", Taking)
    monkeypatch.setattr("bench.experiments.gpu.__main__.time", SimpleNamespace(monotonic=lambda: now[0]))
    found = run(tmp_path, part("one", *(Step(name, python("")) for name in "abc"), seconds=60.0))
    assert ends == [20.0, 10.0 + 25.0, 60.0]
    assert {step["status"] for step in found.values()} == {"ok"}


def test_a_failing_step_stops_no_other_and_its_last_words_are_kept(tmp_path: Path) -> None:
    fail, good = Step("fail", python("raise SystemExit('no such | thing')")), Step("good", python(""))
    found = run(tmp_path, part("one", fail, good, together=True), part("two", Step("later", python(""))))
    assert found["fail"]["status"] == "failed"
    assert found["fail"]["reason"] == "exit status 1: no such | thing"
    assert (found["good"]["status"], found["later"]["status"]) == ("ok", "ok")
    assert "no such / thing" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_a_step_whose_tool_is_missing_is_skipped_with_the_reason(tmp_path: Path) -> None:
    found = run(tmp_path, part("one", Step("lost", ("no-such-tool", "x"), "no-such-tool")))
    assert (found["lost"]["status"], found["lost"]["reason"]) == ("skipped", "this machine has no no-such-tool")


CUT_OFF = """
import sys
from bench.experiments.gpu import __main__ as command
from bench.experiments.gpu.plan import Part, Step
first = Step("first", (sys.executable, "-c", "print('result')"))
second = Step("second", (sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(300)"))
command.plan = lambda setting: [Part("one", "one", 60, (first,)), Part("two", "two", 60, (second,))]
command.main(["--out", sys.argv[1]])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_cut_off_leaves_what_the_finished_parts_wrote(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", CUT_OFF, str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
    log = tmp_path / "logs" / "second.txt"
    while not (log.exists() and log.read_text()):
        assert process.poll() is None
        time.sleep(0.02)
    children = psutil.Process(process.pid).children()
    process.send_signal(number)
    assert process.wait(120) in (128 + number, -number)
    assert ended(tmp_path)["first"]["status"] == "ok"
    assert (tmp_path / "logs" / "first.txt").read_text() == "result\n"
    page = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert re.search(r"first \| ok", page)
    assert re.search(r"second \| not finished", page)
    if number == signal.SIGKILL:
        for child in children:
            child.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_the_command_needs_only_the_standard_library_until_it_has_installed_the_rest() -> None:
    code = "import bench.experiments.gpu.__main__ as m; import bench.experiments.gpu.kernels; m.main(['--list'])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "in all" in done.stdout


def test_the_install_names_options_that_exist_and_everything_that_pyfnn_needs() -> None:
    options = re.findall(r"cmake\.define\.(\w+)=", " ".join(install_command()))
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert options
    assert [name for name in options if f"set({name} " not in cmake] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = project["project"]["dependencies"] + project["build-system"]["requires"]
    needed += project["project"]["optional-dependencies"]["bench"]
    names = {re.split(r"[><=;\[ ]", line)[0] for line in needed if "python_version <" not in line}
    assert names == set(REQUIRED)


def test_tools_are_found_beside_those_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.experiments.gpu.plan._PLACES", (f"{str(tmp_path).lstrip('/')}/cuda-*/bin",))
    assert find_tool("ncu") is None
    tool = tmp_path / "cuda-13" / "bin" / "ncu"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert find_tool("ncu") == str(tool)


def test_of_several_versions_of_a_tool_the_newest_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.experiments.gpu.plan._PLACES", (f"{str(tmp_path).lstrip('/')}/cuda-*/bin",))
    for version in ("12.9", "13.0", "12.10"):
        tool = tmp_path / f"cuda-{version}" / "bin" / "nvcc"
        tool.parent.mkdir(parents=True)
        tool.write_text("#!/bin/sh\n")
        tool.chmod(0o755)
    assert find_tool("nvcc") == str(tmp_path / "cuda-13.0" / "bin" / "nvcc")


def test_a_step_that_leaves_no_result_has_failed_and_the_reported_error_is_kept(tmp_path: Path) -> None:
    code = "print('==ERROR== ERR_NVGPUCTRPERM'); [print('line') for _ in range(9)]"
    found = run(tmp_path, part("one", Step("profile", python(code), shows="Duration")))
    assert found["profile"]["status"] == "failed"
    assert "ERR_NVGPUCTRPERM" in found["profile"]["reason"]
    with_result = Step("good", python("print('Duration 1')"), shows="Duration")
    assert run(tmp_path, part("two", with_result))["good"]["status"] == "ok"


def test_a_crash_is_named_by_its_signal_and_a_program_that_cannot_start_stops_no_other(tmp_path: Path) -> None:
    crash = Step("crash", python("import os; os.kill(os.getpid(), 11)"))
    found = run(tmp_path, part("one", crash, Step("odd", (str(tmp_path),)), Step("next", python(""))))
    assert found["crash"]["reason"].startswith("ended by SIGSEGV")
    assert found["odd"]["status"] == "skipped"
    assert "it does not start" in found["odd"]["reason"]
    assert found["next"]["status"] == "ok"


def test_a_process_left_behind_in_a_session_of_its_own_is_ended_with_its_step(tmp_path: Path) -> None:
    leave = "import subprocess; print(subprocess.Popen(['sleep', '77'], start_new_session=True).pid)"
    assert run(tmp_path, part("one", Step("leave", python(leave))))["leave"]["status"] == "ok"
    child = int((tmp_path / "logs" / "leave.txt").read_text())
    assert until(lambda: not alive(child))


def test_a_full_disk_stops_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "logs").mkdir()
    (tmp_path / "steps.jsonl").mkdir()  # an open raises OSError
    monkeypatch.setattr(Path, "write_text", full)
    mark = tmp_path / "reached"
    Run(Setting(tmp_path), os.environ).run(
        [part("one", Step("a", python(""))), part("two", Step("b", python(f"open({str(mark)!r}, 'w')")))]
    )
    assert mark.exists()


def test_a_run_whose_time_is_over_begins_no_further_step(tmp_path: Path) -> None:
    slow, late = Step("slow", python("import time; time.sleep(77)")), Step("late", python(""))
    Run(Setting(tmp_path, scale=1.0 / (LIMIT - RESERVE)), os.environ).run([part("one", slow), part("two", late)])
    assert ended(tmp_path)["slow"]["status"] == "cut off"
    assert ended(tmp_path)["late"]["reason"] == "no time was left"


def test_a_folder_with_an_earlier_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "steps.jsonl").write_text("")
    command = [sys.executable, "-m", "bench.experiments.gpu", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "it has an earlier run" in done.stderr


def test_the_steps_let_no_library_use_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE"):
        monkeypatch.setenv(name, "1")
        assert environment_of_steps(Setting(tmp_path))[name] == "0"
