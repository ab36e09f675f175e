"""The machine's ceilings: multiply-add peak and memory bandwidth, measured by bench/machine/probe.py in a process."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from bench.format import threads_text
from bench.machine import child, description
from bench.machine.cpus import choose_cpus
from bench.machine.sweep_size import cache_sizes, sweep_size
from bench.results.schema import Ceilings
from bench.terms import When

SECONDS = 0.15  # duration of each probe
_PATIENCE = 60.0  # seconds, time limit of one process


@dataclass(frozen=True)
class StepShape:
    """The shape of a step's products: layer sizes m_0 .. m_L, batch size, dtype."""

    sizes: tuple[int, ...]
    batch: int
    dtype: str


def sweep_bytes() -> int:
    """Return the bytes of memory that the CPU's bandwidth probe sweeps."""
    return sweep_size(max(description.caches().values(), default=0), description.available_memory())


def measure_ceilings(
    when: When,
    dtypes: Iterable[str],
    counts: Iterable[int],
    seconds: float = SECONDS,
    devices: Iterable[str] = (),
    steps: Iterable[StepShape] = (),
) -> Ceilings:
    """Probe every dtype and thread count, then every device; nothing else should run meanwhile.

    Parameters
    ----------
    when : str
        ``before`` or ``after`` the run.
    dtypes, devices : iterable of str
    counts : iterable of int
        Numbers of threads.
    seconds : float
        Duration of each probe.
    steps : iterable of StepShape
        Steps whose products are timed alone, through the BLAS libraries that are here, on each number of threads.

    Returns
    -------
    Ceilings
        `absent` has the reason for each thread count and device whose probe failed.
    """
    answers: dict[str, dict[str, Any]] = {}
    request = {"dtypes": list(dtypes), "seconds": seconds}
    shapes = [asdict(step) for step in dict.fromkeys(steps)]
    for threads in counts:
        caches = cache_sizes(description.caches(), threads)
        asked = {**request, "size": sweep_bytes(), "caches": caches, "steps": shapes, "threads": threads}
        answers[threads_text(threads)] = _probe(asked, threads)
    for device in devices:
        answers[device] = _probe({**request, "device": device}, 1)
    reasons = {name: answer["absent"] for name, answer in answers.items() if "absent" in answer}
    same = len(reasons) == len(answers) and len(set(reasons.values())) == 1
    absent = next(iter(reasons.values())) if same else "; ".join(f"{name}: {why}" for name, why in reasons.items())
    try:
        found = {
            "when": when,
            "peaks": [peak for answer in answers.values() for peak in answer.get("peaks", [])],
            "bandwidths": [one for answer in answers.values() for one in answer.get("bandwidths", [])],
            "products": [one for answer in answers.values() for one in answer.get("products", [])],
            "absent": absent,
        }
        return Ceilings.model_validate(found)
    except ValidationError as error:
        return Ceilings(when=when, absent=f"the probe gave an invalid answer: {error.errors()[0]['msg']}")


def _probe(request: dict[str, Any], threads: int) -> dict[str, Any]:
    command = [*child.command("bench.machine.probe", choose_cpus(threads), threads), json.dumps(request)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"absent": f"the probe gave no answer within {_PATIENCE:.0f} s"}
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        return {"absent": f"the probe ended with status {done.returncode}: {last[0]}"}
    return answer
