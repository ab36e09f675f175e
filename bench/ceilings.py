"""The command `python -m bench.ceilings`: prints the peak rates of this machine: arithmetic, products, memory.

The probes are native code (native/cpp/peak.hpp; native/c_cuda/probe.h for a CUDA device) and run in a separate process
(bench/machine/probe.py) on the CPUs of the workers.
"""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from bench import unexpected
from bench.interruption import INTERRUPTED
from bench.machine.ceilings import StepShape, measure_ceilings
from bench.machine.cpus import all_threads
from bench.report.render import rich_table
from bench.report.tables import ceilings_table
from bench.suites.load import built_in_workloads
from bench.terminal import console as terminal
from pyfnn.network import DTYPES


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit status 0; 1 where there is no probe or it cannot be started; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.ceilings",
        description="Print the peak rates of this machine: multiply-adds, the products of the workloads' steps through "
        "the BLAS libraries that are here, and memory traffic per second.",
    )
    parser.parse_args(argv)
    try:
        return _show(terminal())
    except OSError as error:
        terminal("stderr").print(f"bench.ceilings: {error}", soft_wrap=True)
    except Exception as error:  # noqa: BLE001
        terminal("stderr").print(unexpected.report("bench.ceilings", [], error), soft_wrap=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def _show(console: Console) -> int:
    """Probe, print the rates, and return the exit status."""
    counts = dict.fromkeys((1, all_threads()))
    found = measure_ceilings("before", DTYPES, counts, devices=("cuda",), steps=_steps())
    table = ceilings_table([found])
    if table:
        console.print(rich_table(table))
    if found.absent:
        console.print(f"no probe: {found.absent}", style="yellow", soft_wrap=True)
    if table is None:
        return 1
    return 0


def _steps() -> list[StepShape]:
    """Return the steps of the built-in workloads that train one network in minibatches."""
    workloads = built_in_workloads().values()
    chosen = [workload for workload in workloads if workload.members == 1 and workload.batch > 1]
    return [StepShape(workload.sizes, workload.batch, dtype) for workload in chosen for dtype in DTYPES]


if __name__ == "__main__":
    sys.exit(main())
