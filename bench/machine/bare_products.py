"""The matrix products of a step alone, through OpenBLAS and MKL: what a step costs that leaves them to a library.

Runs in the process that bench/machine/ceilings.py starts. The products are native code (native/cpp/bare_products.hpp),
through the modules of `cpp-blas` and `cpp-mkl`.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pyfnn.backends import blas, mkl
from pyfnn.backends.cpp import extension
from pyfnn.errors import BackendUnavailable

SECONDS = 0.05  # duration of the products of one step through one library; three passes where these take longer


def answer(shapes: Iterable[dict[str, Any]], threads: int, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Time the products of each shape through each library that is here.

    Parameters
    ----------
    shapes : iterable of dict
        ``sizes`` (m_0 .. m_L), ``batch`` and ``dtype`` each.
    threads : int
        MKL is used on one thread alone.
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


def _libraries(threads: int) -> Iterator[tuple[str, Callable[[dict[str, Any], float], float]]]:
    try:
        module = extension("_blas")
        openblas = module.OpenBlas(blas.find_library())
        openblas.set_threads(threads)
        yield _name("OpenBLAS", openblas.config()), _fastest(module, openblas)
    except (BackendUnavailable, RuntimeError):  # cpp-blas is in the table with the reason
        pass
    if threads > 1:
        return
    try:
        module = extension("_mkl")
        library = module.Mkl(mkl.find_library())
        yield _name("MKL", library.version()), _fastest(module, library)
    except (BackendUnavailable, RuntimeError):
        pass


def _fastest(module: Any, library: Any) -> Callable[[dict[str, Any], float], float]:
    functions = {"float32": module.bare_products32, "float64": module.bare_products64}
    return lambda shape, seconds: float(functions[shape["dtype"]](library, shape["sizes"], shape["batch"], seconds))


def _name(library: str, text: str) -> str:
    version = re.search(r"\d+(\.\d+)+", text)
    return f"{library} {version[0]}" if version else library


def _operations(shape: dict[str, Any]) -> int:
    products = [n * m for n, m in zip(shape["sizes"], shape["sizes"][1:], strict=False)]
    return 2 * int(shape["batch"]) * (3 * sum(products) - products[0])
