"""The optional packages of this experiment: whether they are here, and how to get them."""

from importlib.util import find_spec

REMEDIES = {"sympy": "pip install 'pyfnn[experiments]'", "jax": "pip install 'pyfnn[jax]'"}


def can_run(package: str | None) -> bool:
    """Return True where a method's package is installed, or where it needs none."""
    return package is None or find_spec(package) is not None


def absent(package: str) -> str:
    """Return the remark of a method whose package is not installed."""
    return f"unavailable: {package} is not installed ({REMEDIES[package]})"
