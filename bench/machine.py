"""What this machine is, as far as a reader of the results must know. Changes nothing."""

import os
import platform
from typing import Any

import cpuinfo
import numpy as np
import psutil

import pyfnn
from pyfnn import compiled
from pyfnn.errors import BackendUnavailable

_INSTRUCTION_SETS = ("sse4", "avx", "fma", "asimd", "sve")


def describe() -> dict[str, Any]:
    """CPU, memory, load, system, versions, and how the native parts were built. JSON-ready."""
    cpu = cpuinfo.get_cpu_info()
    return {
        "cpu_model": cpu.get("brand_raw", platform.processor() or "unknown"),
        "architecture": platform.machine(),
        "instruction_sets": [flag for flag in cpu.get("flags", []) if flag.startswith(_INSTRUCTION_SETS)],
        "l1_data_cache_bytes": cpu.get("l1_data_cache_size"),
        "l2_cache_bytes": cpu.get("l2_cache_size"),
        "l3_cache_bytes": cpu.get("l3_cache_size"),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cpus": psutil.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": psutil.virtual_memory().total,
        "load_1min": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyfnn": pyfnn.__version__,
        "build": build_info(),
    }


def build_info() -> dict[str, Any]:
    """How the native parts were built, or why there are none."""
    try:
        info = compiled.build_info()
    except BackendUnavailable as error:
        return {"absent": error.reason, "remedy": error.remedy}
    return {name.lower(): value for name, value in vars(info).items() if name.isupper() and name != "SOURCES"}
