"""The extra `bench`: the packages that the library imports only where it needs them, and the harness always."""

from importlib.util import find_spec

REMEDY = "pip install 'pyfnn[bench]'"
ESTIMATORS = "pip install 'pyfnn[estimators]'"
ONNX = "pip install 'pyfnn[onnx]'"
PACKAGES = (
    "cffi", "cpuinfo", "matplotlib", "platformdirs", "pooch", "psutil", "pydantic", "rich", "scipy", "sklearn",
    "threadpoolctl",
)  # fmt: skip


def lacks(error: Exception) -> bool:
    """Return True where an import failed because one of the packages is not installed."""
    return isinstance(error, ModuleNotFoundError) and str(error.name).partition(".")[0] in PACKAGES


def missing() -> list[str]:
    """Return the packages that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]
