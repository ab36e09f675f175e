"""The project's .cu files on the CPU: compiled as C++ with this folder's cuda_runtime.h, their threads run as fibers.

`compile_object` and `link_library` make a library. `Device` controls its simulated GPU and returns the mistakes that it
found. The claims are in tests/native/test_cuda_on_cpu*.py.
"""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = (
    "-std=c++17",
    "-g1",
    "-fPIC",
    "-fvisibility=hidden",
    "-Wall",
    "-Wno-unknown-pragmas",
    "-Wno-tsan",
)  # -g1: lines
Frame = tuple[str, str]  # a function, and file:line in it
PLACE = r"<\+(0x\w+)>"  # as watch.hpp writes a place in the library
WATCHED = ("-O1", "-fsanitize=thread")  # calls instrumentation.hpp at each load and store; libtsan is not linked


def compiler() -> str | None:
    """Return g++, whose instrumentation this layer implements; None without one."""
    return shutil.which("g++")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr[-6000:]}"


def compile_object(kernels: Path, source: Path, *flags: str) -> Path:
    """Compile one .cu file into the object file `kernels`, with these further flags; return `kernels`."""
    include = (f"-I{HERE}", f"-I{source.parent}")
    _run([str(compiler()), *FLAGS, *WATCHED, *include, *flags, "-x", "c++", "-c", str(source), "-o", str(kernels)])
    return kernels


def link_library(library: Path, kernels: Path, *sources: Path) -> Path:
    """Link an object file of `compile_object` with the layer and with other C++ files; return the library.

    The layer is compiled once for all libraries of a folder.
    """
    gcc, layer = str(compiler()), library.with_name("device.o")
    if not layer.exists():
        _run([gcc, *FLAGS, "-O2", f"-I{HERE}", "-c", str(HERE / "device.cpp"), "-o", str(layer)])
    # A kernel declares shared_memory within its namespace: make the name mean the layer's array.
    missing = subprocess.run(["nm", "-u", str(kernels)], capture_output=True, text=True, check=True).stdout.split()
    shared = [f"-Wl,--defsym={name}=shared_memory" for name in missing if name.endswith("13shared_memoryE")]
    parts = map(str, (kernels, layer, *sources))
    options = ("-Wl,-Bsymbolic", "-Wl,-z,defs", "-lm", "-ldl")
    _run([gcc, *FLAGS, "-shared", *shared, *parts, "-o", str(library), *options])
    return library


class Device:
    """The simulated GPU of a library that `link_library` wrote.

    Parameters
    ----------
    library : Path
    """

    def __init__(self, library: Path) -> None:
        self.library = library
        self._lib = ctypes.CDLL(str(library))
        for name in ("findings", "barriers", "kernels", "left"):
            getattr(self._lib, f"cuda_on_cpu_{name}").restype = ctypes.c_char_p
        self._lib.cuda_on_cpu_calls.restype = ctypes.c_long

    def _text(self, name: str) -> str:
        return str(getattr(self._lib, f"cuda_on_cpu_{name}")().decode())

    def reset(self) -> None:
        """Discard findings, failures to come, skipped barriers and counts; allocations stay."""
        self._lib.cuda_on_cpu_reset()

    def seed(self, seed: int, preempt: int = 0) -> None:
        """Choose an interleaving: fibers switch at barriers, and after about `preempt` accesses unless it is 0."""
        self._lib.cuda_on_cpu_seed(ctypes.c_uint64(seed), ctypes.c_long(preempt))

    def fail_at(self, call: int) -> None:
        """Let one call fail, counted from now; 0: none."""
        self._lib.cuda_on_cpu_fail_at(ctypes.c_long(call))

    @property
    def calls(self) -> int:
        """The number of calls of CUDA's functions since `reset` or `fail_at`."""
        return int(self._lib.cuda_on_cpu_calls())

    def devices(self, count: int) -> None:
        """Set the number of GPUs: 1, or 0."""
        self._lib.cuda_on_cpu_devices(ctypes.c_int(count))

    @property
    def findings(self) -> list[str]:
        """The mistakes that were found, one sentence each, with lines of source."""
        return self._located(self._text("findings")).splitlines()

    @property
    def left(self) -> list[str]:
        """The objects that were created and not freed."""
        return self._text("left").splitlines()

    def barriers(self) -> dict[str, list[int]]:
        """Return the barriers, waits and commits passed since `reset`: "kind file:line", and the places of each in the
        library.
        """
        passed = [line.split() for line in self._text("barriers").splitlines()]
        found = {int(place[2:-1], 16): kind for kind, place, _ in passed}
        known = _look_up(self.library, found)
        places: dict[str, list[int]] = {}
        for place, kind in found.items():
            places.setdefault(f"{kind} {caller(known[place])}", []).append(place)
        return places

    def skip(self, places: Iterable[int]) -> None:
        """Skip these barriers until `reset`."""
        for place in places:
            self._lib.cuda_on_cpu_skip(ctypes.c_uint32(place))

    def launched(self) -> set[str]:
        """Return the kernels that ran since `reset`, with template arguments and parameters."""
        places = [int(place, 16) for place in re.findall(PLACE, self._text("kernels"))]
        known = _look_up(self.library, places)
        return {known[place][-1][0] for place in places}

    def kernels(self) -> set[str]:
        """Return the names of the kernels in `launched`."""
        names = (re.sub(r"^void |\(anonymous namespace\)", "", name) for name in self.launched())
        return {re.sub(r"[<(].*", "", name) for name in names}

    def functions(self) -> set[str]:
        """Return all functions in the library, named as in `launched`."""
        listed = subprocess.run(["nm", "-C", str(self.library)], capture_output=True, text=True, check=True).stdout
        return set(re.findall(r"^\w+ [TtWw] (.*)$", listed, flags=re.MULTILINE))

    def _located(self, text: str) -> str:
        known = _look_up(self.library, (int(place, 16) for place in re.findall(PLACE, text)))
        return re.sub(PLACE, lambda m: f"at {_line(known[int(m[1], 16)])}", text)


@cache
def _symbols(library: Path) -> dict[int, list[Frame]]:
    """Return the cache of a library's places."""
    del library
    return {}


def _look_up(library: Path, places: Iterable[int]) -> dict[int, list[Frame]]:
    """Return the frames of each place in a library, the innermost inlined function first."""
    known = _symbols(library)
    missing = sorted(set(places) - known.keys())
    if missing:
        command = ["addr2line", "-e", str(library), "-a", "-f", "-C", "-i", *map(hex, missing)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for place, frames in zip(missing, re.split(r"^0x.*\n", found, flags=re.MULTILINE)[1:], strict=True):
            lines = frames.splitlines()
            short = [re.sub(r"^.*/", "", line).split(" ")[0] for line in lines[1::2]]
            known[place] = list(zip(lines[::2], short, strict=True))
    return known


def _line(frames: list[Frame]) -> str:
    return next((line for _, line in frames if not line.startswith("cuda_")), frames[0][1])


def caller(frames: list[Frame]) -> str:
    """Return the line of a barrier's call, or of the call of a function named sync around it."""
    ours = [(name, line) for name, line in frames if not line.startswith("cuda_")]
    return next((line for name, line in ours if not re.search(r"\bsync(\(|$)", name)), ours[-1][1])
