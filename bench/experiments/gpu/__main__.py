"""The command `python -m bench.experiments.gpu`: runs the plan part by part, and keeps what each part leaves.

Every step's output goes to a file, its end to steps.jsonl, and summary.md is written anew after every part. So a run
that is cut off loses only what had not run. No error of a step, and no full disk, stops the steps after it.
"""

import argparse
import json
import math
import os
import re
import shutil
import signal
import sys
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from bench.experiments.gpu.bounded import POLL, Command
from bench.experiments.gpu.plan import LIMIT, PACKAGES, RESERVE, ROOT, Part, Setting, Step, find_tool, plan
from bench.experiments.gpu.summary import write_summary
from pyfnn.texts import signal_name

_LAST_LINES = 3  # of a failed step's output, in its reason
_ERROR_MARKS = ("==ERROR==", "ERR_", "Error:")  # of a line that may stand anywhere in that output
_LAST_GRACE = 5.0  # seconds for a step with grace, when the whole run is ended
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_UNPACKED = ("work", "kernels")  # folders that are not archived


@dataclass(frozen=True)
class Outcome:
    """The end of a step. status: "ok", "failed", "cut off" at its bound, or "skipped"; reason: why not "ok"."""

    part: str
    step: str
    status: str
    seconds: float
    reason: str = ""


class Run:
    """One run of a plan.

    Parameters
    ----------
    setting : Setting
    environment : mapping of str to str
        Environment of the steps.
    """

    def __init__(self, setting: Setting, environment: Mapping[str, str]) -> None:
        self._setting, self._environment = setting, environment
        self._running: dict[Step, Command] = {}
        self._end = math.inf

    def run(self, parts: Sequence[Part]) -> None:
        """Run all parts, within `LIMIT`. No part's failure stops the others."""
        self._end = time.monotonic() + (LIMIT - RESERVE) * self._setting.scale
        prepared = [(part, part.prepared) for part in parts if part.prepared]
        try:
            for part in parts:
                _say(f"{part.title}: at most {part.seconds:.0f} s")
                if prepared and part.name != PACKAGES:
                    self._prepare(*prepared.pop())
                (self._together if part.together else self._in_turn)(part)
                if part.prepared:
                    self._end_prepared(part, part.prepared)
                self._write(parts)
        finally:
            for step, command in [*self._running.items()]:
                command.wait(time.monotonic() + _LAST_GRACE * bool(step.grace), step.grace)
            shutil.rmtree(self._setting.work, ignore_errors=True)
            self._write(parts)

    def _write(self, parts: Sequence[Part]) -> None:
        try:
            write_summary(self._setting.out, parts)
            if self._setting.archive:
                _pack(self._setting.out, self._setting.archive)
        except (OSError, tarfile.TarError) as error:
            _say(f"  summary or archive: {error}")

    def _prepare(self, part: Part, step: Step) -> None:
        command = self._start(step)
        if isinstance(command, str):
            self._keep(Outcome(part.name, step.name, "skipped", 0.0, command))

    def _end_prepared(self, part: Part, step: Step) -> None:
        command = self._running.get(step)
        if command:
            self._wait(part, step, command, time.monotonic())

    def _in_turn(self, part: Part) -> None:
        end = min(time.monotonic() + part.seconds, self._end)
        for number, step in enumerate(part.steps):
            now = time.monotonic()
            started = self._start(step) if now < end else "no time was left"
            self._wait(part, step, started, now + (end - now) / (len(part.steps) - number))

    def _together(self, part: Part) -> None:
        end = min(time.monotonic() + part.seconds, self._end)
        pending = [(step, self._start(step)) for step in part.steps]
        while pending:
            for step, command in [*pending]:
                if isinstance(command, str) or command.status is not None or time.monotonic() > end:
                    self._wait(part, step, command, end)
                    pending.remove((step, command))
            time.sleep(POLL)

    def _start(self, step: Step) -> Command | str:
        """Start a step; return the reason where it cannot be."""
        words = step.words
        if step.tool:
            found = find_tool(step.tool)
            if found is None:
                return f"this machine has no {step.tool}"
            words = (found, *words[1:])
        try:
            self._running[step] = Command(words, self._log(step), self._environment)
        except OSError as error:
            return f"it does not start: {error}"
        return self._running[step]

    def _wait(self, part: Part, step: Step, command: Command | str, end: float) -> None:
        if isinstance(command, str):
            self._keep(Outcome(part.name, step.name, "skipped", 0.0, command))
            return
        in_time = command.wait(end, step.grace)
        del self._running[step]
        if not in_time:
            outcome = "cut off", f"it took longer than its bound, {part.seconds:.0f} s for this part"
        elif command.status:
            outcome = "failed", f"{_ended(command.status)}: {_last_lines(self._log(step))}"
        elif step.shows and not re.search(step.shows, _text(self._log(step))):
            outcome = "failed", f"its output has no {step.shows!r}: {_last_lines(self._log(step))}"
        else:
            outcome = "ok", ""
        self._keep(Outcome(part.name, step.name, outcome[0], round(command.seconds, 1), outcome[1]))

    def _log(self, step: Step) -> Path:
        return self._setting.out / "logs" / f"{step.name}.txt"

    def _keep(self, outcome: Outcome) -> None:
        try:
            with (self._setting.out / "steps.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(outcome)) + "\n")
        except OSError as error:
            _say(f"  steps.jsonl: {error}")
        _say(f"  {outcome.step}: {outcome.status} {outcome.reason}".rstrip())


def _say(line: str) -> None:
    with suppress(OSError):  # the reader of the output may have ended
        print(line, flush=True)


def _pack(folder: Path, archive: Path) -> None:
    """Pack a folder into a file, which is replaced once the new one is complete."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f"{archive.name}.part")
    with tarfile.open(partial, "w:gz") as file:
        for path in sorted(folder.iterdir()):
            if path.name not in _UNPACKED and path not in (archive, partial):
                file.add(path, f"{folder.name}/{path.name}")
    partial.replace(archive)


def _ended(status: int) -> str:
    return f"exit status {status}" if status > 0 else f"ended by {signal_name(-status)}"


def _text(log: Path) -> str:
    try:
        return log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return str(error)


def _last_lines(log: Path) -> str:
    """Return the last lines, after the first one that reports an error."""
    lines = [line.strip() for line in _text(log).splitlines() if line.strip()]
    errors = [line for line in lines[:-_LAST_LINES] if any(mark in line for mark in _ERROR_MARKS)]
    return " / ".join([*errors[:1], *lines[-_LAST_LINES:]])


def environment_of_steps(setting: Setting) -> dict[str, str]:
    """Return the environment of the steps: nvcc is found, caches are in the folder that is removed, TF32 is off."""
    cache = {"XDG_CACHE_HOME": str(setting.work / "cache"), "PYTHONUNBUFFERED": "1"}
    # Some images set the first; either would let cuBLAS use TF32 in spite of the frameworks' own settings.
    no_tf32 = {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0", "NVIDIA_TF32_OVERRIDE": "0"}
    environment = {**os.environ, **cache, **no_tf32}
    nvcc = find_tool("nvcc")
    if nvcc:
        environment.setdefault("CUDACXX", nvcc)
        environment["PATH"] = os.pathsep.join([str(Path(nvcc).parent), environment.get("PATH", "")])
    return environment


def _parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m bench.experiments.gpu",
        description="Build for an NVIDIA GPU of compute capability 9.0, prove, sanitize, time and profile on it, in at "
        "most nine minutes. Run it in a checkout of pyfnn.",
    )
    p.add_argument("--out", type=Path, metavar="DIR", help="folder of all output (results/gpu-<timestamp>)")
    p.add_argument("--archive", type=Path, metavar="FILE", help="pack the output into one .tar.gz after each part")
    p.add_argument("--wheels", type=Path, default=Path("wheels"), metavar="DIR", help="wheels to install (wheels)")
    p.add_argument("--only", metavar="LIST", help="parts to run, by name, separated by commas")
    p.add_argument("--list", action="store_true", help="show the parts and their bounds, then exit")
    p.add_argument(
        "--rehearse",
        type=Path,
        metavar="DIR",
        help="run without a GPU: DIR has persistent.so and spread.so, compiled for the CPU (tests/cuda_on_cpu)",
    )
    p.add_argument("--scale", type=float, default=1.0, metavar="X", help="factor on all bounds (1)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, also where parts failed; 2 for wrong arguments.

    A signal that ends the run, such as SIGTERM, gives 128 and its number.
    """
    arguments = _parser().parse_args(argv)
    out = arguments.out or ROOT / "results" / datetime.now().strftime("gpu-%Y-%m-%d_%H-%M-%S")
    archive = arguments.archive and arguments.archive.resolve()
    setting = Setting(out.resolve(), arguments.wheels.resolve(), arguments.rehearse, arguments.scale, archive)
    parts = plan(setting)
    if arguments.only:
        names = arguments.only.split(",")
        unknown = set(names) - {part.name for part in parts}
        if unknown:
            print(f"gpu: --only {arguments.only}: no part is called {', '.join(sorted(unknown))}", file=sys.stderr)
            return 2
        parts = [part for part in parts if part.name in names]
    if arguments.list:
        for part in parts:
            print(f"{part.name:12} {part.seconds:4.0f} s  {part.title}")
        print(f"{'in all':12} {sum(part.seconds for part in parts):4.0f} s")
        return 0
    if (out / "steps.jsonl").exists():
        print(f"gpu: --out {out}: it has an earlier run; name another folder", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for each in _SIGNALS:  # a second one would end the run before its summary is written
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for each in _SIGNALS:
        signal.signal(each, stop)
    os.chdir(ROOT)
    Run(setting, environment_of_steps(setting)).run(parts)
    _say(f"written: {out / 'summary.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
