"""Files of arrays with a JSON header: NumPy's .npz without pickle, written whole or not at all.

`save` and `load` keep a network with its parameters; `pyfnn.training` keeps its checkpoints through `write` and `read`.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pyfnn.errors import InvalidInput, PyfnnError
from pyfnn.network import Network
from pyfnn.regular import open_regular
from pyfnn.validation import Array, check_array

_HEADER = "header"  # the header's entry in the archive: JSON in UTF-8, as uint8
_FORMAT = "pyfnn-network/1"
_DAMAGE = (  # what NumPy, zipfile and json raise for files that are cut short, changed, or something else
    ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


def save(path: str | Path, network: Network, theta: Array) -> None:
    """Save a network with its parameters.

    Parameters
    ----------
    path : str or Path
        Replaced in one step where it exists.
    network : Network
    theta : ndarray, shape (n_parameters,), of the network's dtype

    Raises
    ------
    InvalidInput
        θ does not fit the network.
    OSError
        The file cannot be written.
    """
    check_array("theta", theta, (network.n_parameters,), network.dtype)
    write(Path(path), _FORMAT, {"network": asdict(network)}, {"theta": theta})


def load(path: str | Path) -> tuple[Network, Array]:
    """Load a network with its parameters.

    Returns
    -------
    network : Network
    theta : ndarray, shape (n_parameters,)

    Raises
    ------
    InvalidInput
        The file is not one that `save` wrote.
    OSError
        The file cannot be read.
    """
    header, arrays = read(Path(path), _FORMAT)
    try:
        network, theta = Network(**header["network"]), arrays["theta"]
        check_array("theta", theta, (network.n_parameters,), network.dtype)
    except (KeyError, TypeError, ValueError, PyfnnError) as error:
        raise InvalidInput(f"{path} is damaged: {error}") from None
    return network, theta


def write(path: Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Write a file so that a reader finds the old one or the new one, after a crash too.

    Parameters
    ----------
    path : Path
        ``PATH.tmp`` beside it is written first, flushed to the disk and then renamed.
    kind : str
        Name and version of the format, which `read` requires.
    header : dict
        Anything JSON can hold.
    arrays : dict of str to ndarray
        Without objects.

    Raises
    ------
    InvalidInput
        An array holds objects.
    OSError
        The file cannot be written; the old one is whole.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:  # NumPy would pickle it, and `read` refuses that
            raise InvalidInput(f"{name} holds Python objects: it cannot be saved")
    text = json.dumps({"format": kind, **header})
    unfinished = partial(path)
    try:
        with unfinished.open("wb") as file:
            contents: dict[str, Any] = {_HEADER: np.frombuffer(text.encode(), np.uint8), **arrays}
            np.savez(file, **contents)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)  # it takes space on a disk that may be full
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def partial(path: Path) -> Path:
    """Return the file that `write` writes first."""
    return path.with_name(f"{path.name}.tmp")


def read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Read the header and the arrays of a file.

    Raises
    ------
    InvalidInput
        The file is damaged, or of another kind or version.
    OSError
        The file cannot be read.
    """
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        header = json.loads(arrays.pop(_HEADER).tobytes())
        found = header["format"]
    except _DAMAGE as error:
        raise InvalidInput(f"{path} is not a file of {kind}: {error}") from None
    if found != kind:
        raise InvalidInput(f"{path} is a file of {found}, not of {kind}")
    return header, arrays
