"""Wine quality, red and white: 11 physicochemical features, one quality mark from 0 to 10. Not shipped with pyfnn.

Files come from the folder PYFNN_DATA_DIR if it is set, else from the user's cache, into which they are downloaded at
first use. Every file's sha256 is checked before the file is parsed.
"""

import csv
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyfnn.datasets.dataset import Table
from pyfnn.errors import DatasetError
from pyfnn.regular import read_regular

CITATION = (
    "P. Cortez, A. Cerdeira, F. Almeida, T. Matos, J. Reis, Modeling wine preferences by data mining from "
    "physicochemical properties, Decision Support Systems 47(4), 547-553, 2009; UCI Machine Learning Repository, "
    "doi 10.24432/C56S3T, CC BY 4.0."
)
UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality/"


@dataclass(frozen=True)
class Source:
    """One file: its name, its URL and its sha256."""

    file: str
    url: str
    sha256: str


RED = Source(
    "winequality-red.csv",
    UCI + "winequality-red.csv",
    "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e",
)
WHITE = Source(
    "winequality-white.csv",
    UCI + "winequality-white.csv",
    "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836",
)


def load(source: Source) -> Table:
    """Load the wines of a file. Many rows are exact duplicates: 240 of 1599 red wines, 937 of 4898 white wines.

    Raises
    ------
    DatasetError
        The file is missing or altered; the message names it and the failed check, and explains how to get it again.
    """
    path = _find(source)
    header, *lines = csv.reader(io.StringIO(_checked(path, source).decode("utf-8")), delimiter=";")
    values = np.array(lines, dtype=np.float64)
    return Table(
        np.ascontiguousarray(values[:, :-1]), values[:, -1:].copy(), "regression", tuple(header[:-1]), (), CITATION
    )


def cache() -> Path:
    """Return the folder for downloads."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("pyfnn")) / "datasets"


def _find(source: Source) -> Path:
    given = os.environ.get("PYFNN_DATA_DIR")
    path = (Path(given) if given else cache()) / source.file
    if path.exists():
        return path
    if given:
        raise DatasetError(
            f"PYFNN_DATA_DIR = {given!r}: there is no {source.file} in it; put it there (from {source.url}), or unset "
            "PYFNN_DATA_DIR to have it downloaded"
        )
    return _download(source)


def _download(source: Source) -> Path:
    import pooch

    try:
        return Path(pooch.retrieve(source.url, f"sha256:{source.sha256}", source.file, cache()))
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{source.file}: the download from {source.url} failed: {error}; try again, or put the file into a folder "
            "and name that in PYFNN_DATA_DIR"
        ) from error


def _checked(path: Path, source: Source) -> bytes:
    again = f"to get it again, delete it and load once more, or fetch {source.url}"
    try:
        content = read_regular(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; {again}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise DatasetError(
            f"{path} is truncated or altered: its {len(content)} bytes have sha256 {found}, "
            f"not {source.sha256}; {again}"
        )
    return content
