"""The matrix products of a step alone, through OpenBLAS, MKL and LIBXSMM: the cost of leaving them to a library.

Runs in the process that bench/machine/ceilings.py starts. The products are native code (native/cpp/bare_products.hpp),
through the libraries of `cpp-blas`, `cpp-mkl` and `cpp-xsmm`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

from pyfnn import programs, registry
from pyfnn.backends import blas, mkl, xsmm
from pyfnn.backends.cpp import extension
from pyfnn.errors import BackendUnavailable

SECONDS = 0.05  # duration of the products of one step through one library; three passes where these take longer
_Library: TypeAlias = tuple[str, Callable[[dict[str, Any], float], float]]
"""Its name, and the seconds of the products of a shape, measured for so long."""


def answer(shapes: Iterable[dict[str, Any]], threads: int, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Time the products of each shape through each library that is here.

    Parameters
    ----------
    shapes : iterable of dict
        ``sizes`` (m_0 .. m_L), ``batch`` and ``dtype`` each.
    threads : int
        MKL and LIBXSMM are used on one thread alone.
    seconds : float
        Duration of each measurement.

    Returns
    -------
    list of dict
        `bench.results.schema.BareProducts` as dicts; none of a library that is absent.
    """
    libraries = list(_libraries(threads))
    return [
        {
            **shape,
            "threads": threads,
            "library": name,
            "operations": _operations(shape),
            "gflops": _operations(shape) / fastest(shape, seconds) / 1e9,
        }
        for shape in shapes
        for name, fastest in libraries
    ]


def _libraries(threads: int) -> Iterator[_Library]:
    openers: list[Callable[[], _Library]] = [partial(_openblas, threads), *([_mkl, _xsmm] if threads == 1 else [])]
    for opened in openers:
        with suppress(BackendUnavailable):  # a run of that library's backend shows the reason
            yield opened()


def _openblas(threads: int) -> _Library:
    library = blas.open_library()
    library.set_threads(threads)
    return _name("OpenBLAS", library.config()), _fastest(library)


def _mkl() -> _Library:
    library = mkl.open_library()
    return _name("MKL", library.version()), _fastest(library)


def _xsmm() -> _Library:
    row = registry.find("cpp-xsmm")
    if not programs.is_built(row):
        raise BackendUnavailable("LIBXSMM is linked at the first run of its backend")
    library = xsmm.open_library(row)
    return f"LIBXSMM {xsmm.version(row)}", _fastest(library)


def _fastest(library: Any) -> Callable[[dict[str, Any], float], float]:
    module = extension()
    functions = {"float32": module.bare_products32, "float64": module.bare_products64}
    return lambda shape, seconds: float(functions[shape["dtype"]](library, shape["sizes"], shape["batch"], seconds))


def _name(library: str, text: str) -> str:
    version = re.search(r"\d+(\.\d+)+", text)
    return f"{library} {version[0]}" if version else library


def _operations(shape: dict[str, Any]) -> int:
    sizes: list[int] = shape["sizes"]
    batch: int = shape["batch"]
    products = [n * m for n, m in pairwise(sizes)]
    return 2 * batch * (3 * sum(products) - products[0])
