"""The command `python -m bench.experiments.gpu`: runs the plan part by part, and keeps what each part leaves.

Every step's output goes to a file, its end to steps.jsonl, and summary.md is written anew after every part. So a run
that is cut off loses only what had not run.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType

from bench.experiments.gpu.bounded import POLL, Command
from bench.experiments.gpu.plan import PACKAGES, ROOT, Part, Setting, Step, find_tool, plan
from bench.experiments.gpu.summary import write_summary

CUT_OFF = 143  # exit status after SIGTERM
_LAST_LINES = 3  # of a failed step's output, in its reason


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
        self._running: list[Command] = []

    def run(self, parts: Sequence[Part]) -> None:
        """Run all parts. No part's failure stops the others."""
        steps = [part.prepared for part in parts if part.prepared]
        try:
            for part in parts:
                print(f"{part.title}: at most {part.seconds:.0f} s", flush=True)
                if steps and part.name != PACKAGES:
                    self._start(steps.pop())
                (self._together if part.together else self._in_turn)(part)
                if part.prepared:
                    self._end_running()
                write_summary(self._setting.out, parts)
        finally:
            self._end_running()
            shutil.rmtree(self._setting.work, ignore_errors=True)
            write_summary(self._setting.out, parts)

    def _end_running(self) -> None:
        while self._running:
            self._running.pop().end()

    def _in_turn(self, part: Part) -> None:
        end = time.monotonic() + part.seconds
        for number, step in enumerate(part.steps):
            now = time.monotonic()
            self._wait(part, step, self._start(step), now + (end - now) / (len(part.steps) - number))

    def _together(self, part: Part) -> None:
        end = time.monotonic() + part.seconds
        pending = [(step, self._start(step)) for step in part.steps]
        while pending:
            for step, command in [*pending]:
                if command is None or command.status is not None or time.monotonic() > end:
                    self._wait(part, step, command, end)
                    pending.remove((step, command))
            time.sleep(POLL)

    def _start(self, step: Step) -> Command | None:
        words = step.words
        if step.tool:
            found = find_tool(step.tool)
            if found is None:
                return None
            words = (found, *words[1:])
        command = Command(words, self._log(step), self._environment)
        self._running.append(command)
        return command

    def _wait(self, part: Part, step: Step, command: Command | None, end: float) -> None:
        if command is None:
            self._keep(Outcome(part.name, step.name, "skipped", 0.0, f"this machine has no {step.tool}"))
            return
        in_time = command.wait(end, step.grace)
        self._running.remove(command)
        if not in_time:
            outcome = "cut off", f"it took longer than its bound, {part.seconds:.0f} s for this part"
        elif command.status:
            outcome = "failed", f"exit status {command.status}: {_last_lines(self._log(step))}"
        else:
            outcome = "ok", ""
        self._keep(Outcome(part.name, step.name, outcome[0], round(command.seconds, 1), outcome[1]))

    def _log(self, step: Step) -> Path:
        return self._setting.out / "logs" / f"{step.name}.txt"

    def _keep(self, outcome: Outcome) -> None:
        print(f"  {outcome.step}: {outcome.status} {outcome.reason}".rstrip(), flush=True)
        with (self._setting.out / "steps.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def _last_lines(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-_LAST_LINES:])


def environment_of_steps(setting: Setting) -> dict[str, str]:
    """Return the environment of the steps: nvcc is found, and caches are in the folder that is removed at the end."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(setting.work / "cache"), "PYTHONUNBUFFERED": "1"}
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
    """Run the command; return its exit status: 0, also where parts failed; 2 for wrong arguments; 143 if cut off."""
    arguments = _parser().parse_args(argv)
    out = arguments.out or ROOT / "results" / datetime.now().strftime("gpu-%Y-%m-%d_%H-%M-%S")
    setting = Setting(out.resolve(), arguments.wheels.resolve(), arguments.rehearse, arguments.scale)
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
    out.mkdir(parents=True, exist_ok=True)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    os.chdir(ROOT)
    Run(setting, environment_of_steps(setting)).run(parts)
    print(f"written: {out / 'summary.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
