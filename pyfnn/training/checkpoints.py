"""Checkpoints of `fit`: the state of a training between two epochs, in a file that replaces the last one."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyfnn import storage
from pyfnn.errors import InvalidInput, shown
from pyfnn.optimizers import State
from pyfnn.training.history import COLUMNS, Record
from pyfnn.validation import Array, check_count, check_rate

_FORMAT = "pyfnn-checkpoint/3"
REMEDY = "Name another file, or delete this one to start over"
_STATE = "optimizer_"  # before the names of the optimizer's arrays


class CheckpointWarning(RuntimeWarning):
    """A checkpoint that could not be written, as on a full disk. The training goes on."""


@dataclass(frozen=True)
class Checkpoints:
    """Place and frequency of the checkpoints of `fit`. A `fit` that finds the file there continues from it.

    Parameters
    ----------
    path : str or Path
        Its folder must exist when the training begins.
    every_epochs : int, optional
        Write after that many epochs.
    every_seconds : float, optional
        Write at the end of the first epoch that ends so many seconds after the last writing. The end of a training
        writes in any case.

    Raises
    ------
    InvalidInput
        The path names no file, a number is out of range, or both numbers are None.

    Notes
    -----
    A full disk does not end a training: `fit` warns by `CheckpointWarning`, keeps the last file that it wrote, and
    tries again when the next writing is due. `History.checkpoint_error` is the reason if the last one failed.
    """

    path: str | Path
    every_epochs: int | None = None
    every_seconds: float | None = 10.0

    def __post_init__(self) -> None:
        named = isinstance(self.path, (str, Path)) and Path(self.path).name and "\0" not in str(self.path)
        if not named:
            raise InvalidInput(f"path = {shown(self.path)}: must be the path of a file")
        if self.every_epochs is None and self.every_seconds is None:
            raise InvalidInput("every_epochs = None, every_seconds = None: give one of them a number")
        for field, check in (("every_epochs", check_count), ("every_seconds", check_rate)):
            if (value := getattr(self, field)) is not None:
                check(field, value)

    def check_place(self) -> None:
        """Require a folder that takes the file, before a training begins."""
        path, folder = Path(self.path), Path(self.path).parent
        try:
            there, taken = folder.is_dir(), path.is_dir()
            storage.partial(path).exists()
        except OSError as error:  # a name that is too long
            raise InvalidInput(f"checkpoints: {shown(str(path))} cannot be written: {error.strerror}") from None
        if not there:
            raise InvalidInput(f"checkpoints: there is no folder {folder}. Make it first")
        if taken or not os.access(folder, os.W_OK | os.X_OK):
            raise InvalidInput(f"checkpoints: {path} cannot be written: it is a folder, or its folder is read-only")


class Writer:
    """Writes and reads the checkpoints of one training.

    Parameters
    ----------
    settings : Checkpoints
    identity : dict of str to object
        What a checkpoint belongs to: anything JSON can hold.
    """

    def __init__(self, settings: Checkpoints, identity: Mapping[str, Any]) -> None:
        self._settings, self._identity = settings, identity
        self._path = Path(settings.path)
        self._written, self._epoch = time.monotonic(), 0
        self.error = ""  # why the last writing failed

    def read(self) -> tuple[Record, State] | None:
        """Return the state in the file; None where there is no file. The record's epochs are yet to be judged.

        Raises
        ------
        InvalidInput
            The file is no checkpoint, or belongs to another training; the message names the difference.
        """
        if not self._path.exists():
            return None
        try:
            header, arrays = storage.read(self._path, _FORMAT)
        except InvalidInput as error:
            raise InvalidInput(f"{error}. {REMEDY}") from None
        for key, ours in self._identity.items():
            if (theirs := header.get(key)) != ours:
                raise InvalidInput(
                    f"{self._path} belongs to another training: its {key} is {theirs!r}, not {ours!r}. {REMEDY}"
                )
        state = {name.removeprefix(_STATE): arrays[name] for name in arrays if name.startswith(_STATE)}
        try:
            rows = [tuple(row) for row in arrays["table"].astype(COLUMNS).tolist()]
            record = Record(arrays["theta"], arrays["last_theta"], header["validated"], rows)
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidInput(f"{self._path} is damaged: {error}") from None
        self._epoch = len(rows) - 1
        return record, state

    def write_if_due(self, record: Record, state: Callable[[], State]) -> None:
        """Write where the settings ask for it at this epoch or time; `state` returns the optimizer's state."""
        every_epochs, every_seconds = self._settings.every_epochs, self._settings.every_seconds
        epochs, seconds = len(record.rows) - 1 - self._epoch, time.monotonic() - self._written
        if (every_epochs and epochs >= every_epochs) or (every_seconds and seconds >= every_seconds):
            self._write(record, state())

    def write(self, record: Record, state: State) -> None:
        """Write the state."""
        self._write(record, state)

    def _write(self, record: Record, state: State) -> None:
        """Write the state, or warn: the training goes on, and the next writing is due as after any other."""
        header = {**self._identity, "validated": record.validated}
        arrays: dict[str, Array] = {
            "theta": record.theta,
            "last_theta": record.last_theta,
            "table": record.table(),
            **{_STATE + name: array for name, array in state.items()},
        }
        self._written, self._epoch = time.monotonic(), len(record.rows) - 1
        try:
            storage.write(self._path, _FORMAT, header, arrays)
            self.error = ""
        except OSError as error:
            self.error = f"{self._path} could not be written after epoch {self._epoch}: {error.strerror or error}"
            kept = "The file has an earlier epoch" if self._path.exists() else "There is no checkpoint yet"
            warnings.warn(f"{self.error}. {kept}; the training goes on", CheckpointWarning, stacklevel=5)
