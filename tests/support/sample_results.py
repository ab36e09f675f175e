"""Made-up results of every kind, for tests of the report and of figures. No number here was measured.

They are built from lines of a journal, as those of a run are. Their `host` says that they are synthetic.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from bench.results.build import build_results
from bench.results.events import parse_event
from bench.results.schema import Results

SYNTHETIC = "synthetic samples, not a measurement"
# name: (language, division, seconds of a step on wine-deep)
BACKENDS = {
    "numpy": ("Python", "plain", 50e-6),
    "cpp": ("C++", "plain", 0.9e-6),
    "c": ("C", "plain", 0.92e-6),
    "go": ("Go", "plain", 2.1e-6),
    "java": ("Java", "plain", 1.9e-6),
    "julia": ("Julia", "plain", 1.3e-6),
    "lua": ("Lua", "plain", 160e-6),
    "octave": ("Octave", "plain", 310e-6),
    "fortran": ("Fortran", "plain", 0.95e-6),
    "cpp-tuned": ("C++", "tuned", 0.40e-6),
    "numpy-skylakex": ("Python", "tuned", 44e-6),
    "torch": ("Python", "framework", 210e-6),
    "jax-scan": ("Python", "framework", 2.3e-6),
    "sklearn": ("Python", "framework", 156e-6),
    "numba": ("Python", "framework", 1.1e-6),
}
FURTHER = {  # rows of pyfnn that ALL_BACKENDS leaves out: those of a table with every language
    "rust": ("Rust", "plain", 0.98e-6),
    "javascript": ("JavaScript", "plain", 4.2e-6),
    "nim": ("Nim", "plain", 1.0e-6),
    "zig": ("Zig", "plain", 1.4e-6),
    "d": ("D", "plain", 2.0e-6),
    "ocaml": ("OCaml", "plain", 2.8e-6),
    "csharp": ("C#", "plain", 4.6e-6),
    "r": ("R", "plain", 35e-6),
    "cython": ("Cython", "plain", 1.2e-6),
    "c-textbook": ("C", "textbook", 2.3e-6),
    "cpp-textbook": ("C++", "textbook", 2.3e-6),
    "numpy-article": ("Python", "textbook", 800e-6),
    "python": ("Python", "textbook", 250e-6),
    "pypy": ("Python", "textbook", 15e-6),
    "cpp-blas": ("C++", "tuned", 1.2e-6),
    "cpp-mkl": ("C++", "tuned", 0.9e-6),
    "cpp-xsmm": ("C++", "tuned", 1.0e-6),
    "c-libmvec": ("C", "tuned", 0.63e-6),
    "nim-danger": ("Nim", "tuned", 0.92e-6),
    "zig-fast": ("Zig", "tuned", 0.9e-6),
    "d-unchecked": ("D", "tuned", 0.91e-6),
    "cython-unchecked": ("Cython", "tuned", 0.95e-6),
}
WORKLOADS = {  # name: (batch, learning rate, flops of a step, step time as a multiple of that on wine-deep)
    "wine-deep": (1, 0.005, 1.5e4, 1.0),
    "wine-batch": (32, 0.01, 4.8e5, 9.0),
    "digits": (32, 0.05, 1.1e6, 20.0),
    "mlp": (128, 0.02, 1.6e8, 1500.0),
}
FAILURES: dict[str, dict[str, str]] = {
    "unavailable": {
        "reason": "julia is not found on PATH",
        "remedy": "install Julia 1.10 or later: https://julialang.org/downloads",
    },
    "unsupported": {"reason": "octave has no activation 'prelu'"},
    "build_failed": {
        "reason": "go build ended with status 1\n./mlp.go:12:2: declared, not used: delta\n./mlp.go:40: syntax error",
        "remedy": "report it: the source does not fit go 1.17; go 1.21 or later is needed",
    },
    "protocol_error": {"reason": "answered 'hello world' to hello"},
    "parity_failed": {"reason": "dW_2 of the small variant is off: ‖g−ĝ‖ = 3.1e-02, allowed 4.0e-06"},
    "diverged": {"reason": "theta is not finite after 412 steps at learning_rate = 0.05"},
    "threads_mismatch": {
        "reason": "asked for 1 thread, cpu / wall = 1.97",
        "remedy": "unset OMP_NUM_THREADS in the worker's environment",
    },
    "implausible": {"reason": "1.31 of the best multiply-add probe"},
    "crashed": {"reason": "ended by SIGSEGV in train"},
    "timed_out": {"reason": "no answer to train in 60 s"},
    "too_slow": {"reason": "one block is predicted to take 94 s, 30 s are left", "remedy": "raise --budget"},
    "not_run": {"reason": "the run ended before its turn"},
}


def sample_results(
    backends: Sequence[str] = ("numpy", "cpp", "jax-scan"),
    workloads: Sequence[str] = ("wine-deep",),
    failures: Mapping[str, str] | None = None,
    **settings: Any,
) -> Results:
    """Return the results of a made-up run.

    Parameters
    ----------
    backends, workloads : sequence of str
        Names from BACKENDS, FURTHER and WORKLOADS. numpy and cpp-tuned have A/A pairs.
    failures : mapping of str to str, optional
        Status by backend, for backends that failed.
    settings
        See `events`.
    """
    return results_of(events(backends, workloads, failures or {}, **settings))


def results_of(lines: Iterable[Mapping[str, Any]]) -> Results:
    """Return the results of a journal with these lines."""
    return build_results(map(parse_event, lines))


def events(
    backends: Sequence[str],
    workloads: Sequence[str],
    failures: Mapping[str, str],
    *,
    launches: int = 5,
    rounds: int = 4,
    noise: float = 0.01,
    a_a: bool = True,
    operations: Sequence[str] = ("train",),
    dtypes: Sequence[str] = ("float32",),
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield the lines of the journal of a made-up run; `noise` is the spread of launches, as a fraction."""
    rng = np.random.default_rng(seed)
    yield {
        "event": "run",
        "created": "2025-01-01T00:00:00+00:00",
        "host": {"cpu_model": SYNTHETIC, "pyfnn": "0.1.0", "memory": {"bytes": 2**34}},
        "settings": {"reference": "numpy", "seed": seed, "launches": launches},
    }
    for number, (workload, operation, dtype) in enumerate(product(workloads, operations, dtypes)):
        batch, rate, flops, _ = WORKLOADS[workload]
        data = "drawn in wine's shape by a seeded teacher" if "wine" in workload else ""
        case = {"workload": workload, "operation": operation, "dtype": dtype, "threads": 1, "batch": batch}
        yield {
            "event": "case", "case": number, **case, "learning_rate": rate, "flops_per_step": flops, "data": data,
            "ceiling_gflops": 250.0,
        }  # fmt: skip
        for name in backends:
            for instance in (name, f"{name}@2") if a_a and name in ("numpy", "cpp-tuned") else (name,):
                yield from _backend(number, workload, instance, failures.get(name), launches, rounds, noise, rng)
        yield {"event": "case_end", "case": number, "stopped": "every interval is within 2 %"}
    yield {"event": "finish", "finished": "2025-01-01T00:05:00+00:00"}


def swept_results(
    costs: Mapping[str, Callable[[int], float]],
    values: Sequence[int],
    along: str = "batch",
    *,
    noise: float = 0.01,
    seed: int = 0,
    launches: int = 5,
    absent: Sequence[tuple[str, int]] = (),
    operation: str = "train",
    data: str = "",
) -> Results:
    """Return the results of a made-up sweep of wine-deep.

    Parameters
    ----------
    costs : mapping of str to callable
        Seconds of a step at a value, by backend in BACKENDS.
    values : sequence of int
    along : str
    noise, seed, launches
        See `events`.
    absent : sequence of (str, int)
        Backends that are too slow at a value.
    operation, data : str
    """
    return results_of(_swept(costs, values, along, noise, seed, launches, absent, operation, data))


def _swept(
    costs: Mapping[str, Callable[[int], float]],
    values: Sequence[int],
    along: str,
    noise: float,
    seed: int,
    launches: int,
    absent: Sequence[tuple[str, int]],
    operation: str,
    data: str,
) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    host = {"cpu_model": SYNTHETIC, "pyfnn": "0.1.0"}
    yield {"event": "run", "created": "2025-01-01T00:00:00+00:00", "host": host, "settings": {"reference": "numpy"}}
    for number, value in enumerate(values):
        workload = "wine-deep" if along == "threads" else f"wine-deep@{along}={value}"
        batch, threads = (value if along == "batch" else 1), (value if along == "threads" else 1)
        case = {"workload": workload, "operation": operation, "dtype": "float32", "threads": threads, "batch": batch}
        place = {"along": along, "value": value, "workload": "wine-deep"}
        yield {
            "event": "case", "case": number, **case, "learning_rate": 0.005, "flops_per_step": 1.5e4, "sweep": place,
            "data": data,
        }  # fmt: skip
        for name, cost in costs.items():
            failure = "too_slow" if (name, value) in absent else None
            for instance in (name, f"{name}@2") if name in ("numpy", "cpp-tuned") else (name,):
                yield from _backend(number, "wine-deep", instance, failure, launches, 3, noise, rng, cost(value))
        yield {"event": "case_end", "case": number, "stopped": "budget"}
    yield {"event": "finish", "finished": "2025-01-01T00:05:00+00:00"}


def _backend(
    case: int,
    workload: str,
    instance: str,
    failure: str | None,
    launches: int,
    rounds: int,
    noise: float,
    rng: np.random.Generator,
    step: float | None = None,
) -> Iterator[dict[str, Any]]:
    name = instance.split("@")[0]
    language, division, seconds = {**BACKENDS, **FURTHER}[name]
    step = step or seconds * WORKLOADS[workload][3] ** (1.0 if seconds < 20e-6 else 0.6)
    about = {
        "name": name,
        "language": language,
        "division": division,
        "arithmetic": "float64" if name == "lua" else "native",
        "build": {"compiler": f"made-up {language} 1.0", "flags": "-O3 -march=native"},
        "source_lines": 200 + 7 * len(name),
    }
    arm = {"event": "backend", "case": case, "instance": instance}
    if failure:
        yield {**arm, **about, "status": failure, **FAILURES[failure]}
        return
    measured = {"threads_seen": 1, "startup_seconds": 0.4, "warmup_seconds": 1.1, "peak_rss_bytes": 90 * 2**20}
    yield {**arm, **about, **measured, "status": "ok", "curve": _curve(step)}
    steps = max(1, math.ceil(0.05 / step))
    for launch in range(launches):
        luck = noise * rng.standard_normal()
        for turn in range(rounds):
            block = float(steps * step * np.exp(luck + noise * rng.standard_normal()))
            fields = {"launch": launch, "round": turn, "seconds": block, "steps": steps}
            yield {
                "event": "sample", "case": case, "instance": instance, **fields, "cpu_seconds": block,
                "wall_seconds": 1.01 * block,
            }  # fmt: skip


def _curve(step: float) -> dict[str, Any]:
    epochs = [0.0, *(2**k / 1119 for k in range(11)), *map(float, range(1, 31))]
    losses = [0.02 + 0.8 * math.exp(-epoch / 4) + 0.2 * math.exp(-epoch / 25) for epoch in epochs]
    return {"epochs": epochs, "seconds": [1119 * step * epoch for epoch in epochs], "losses": losses}


def ceilings_line(peak: float | None, bandwidth: float = 4000.0) -> dict[str, Any]:
    """Return a line of the journal in which the CPU does 250 GFLOP/s of float32, and a device `peak` GFLOP/s if given.

    `bandwidth` is the device's, in GB/s.
    """
    levels: list[dict[str, Any]] = [{"level": "v4", "dtype": "float32", "threads": 1, "gflops": 250.0}]
    memory: list[dict[str, Any]] = [{"traffic": "triad", "threads": 1, "bytes": 2**30, "gigabytes_per_second": 12.5}]
    if peak:
        levels.append({**levels[0], "device": "cuda", "level": "sm_90", "gflops": peak})
        memory.append({**memory[0], "device": "cuda", "traffic": "copy", "gigabytes_per_second": bandwidth})
    return {"event": "ceilings", "when": "before", "peaks": levels, "bandwidths": memory}
