"""Claims about files that keep a network with its parameters."""

from pathlib import Path

import numpy as np
import pytest

import pyfnn
from pyfnn import storage
from pyfnn.errors import InvalidInput
from pyfnn.network import Network, initialize

NETWORKS = [
    Network((3, 4, 2), "leaky_relu(0.3)", "squared_error", l2=0.1, output_activation="tanh"),
    Network((3, 4, 5, 2), ("elu(0.5)", "relu"), "softmax_cross_entropy", dtype="float64"),
]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_saved_network_is_loaded_with_the_same_bits(network: Network, tmp_path: Path) -> None:
    theta = initialize(network, 1)
    for path in (tmp_path / "with.npz", str(tmp_path / "without")):
        pyfnn.save(path, network, theta)
        again, bits = pyfnn.load(path)
        assert again == network
        assert bits.tobytes() == theta.tobytes()
        assert bits.dtype == theta.dtype
    assert sorted(path.name for path in tmp_path.iterdir()) == ["with.npz", "without"]


def test_a_theta_that_does_not_fit_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="theta is 3 of"):
        pyfnn.save(tmp_path / "a", NETWORKS[0], np.zeros(3, "f4"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_objects_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path(tmp_path / "ran").touch, ()  # type: ignore[return-value]

    np.savez(tmp_path / "a.npz", header=np.array([Evil()], dtype=object))
    with pytest.raises(InvalidInput, match="is not a file of pyfnn-network/1"):
        pyfnn.load(tmp_path / "a.npz")
    assert not (tmp_path / "ran").exists()


def test_a_file_whose_theta_does_not_fit_its_network_is_refused(tmp_path: Path) -> None:
    from pyfnn import storage

    for network, theta in (({"sizes": [3, 2]}, np.zeros(8)), (None, np.zeros(8))):
        storage.write(tmp_path / "a", "pyfnn-network/1", {"network": network}, {"theta": theta})
        with pytest.raises(InvalidInput, match="is damaged"):
            pyfnn.load(tmp_path / "a")


def test_an_array_that_is_no_longer_what_its_archive_says_is_refused(tmp_path: Path) -> None:
    path, network = tmp_path / "kept", Network((3, 2), "tanh", "squared_error")
    pyfnn.save(path, network, initialize(network, 1))
    whole = path.read_bytes()
    for signature, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):  # the method of compression, in both of its places
        method = whole.index(signature) + at
        whole = whole[:method] + b"\x08" + whole[method + 1 :]  # deflated
    path.write_bytes(whole.replace(b"\x93NUMPY", b"\x07NUMPY", 1))
    with pytest.raises(InvalidInput):
        pyfnn.load(path)


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pyfnn.load(tmp_path / "nowhere")


def test_objects_are_not_saved_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="labels holds Python objects: it cannot be saved"):
        storage.write(tmp_path / "a.npz", "x/1", {}, {"labels": np.array([None])})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", end)
    with pytest.raises(KeyboardInterrupt):
        storage.write(tmp_path / "a.npz", "x/1", {}, {"theta": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["activation", "loss", "dtype"])
def test_a_name_of_a_later_version_is_an_error_with_the_path(field: str, tmp_path: Path) -> None:
    fields = {"sizes": [3, 2], "activation": "relu", "loss": "squared_error", "dtype": "float32", field: "later"}
    storage.write(tmp_path / "a.npz", storage._FORMAT, {"network": fields}, {"theta": np.zeros(8, "f4")})
    with pytest.raises(InvalidInput, match=r"a\.npz is damaged: .*later"):
        pyfnn.load(tmp_path / "a.npz")
