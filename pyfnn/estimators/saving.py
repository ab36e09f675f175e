"""Files of fitted estimators: NumPy's .npz with a JSON header, without pickle, by `pyfnn.storage`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import pyfnn
from pyfnn import storage
from pyfnn.errors import InvalidInput, PyfnnError, shown
from pyfnn.estimators.labels import Labels
from pyfnn.estimators.plan import Course
from pyfnn.network import Network
from pyfnn.validation import Array, check_array

if TYPE_CHECKING:
    from pyfnn.estimators.base import NetworkEstimator

Estimator = TypeVar("Estimator", bound="NetworkEstimator")
_FORMAT = "pyfnn-estimator/1"
_STATE = "optimizer_"  # before the names of the optimizer's arrays


def write(estimator: "NetworkEstimator", path: Path) -> None:
    """Write a fitted estimator; raise `InvalidInput` for a parameter that JSON cannot hold."""
    header: dict[str, Any] = {
        "class": type(estimator).__name__,
        "version": pyfnn.__version__,
        "parameters": {name: _plain(name, value) for name, value in estimator.get_params(deep=False).items()},
        "network": asdict(estimator.network_),
        "course": asdict(estimator._course),
        "n_iter": estimator.n_iter_,
        "feature_names": [str(name) for name in getattr(estimator, "feature_names_in_", ())],
    }
    arrays: dict[str, Array] = {"theta": estimator.theta_}
    arrays |= {_STATE + name: array for name, array in (estimator._state or {}).items()}
    if labels := getattr(estimator, "_labels", None):
        strings = labels.classes.dtype == object  # NumPy would pickle these
        if strings and not all(isinstance(label, str) for label in labels.classes):
            raise InvalidInput("classes of Python objects cannot be saved: use strings, or an array of numbers")
        header |= {"multilabel": labels.multilabel, "object_classes": strings}
        arrays["classes"] = labels.classes.astype(str) if strings else labels.classes
    storage.write(path, _FORMAT, header, arrays)


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(name, part) for part in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InvalidInput(f"{name} = {shown(value)} cannot be saved: set_params({name}=...) to a number or a name first")


def read(kind: type[Estimator], path: Path) -> Estimator:
    """Read an estimator of this class; raise `InvalidInput` where the file does not hold one."""
    header, arrays = storage.read(path, _FORMAT)
    if header.get("class") != kind.__name__:
        raise InvalidInput(f"{path} holds an estimator of class {header.get('class')!r}, not {kind.__name__}")
    try:
        return _restored(kind, header, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, PyfnnError) as error:
        raise InvalidInput(f"{path} is damaged: {error}") from None


def _restored(kind: type[Estimator], header: dict[str, Any], arrays: dict[str, Array]) -> Estimator:
    parameters: dict[str, Any] = header["parameters"]
    for name, value in parameters.items():
        parameters[name] = tuple(value) if isinstance(value, list) else value
    estimator = kind(**parameters)
    estimator._validate_params()
    network, course, theta = Network(**header["network"]), Course(**header["course"]), arrays["theta"]
    check_array("theta", theta, (network.n_parameters,), network.dtype)
    state = {name.removeprefix(_STATE): arrays[name] for name in arrays if name.startswith(_STATE)}
    estimator.network_, estimator.theta_, estimator._state, estimator._course = network, theta, state, course
    estimator.n_iter_, estimator.n_features_in_ = int(header["n_iter"]), network.sizes[0]
    if names := header["feature_names"]:
        if len(names) != network.sizes[0]:
            raise ValueError(f"{len(names)} names of {network.sizes[0]} features")
        estimator.feature_names_in_ = np.array(names, dtype=object)
    if "multilabel" in header:
        classes = arrays["classes"].astype(object) if header["object_classes"] else arrays["classes"]
        estimator._labels = Labels(classes, bool(header["multilabel"]))
        if estimator._labels.n_outputs != network.sizes[-1]:
            raise ValueError(f"{len(classes)} classes for {network.sizes[-1]} outputs of the network")
    if estimator._loss != network.loss:
        raise ValueError(f"the network's loss is {network.loss}, not {estimator._loss}")
    return estimator
