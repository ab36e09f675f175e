"""The plan of a GPU run: its parts, their bounds in seconds, and the commands of each."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = "bench.experiments.gpu"
ROOT = Path(__file__).resolve().parents[3]
PACKAGES = "packages"  # the part without which no Python step runs
LIMIT = 540.0  # seconds of a whole run
RESERVE = 10.0  # seconds of it for killed processes and the summary; the bounds add up to no more than the rest
NVCC_FLAGS = ("-std=c++17", "-O3", "-arch=sm_90", "-Xcompiler=-fPIC", "-shared")
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "persistent": ("-DFNN_PERSISTENT_OPERATIONS=1e300",),
    "spread": ("-DFNN_PERSISTENT_OPERATIONS=0",),
    "large": ("-DFNN_PERSISTENT_OPERATIONS=0", "-DFNN_TILE=0"),
    "medium": ("-DFNN_PERSISTENT_OPERATIONS=0", "-DFNN_TILE=1"),
    "small": ("-DFNN_PERSISTENT_OPERATIONS=0", "-DFNN_TILE=2"),
}
"""Libraries of the kernels with one way to train, or one tile, alone: name and compiler flags."""
_PLACES = (
    "usr/local/cuda/bin", "usr/local/cuda-*/bin", "opt/cuda*/bin", "usr/local/cuda*/compute-sanitizer",
    "opt/nvidia/nsight-compute/*", "usr/local/nvidia/bin",
)  # fmt: skip
REHEARSED = {"cuda": "persistent", "cuda-blas": "spread"}
"""The variant that takes the place of a backend in a rehearsal."""
PROFILE = ("--clock-control", "none", "--set", "detailed", "--target-processes", "all", "--launch-skip", "2")
"""The first launches are slower. bench.experiments.gpu.work makes more launches of each kernel than are skipped."""
SANITIZE = ("--target-processes", "all", "--error-exitcode", "9")


@dataclass(frozen=True)
class Step:
    """One command of a part.

    Attributes
    ----------
    name : str
        Name of its log, too.
    words : tuple of str
        The command; the first word is replaced by the path of `tool`, if that is given.
    tool : str
        A program that the machine may lack: the step is then skipped.
    grace : float
        Seconds before the bound at which the command is interrupted, so that it writes what it has.
    shows : str
        Pattern without which in its output the step has failed, also with exit status 0.
    """

    name: str
    words: tuple[str, ...]
    tool: str = ""
    grace: float = 0.0
    shows: str = ""


@dataclass(frozen=True)
class Part:
    """Steps that share a bound.

    Attributes
    ----------
    name, title : str
    seconds : float
        Bound of all steps together. Steps that follow each other have equal shares of what is left of it.
    steps : tuple of Step
    together : bool
        The steps run side by side.
    prepared : Step or None
        A command that starts once the packages are installed, runs beside the earlier parts, and ends with this one.
    """

    name: str
    title: str
    seconds: float
    steps: tuple[Step, ...]
    together: bool = False
    prepared: Step | None = None


@dataclass(frozen=True)
class Setting:
    """The settings of a run: its folders, its bounds, and whether it is a rehearsal.

    Attributes
    ----------
    out : Path
        Folder of all output.
    wheels : Path
        Folder of wheels that the machine may lack.
    rehearse : Path or None
        Folder with the kernels compiled for the CPU, for a rehearsal without a GPU: nothing else is compiled.
    scale : float
        Factor on all bounds.
    archive : Path or None
        File into which the output is packed after each part.
    """

    out: Path
    wheels: Path = Path("wheels")
    rehearse: Path | None = None
    scale: float = 1.0
    archive: Path | None = None

    @property
    def rehearsal(self) -> bool:
        """True without a GPU: small cases, and nothing is compiled."""
        return self.rehearse is not None

    def names(self, *names: str) -> str:
        """Return backends, in a rehearsal their kernels on the CPU, separated by commas."""
        return ",".join(REHEARSED.get(name, name) if self.rehearsal else name for name in names)

    @property
    def work(self) -> Path:
        """Folder that is removed at the end: batteries and caches."""
        return self.out / "work"

    @property
    def manifest(self) -> Path:
        """File with a row of each of `VARIANTS`."""
        return self.out / "kernels" / "backend.toml"


def find_tool(name: str) -> str | None:
    """Return the path of a program: on PATH, or where CUDA's toolkit and Nsight Compute are installed; else None."""
    folders = [str(folder) for pattern in _PLACES for folder in sorted(Path("/").glob(pattern), key=_version)]
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))


def _version(folder: Path) -> list[int]:
    """Return a key that sorts the newest version first: 13.0 before 12.10 before 12.9."""
    return [-int(number) for number in re.findall(r"\d+", str(folder))]


def plan(setting: Setting) -> list[Part]:
    """Return the parts in their order."""
    every = [*_build(setting), *_proofs(setting), *_measurements(setting)]
    return [
        Part(each.name, each.title, each.seconds * setting.scale, each.steps, each.together, each.prepared)
        for each in every
    ]


def _module(setting: Setting, name: str, *options: object) -> tuple[str, ...]:
    small = ("--small",) if setting.rehearsal else ()
    given = ("--backend", str(setting.manifest), *small, *(str(option) for option in options))
    return (sys.executable, "-m", f"{HERE}.{name}", *given)


def install_command() -> tuple[str, ...]:
    """Return the command that installs pyfnn, compiled for sm_90, without a network."""
    pip = (sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation")
    defines = ("PYFNN_CUDA=ON", "PYFNN_CUDA_ARCHITECTURES=90-real")
    settings = tuple(word for define in defines for word in ("--config-settings", f"cmake.define.{define}"))
    return (*pip, "--disable-pip-version-check", *settings, "-e", str(ROOT))


REQUIRED = (
    "numpy", "scipy", "cffi", "pydantic", "platformdirs", "pooch", "scikit-learn", "psutil", "py-cpuinfo",
    "threadpoolctl", "matplotlib", "rich", "pygments", "scipy-openblas32", "jinja2", "scikit-build-core",
    "setuptools-scm", "pybind11",
)  # fmt: skip
"""Python packages without which nothing runs; PyTorch, JAX and nvidia-ml-py come on top."""
BUILDERS = ("cmake", "ninja")  # programs that the build needs, each also a package


def _build(setting: Setting) -> list[Part]:
    if setting.rehearsal:
        link = Step("kernels", _module(setting, "kernels", "--from", setting.rehearse))
        return [Part("build", "Kernels that run on the CPU", 20, (link,))]
    source = str(ROOT / "native" / "c_cuda" / "mlp.cu")
    variants = tuple(
        Step(name, ("nvcc", *NVCC_FLAGS, *flags, source, "-o", str(setting.manifest.parent / f"{name}.so")), "nvcc")
        for name, flags in VARIANTS.items()
    )
    rows, install = Step("kernels", _module(setting, "kernels")), Step("install", install_command())
    packages = Step("packages", (sys.executable, "-m", f"{HERE}.packages", "--wheels", str(setting.wheels)))
    return [
        Part(PACKAGES, "Python packages", 15, (rows, packages)),
        Part("build", "Build for sm_90", 65, (install, *variants), together=True),
    ]


def _proofs(setting: Setting) -> list[Part]:
    parity = [
        Step(
            f"parity-{name}",
            _module(
                setting, "parity", "--name", name, "--seconds", 55 * setting.scale,
                "--out", setting.out / f"parity-{name}.jsonl",
            ),
        )
        for name in dict.fromkeys(setting.names("cuda", "cuda-blas", "spread").split(","))
    ]  # fmt: skip
    work = _module(setting, "work", "every", "--names", setting.names("cuda", "spread"))
    tools = ("memcheck", "racecheck")
    return [
        Part("parity", "Parity of cuda and cuda-blas, both dtypes, every activation", 60, tuple(parity), True),
        Part(
            "sanitizers",
            "compute-sanitizer on the smallest cases",
            60,
            tuple(
                Step(
                    tool,
                    ("compute-sanitizer", "--tool", tool, *SANITIZE, *work),
                    "compute-sanitizer",
                    shows="SUMMARY: ",
                )
                for tool in tools
            ),
        ),
    ]


def _measurements(setting: Setting) -> list[Part]:
    suite = _module(
        setting, "suite", "--proofs", setting.work / "proofs", "--seconds", 215 * setting.scale,
        "--out", setting.out / "suite",
    )  # fmt: skip
    proofs = Step("proofs", _module(setting, "proofs", "--out", setting.work / "proofs"))
    sweep = _module(setting, "crossover", "--seconds", 50 * setting.scale, "--out", setting.out / "crossover")
    hot = (("persistent_train", "wine-deep"), ("multiply_tile", "wide"))
    return [
        Part(
            "suite",
            "The suite gpu, frameworks beside",
            240,
            (Step("suite", suite, grace=20 * setting.scale),),
            prepared=proofs,
        ),
        Part("crossover", "The two ways to train, and the tiles", 60, (Step("crossover", sweep),)),
        Part(
            "ncu",
            "Nsight Compute on the two hot kernels",
            30,
            tuple(
                Step(
                    kernel,
                    (
                        *("ncu", *PROFILE, "--launch-count", "1", "--kernel-name", f"regex:{kernel}"),
                        *_module(setting, "work", workload, "--names", setting.names("cuda")),
                    ),
                    "ncu",
                    shows="Duration",
                )
                for kernel, workload in hot
            ),
        ),
    ]
