"""Work in a new Python process, with a memory layout and thread settings of its own."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from pyfnn.errors import WorkerDied
from pyfnn.launch import THREAD_VARIABLES


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new Python process; return its result."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise WorkerDied(f"the measuring process ended: {error}") from None


@contextmanager
def threads_of_new_processes(threads: int) -> Iterator[None]:
    """Let the libraries of new processes use that many threads each, by the variables that they read at their start."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
