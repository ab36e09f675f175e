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
    _run([gcc, "-shared", str(kernels), str(layer), "-o", str(library), "-Wl,-Bsymbolic", "-Wl,-z,defs", "-lm", "-ldl"])
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
        places: dict[str, list[int]] = {}
        for line in self._text("barriers").splitlines():
            kind, offset = line.split()[:2]
            at = int(offset[2:-1], 16)
            places.setdefault(f"{kind} {caller(self.library, at)}", []).append(at)
        return places

    def skip(self, places: Iterable[int]) -> None:
        """Treat these barriers as if they were not there, until `reset`."""
        for place in places:
            self._lib.cuda_on_cpu_skip(ctypes.c_uint32(place))

    def kernels(self) -> set[str]:
        """Names of the kernels that ran since `reset`, without arguments."""
        places = re.findall(r"<\+(0x\w+)>", self._text("kernels"))
        names = (_frames(self.library, int(place, 16))[-1][0] for place in places)
        return {re.sub(r"[<(].*", "", re.sub(r"^void |\(anonymous namespace\)", "", name)) for name in names}

    def _located(self, text: str) -> str:
        return re.sub(r"<\+(0x\w+)>", lambda m: f"at {_line(self.library, int(m[1], 16))}", text)


@cache
def _frames(library: Path, place: int) -> list[tuple[str, str]]:
    """(function, file:line) of a place in a library, the innermost inlined function first."""
    command = ["addr2line", "-e", str(library), "-f", "-C", "-i", hex(place)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    short = [re.sub(r"^.*/", "", line).split(" ")[0] for line in lines[1::2]]
    return list(zip(lines[::2], short, strict=True))


def _line(library: Path, place: int) -> str:
    frames = _frames(library, place)
    return next((line for _, line in frames if not line.startswith("cuda_")), frames[0][1])


def caller(library: Path, place: int) -> str:
    """The line that calls for a barrier: not the one in a function that does nothing else, called sync."""
    frames = [(name, line) for name, line in _frames(library, place) if not line.startswith("cuda_")]
    return next((line for name, line in frames if not re.search(r"\bsync(\(|$)", name)), frames[-1][1])
