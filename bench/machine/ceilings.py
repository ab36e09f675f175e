"""Probes of the machine's ceilings: multiply-add peak and memory bandwidth, in a child process."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.machine import description
from bench.machine.cpus import choose_cpus
from bench.results.schema import Ceilings
from bench.terms import When
from pyfnn.process import launch

SECONDS = 0.15  # of bursts, each probe
_PATIENCE = 60.0  # seconds, for one process
_CACHES, _LEAST, _MOST, _OF_FREE = 4, 2**28, 2**30, 0.25
_ROOT = str(Path(__file__).parents[2])
# The probe must be the one beside this file, whatever folder it starts in.
_START = (
    "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); "
    + "runpy.run_module('bench.machine.probe', run_name='__main__')"
)


def sweep_bytes() -> int:
    """How much memory is swept: four times the last-level cache, as STREAM has it, but 256 MiB at least and at most
    1 GiB or a quarter of what is free. (Servers' caches of hundreds of MiB are shared; 1 GiB is beyond any one share.)
    """
    cache = max(description.caches().values(), default=0)
    return min(max(_CACHES * cache, _LEAST), _MOST, int(_OF_FREE * description.available_memory()))


def measure_ceilings(
    when: When,
    dtypes: Iterable[str],
    counts: Iterable[int],
    seconds: float = SECONDS,
    devices: Iterable[str] = (),
) -> Ceilings:
    """Probe for every dtype and thread count, and then every other device; nothing else should run meanwhile.

    Returns
    -------
    Ceilings
        With the reason in `absent` where a probe could not be run, of so many threads or of a device.
    """
    said: dict[str, dict[str, Any]] = {}
    request = {"dtypes": list(dtypes), "seconds": seconds}
    for threads in counts:
        asked = {**request, "size": sweep_bytes(), "threads": threads}
        said[f"{threads} thread{'s' * (threads != 1)}"] = _probe(asked, threads)
    for device in devices:
        said[device] = _probe({**request, "device": device}, 1)
    why = {who: answer["absent"] for who, answer in said.items() if "absent" in answer}
    same = len(why) == len(said) and len(set(why.values())) == 1
    absent = next(iter(why.values())) if same else "; ".join(f"{who}: {reason}" for who, reason in why.items())
    try:
        found = {
            "when": when,
            "peaks": [peak for answer in said.values() for peak in answer.get("peaks", [])],
            "bandwidths": [one for answer in said.values() for one in answer.get("bandwidths", [])],
            "absent": absent,
        }
        return Ceilings.model_validate(found)
    except ValidationError as error:
        return Ceilings(when=when, absent=f"the probe measured nonsense: {error.errors()[0]['msg']}")


def _probe(request: dict[str, Any], threads: int) -> dict[str, Any]:
    launcher = launch.command(choose_cpus(threads), threads)
    command = [*launcher, sys.executable, "-c", _START, _ROOT, json.dumps(request)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
        answer: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"absent": f"the probe was silent for {_PATIENCE:.0f} s"}
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        return {"absent": f"the probe ended with status {done.returncode}: {last[0]}"}
    return answer
