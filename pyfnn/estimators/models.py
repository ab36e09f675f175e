"""The model that an estimator keeps between two calls, so that the next one need not make it again."""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from pyfnn.backend import Backend, Model
from pyfnn.errors import UnknownName
from pyfnn.model import placeholder_targets
from pyfnn.network import Network
from pyfnn.registry import load_backend
from pyfnn.validation import Array

FIRST_ROW = np.zeros(1, np.int64)  # an order for models that do not train by one
_KEPT = 1 << 20  # bytes of data that a model keeps between calls, at most


@cache
def backend(name: str) -> Backend:
    """Return the backend of that name, made once in a process.

    Raises
    ------
    ValueError
        There is no such backend.
    BackendUnavailable
        It cannot run here; the message has the reason and the remedy.
    """
    try:
        return load_backend(name)
    except UnknownName as error:
        raise ValueError(str(error)) from None


class Models:
    """A place for one model. It is empty after pickling, after copying, and in a forked child.

    A call that finds no model there, for one because another thread uses it, makes its own.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[Any, ...], Model]] = []
        _places.add(self)
        weakref.finalize(self, _close_all, self._kept)

    def __reduce__(self) -> tuple[type["Models"], tuple[()]]:
        return Models, ()

    @contextmanager
    def lend(self, name: str, network: Network, theta: Array, threads: int, *, fresh: bool = False) -> Iterator[Model]:
        """Give a model of `network` at `theta`: the one that is here if it fits, else a new one. Keep it afterwards.

        Parameters
        ----------
        name : str
            The backend's.
        network, theta, threads
            As for `Backend.create`.
        fresh : bool
            `theta` is the model's initial θ too.
        """
        key = (name, network, threads)
        model = self._take(None if fresh else key)
        if model is None:
            model = backend(name).create(network, theta, threads)
        else:
            model.set_theta(theta)
        try:
            yield model
            if model.data_bytes > _KEPT:
                x = np.zeros((1, network.sizes[0]), network.dtype)
                model.load(x, placeholder_targets(network, 1), FIRST_ROW)  # releases the copy of the data
        except BaseException:
            model.close()
            raise
        self.close()
        self._kept.append((key, model))

    def _take(self, key: tuple[Any, ...] | None) -> Model | None:
        """Return the model if it has this key; close any other."""
        try:
            found, model = self._kept.pop()  # one step, so that no other thread gets the same model
        except IndexError:
            return None
        if found == key:
            return model
        model.close()
        return None

    def close(self) -> None:
        """Close the model, if there is one; the next call makes another one."""
        self._take(None)

    def forget(self) -> None:
        """Leave the model to the parent of this forked process: its threads are not here, nor may its data be freed."""
        _inherited.extend(self._kept)
        self._kept.clear()


_places: weakref.WeakSet[Models] = weakref.WeakSet()
_inherited: list[tuple[tuple[Any, ...], Model]] = []


def _close_all(kept: list[tuple[tuple[Any, ...], Model]]) -> None:
    for _, model in kept:
        model.close()


def _forget_all() -> None:
    for place in list(_places):
        place.forget()


os.register_at_fork(after_in_child=_forget_all)
