"""The project's .cu files on the CPU: compiled as C++ in front of this folder's cuda_runtime.h, threads run as fibers.

`compile_library` makes a library of them, `Device` steers what it takes for a GPU and tells what it found. Hosting,
parity and the claims themselves are the tests'.
"""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = ("-std=c++17", "-g", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas", "-Wno-tsan")
Frame = tuple[str, str]  # a function, and file:line in it
PLACE = r"<\+(0x\w+)>"  # as the layer writes one
WATCHED = ("-O1", "-fsanitize=thread")  # calls cuda_on_cpu at each load and store; libtsan is not linked


def compiler() -> str | None:
    """GCC, whose instrumentation this layer answers; None where there is none."""
    return shutil.which("g++")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr[-6000:]}"


def compile_library(library: Path, source: Path, *flags: str) -> Path:
    """A shared library of one .cu file and the layer.

    Parameters
    ----------
    library : Path
        To be written.
    source : Path
    flags : str
        For the compiler, with `source` only.
    """
    gcc = str(compiler())
    layer, kernels = library.with_name("device.o"), library.with_suffix(".o")
    if not layer.exists():
        _run([gcc, *FLAGS, "-O2", f"-I{HERE}", "-c", str(HERE / "device.cpp"), "-o", str(layer)])
    include = (f"-I{HERE}", f"-I{source.parent}")
    _run([gcc, *FLAGS, *WATCHED, *include, *flags, "-x", "c++", "-c", str(source), "-o", str(kernels)])
    # Kernels that declare it within a namespace mean the same shared memory.
    missing = subprocess.run(["nm", "-u", str(kernels)], capture_output=True, text=True, check=True).stdout.split()
    shared = [f"-Wl,--defsym={name}=shared_memory" for name in missing if name.endswith("13shared_memoryE")]
    _run(
        [
            gcc,
            "-shared",
            *shared,
            str(kernels),
            str(layer),
            "-o",
            str(library),
            "-Wl,-Bsymbolic",
            "-Wl,-z,defs",
            "-lm",
            "-ldl",
        ]
    )
    return library


class Device:
    """What a library compiled so takes for its GPU.

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
        """Forget findings, failures, mutations and counts; what is allocated stays so."""
        self._lib.cuda_on_cpu_reset()

    def seed(self, seed: int, preempt: int = 0) -> None:
        """Another interleaving: of fibers at barriers and, if `preempt`, at about every so manieth access."""
        self._lib.cuda_on_cpu_seed(ctypes.c_uint64(seed), ctypes.c_long(preempt))

    def fail_at(self, call: int) -> None:
        """Let the call of that number, counted from now, fail; 0: none."""
        self._lib.cuda_on_cpu_fail_at(ctypes.c_long(call))

    @property
    def calls(self) -> int:
        """How many of CUDA's functions were called since `reset` or `fail_at`."""
        return int(self._lib.cuda_on_cpu_calls())

    def devices(self, count: int) -> None:
        """How many GPUs there are: 1, or 0."""
        self._lib.cuda_on_cpu_devices(ctypes.c_int(count))

    @property
    def findings(self) -> list[str]:
        """What was wrong, a sentence each, with lines of source."""
        return self._located(self._text("findings")).splitlines()

    @property
    def left(self) -> list[str]:
        """What was made and not freed."""
        return self._text("left").splitlines()

    def barriers(self) -> dict[str, list[int]]:
        """Where barriers, waits and commits stand that were passed since `reset`: "kind file:line" of the code that
        calls for it, and its places in the library.
        """
        passed = [line.split() for line in self._text("barriers").splitlines()]
        found = {int(place[2:-1], 16): kind for kind, place, _ in passed}
        known = _look_up(self.library, found)
        places: dict[str, list[int]] = {}
        for place, kind in found.items():
            places.setdefault(f"{kind} {caller(known[place])}", []).append(place)
        return places

    def skip(self, places: Iterable[int]) -> None:
        """Treat these barriers as if they were not there, until `reset`."""
        for place in places:
            self._lib.cuda_on_cpu_skip(ctypes.c_uint32(place))

    def launched(self) -> set[str]:
        """The kernels that ran since `reset`, with template arguments and parameters."""
        places = [int(place, 16) for place in re.findall(PLACE, self._text("kernels"))]
        known = _look_up(self.library, places)
        return {known[place][-1][0] for place in places}

    def kernels(self) -> set[str]:
        """The names alone of `launched`."""
        names = (re.sub(r"^void |\(anonymous namespace\)", "", name) for name in self.launched())
        return {re.sub(r"[<(].*", "", name) for name in names}

    def functions(self) -> set[str]:
        """All functions in the library, as `launched` calls them."""
        listed = subprocess.run(["nm", "-C", str(self.library)], capture_output=True, text=True, check=True).stdout
        return set(re.findall(r"^\w+ [TtWw] (.*)$", listed, flags=re.MULTILINE))

    def _located(self, text: str) -> str:
        known = _look_up(self.library, (int(place, 16) for place in re.findall(PLACE, text)))
        return re.sub(PLACE, lambda m: f"at {_line(known[int(m[1], 16)])}", text)


@cache
def _symbols(library: Path) -> dict[int, list[Frame]]:
    """What was looked up already."""
    del library
    return {}


def _look_up(library: Path, places: Iterable[int]) -> dict[int, list[Frame]]:
    """For each place in a library its frames, the innermost inlined function first."""
    known = _symbols(library)
    missing = sorted(set(places) - known.keys())
    if missing:
        command = ["addr2line", "-e", str(library), "-a", "-f", "-C", "-i", *map(hex, missing)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for place, frames in zip(missing, re.split(r"^0x.*\n", said, flags=re.MULTILINE)[1:], strict=True):
            lines = frames.splitlines()
            short = [re.sub(r"^.*/", "", line).split(" ")[0] for line in lines[1::2]]
            known[place] = list(zip(lines[::2], short, strict=True))
    return known


def _line(frames: list[Frame]) -> str:
    return next((line for _, line in frames if not line.startswith("cuda_")), frames[0][1])


def caller(frames: list[Frame]) -> str:
    """The line that calls for a barrier: not the one in a function that does nothing else, called sync."""
    ours = [(name, line) for name, line in frames if not line.startswith("cuda_")]
    return next((line for name, line in ours if not re.search(r"\bsync(\(|$)", name)), ours[-1][1])
