"""Claims about the datasets. A server in this process serves the downloads; PYFNN_DATA_DIR has the real wine files."""

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.requirements import require

from pyfnn import datasets
from pyfnn.datasets import digits, wine
from pyfnn.datasets.dataset import Standardizer, split
from pyfnn.datasets.teacher import teacher
from pyfnn.errors import DatasetError, InvalidInput, UnknownName
from pyfnn.network import Network

OFFLINE = ("moons", "digits", "diabetes")
CSV = b'"acidity";"quality"\n7.5;5\n7.8;6\n6.1;7\n'


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no PYFNN_DATA_DIR."""
    monkeypatch.delenv("PYFNN_DATA_DIR", raising=False)
    monkeypatch.setattr(wine, "cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.requests += 1  # type: ignore[attr-defined]
        if self.path == "/absent.csv":
            self.send_error(404)
            return
        body = {"/good.csv": CSV, "/cut.csv": CSV[:20], "/altered.csv": CSV.replace(b"6", b"9")}
        content = CSV[:20] if self.path == "/broken-off.csv" else body[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(CSV if self.path == "/broken-off.csv" else content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        served.requests = 0  # type: ignore[attr-defined]
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served
        served.shutdown()
        thread.join()


def source(server: ThreadingHTTPServer, path: str) -> wine.Source:
    url = f"http://127.0.0.1:{server.server_address[1]}/{path}"
    return wine.Source("wine.csv", url, hashlib.sha256(CSV).hexdigest())


def real_wine() -> None:
    folder = Path(os.environ.get("PYFNN_DATA_DIR", "/nonexistent"))
    present = all((folder / s.file).exists() for s in (wine.RED, wine.WHITE))
    require("wine data", present, f"set PYFNN_DATA_DIR to a folder with the two files of {wine.UCI}")


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_dataset_is_split_contiguous_finite_and_of_the_requested_dtype(name: str, dtype: str) -> None:
    data = datasets.load(name, seed=1, dtype=dtype)
    for array in (data.x, data.y):
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
        assert array.ndim == 2
    assert len(data.x) == len(data.y)
    assert len(data.features) == data.x.shape[1]
    assert data.citation
    everything = np.concatenate([data.train, data.validation, data.test])
    assert everything.dtype == np.int64
    assert sorted(everything) == list(range(len(data.x)))


@pytest.mark.parametrize("name", OFFLINE)
def test_the_same_seed_gives_the_same_dataset_and_another_seed_another_split(name: str) -> None:
    once, again, other = (datasets.load(name, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once.x, again.x)
    np.testing.assert_array_equal(once.train, again.train)
    assert (once.train != other.train).any()


@pytest.mark.parametrize(("name", "classes"), [("moons", 2), ("digits", 10)])
def test_the_targets_of_a_classification_are_one_hot(name: str, classes: int) -> None:
    data = datasets.load(name)
    assert data.task == "classification"
    assert data.y.shape[1] == len(data.classes) == classes
    assert set(np.unique(data.y)) == {0, 1}
    assert (data.y.sum(axis=1) == 1).all()
    assert (data.y.sum(axis=0) > 0).all()


@pytest.mark.parametrize("file", [digits._FILE, "datasets/data/moved.csv.gz"])
def test_digits_are_those_of_scikit_learn_wherever_it_keeps_them(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "_FILE", file)
    theirs, ours = load_digits(), digits.load()
    np.testing.assert_array_equal(ours.x, theirs.data)
    np.testing.assert_array_equal(ours.y.argmax(axis=1), theirs.target)
    assert ours.features == tuple(theirs.feature_names)
    assert ours.classes == tuple(map(str, theirs.target_names))


def test_digits_are_near_the_mean_of_their_label() -> None:
    data = datasets.load("digits")
    labels = data.y.argmax(axis=1)
    means = np.array([data.x[labels == digit].mean(axis=0) for digit in range(10)])
    nearest = ((data.x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.85


@pytest.mark.parametrize(("rows", "parts"), [(1599, (1119, 239, 241)), (1797, (1257, 269, 271)), (7, (4, 1, 2))])
def test_a_split_is_70_15_15_rounded_down(rows: int, parts: tuple[int, ...]) -> None:
    assert tuple(len(part) for part in split(rows, 0)) == parts


def test_scaling_is_fitted_on_the_training_rows_alone() -> None:
    data = datasets.load("diabetes", dtype="float64")
    far = data.x.copy()
    far[data.test] += 1000
    plain, moved = data.standardized(), replace(data, x=far).standardized()
    np.testing.assert_array_equal(plain.x[data.train], moved.x[data.train])
    np.testing.assert_allclose(plain.x[data.train].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(plain.x[data.train].std(axis=0), 1)
    assert np.abs(plain.x[data.test].mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_a_constant_column_stays_finite_and_small(value: float, dtype: str) -> None:
    x = np.column_stack([np.full(9, value), np.arange(9)]).astype(dtype)
    scaled = Standardizer.fit(x).apply(x)
    assert scaled.dtype == dtype
    assert np.isfinite(scaled).all()
    assert np.abs(scaled[:, 0]).max() <= 1e-6 * max(value, 1)


def test_a_column_whose_variance_underflows_stays_finite() -> None:
    x = np.array([[1e-200], [2e-200]])
    assert np.isfinite(Standardizer.fit(x).apply(x)).all()


def test_a_standardizer_scales_other_rows_with_the_fitted_mean_and_scale() -> None:
    fitted = Standardizer.fit(np.array([[1.0], [3.0]]))
    np.testing.assert_array_equal(fitted.apply(np.array([[2.0], [5.0]])), [[0.0], [3.0]])


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_a_teacher_draws_the_same_values_in_both_dtypes(loss: str) -> None:
    network = Network((7, 9, 4), "tanh", loss)
    single, double = (teacher(replace(network, dtype=dtype), 50, seed=3) for dtype in ("float32", "float64"))
    assert (str(single.x.dtype), str(double.y.dtype)) == ("float32", "float64")
    assert (single.x.shape, single.y.shape) == ((50, 7), (50, 4))
    np.testing.assert_array_equal(single.x, double.x.astype(np.float32))
    np.testing.assert_array_equal(single.y, double.y.astype(np.float32))
    np.testing.assert_array_equal(single.train, double.train)


def test_a_teachers_data_depend_on_the_seed_alone() -> None:
    network = Network((7, 9, 4), "tanh", "squared_error")
    once, again, other = (teacher(network, 50, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once.y, again.y)
    assert (once.x != other.x).all()


def test_a_teachers_noise_has_the_requested_standard_deviation() -> None:
    network = Network((7, 9, 4), "tanh", "squared_error", dtype="float64")
    difference = teacher(network, 5000, seed=3, noise=0.5).y - teacher(network, 5000, seed=3, noise=0.0).y
    assert difference.std() == pytest.approx(0.5, rel=0.05)


def test_a_teachers_classes_are_valid_targets_and_all_occur() -> None:
    soft = teacher(Network((20, 16, 4), "relu", "softmax_cross_entropy"), 500, seed=0)
    assert (soft.y.sum(axis=1) == 1).all()
    assert (soft.y.sum(axis=0) > 0).all()
    several = teacher(Network((20, 16, 4), "relu", "sigmoid_cross_entropy"), 500, seed=0)
    assert set(np.unique(several.y)) == {0, 1}
    assert set(np.unique(several.y.sum(axis=1))) > {1}


@pytest.mark.parametrize("rows", [0, -1, 2.5])
def test_a_bad_number_of_rows_is_rejected(rows: Any) -> None:
    with pytest.raises(InvalidInput, match="rows = "):
        teacher(Network((7, 4), "tanh", "squared_error"), rows, seed=0)


def test_an_unknown_dataset_or_dtype_gets_the_nearest_match() -> None:
    with pytest.raises(UnknownName, match="unknown dataset 'wine-rod'; did you mean 'wine-red'"):
        datasets.load("wine-rod")
    with pytest.raises(UnknownName, match="unknown dtype 'float16'"):
        datasets.load("moons", dtype="float16")


def test_a_good_download_is_read_and_kept(nowhere: Path, server: ThreadingHTTPServer) -> None:
    table = wine.load(source(server, "good.csv"))
    np.testing.assert_array_equal(table.x, [[7.5], [7.8], [6.1]])
    np.testing.assert_array_equal(table.y, [[5], [6], [7]])
    assert table.features == ("acidity",)
    wine.load(source(server, "good.csv"))
    assert server.requests == 1  # type: ignore[attr-defined]
    assert [path.name for path in nowhere.iterdir()] == ["wine.csv"]


@pytest.mark.parametrize("path", ["cut.csv", "broken-off.csv", "altered.csv", "absent.csv"])
def test_a_bad_download_leaves_nothing_behind(nowhere: Path, server: ThreadingHTTPServer, path: str) -> None:
    with pytest.raises(DatasetError, match=rf"wine\.csv: the download from http://.*{path} failed.*PYFNN_DATA_DIR"):
        wine.load(source(server, path))
    assert not [path for path in nowhere.rglob("*") if path.is_file()]
    np.testing.assert_array_equal(wine.load(source(server, "good.csv")).y, [[5], [6], [7]])


def test_a_missing_server_is_an_error_with_the_url(nowhere: Path) -> None:
    with pytest.raises(DatasetError, match="the download from http://127"):
        wine.load(wine.Source("wine.csv", "http://127.0.0.1:9/wine.csv", "0" * 64))
    assert not [path for path in nowhere.rglob("*") if path.is_file()]


@pytest.mark.parametrize("content", [b"", CSV[:-1], CSV.replace(b"6", b"9"), b"\xff" + CSV])
@pytest.mark.parametrize("place", ["cache", "PYFNN_DATA_DIR"])
def test_a_file_with_another_checksum_is_rejected_and_not_changed(
    nowhere: Path, server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: Any, content: bytes, place: str
) -> None:
    if place == "PYFNN_DATA_DIR":
        monkeypatch.setenv("PYFNN_DATA_DIR", str(tmp_path / "mine"))
    path = (nowhere if place == "cache" else tmp_path / "mine") / "wine.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        wine.load(source(server, "good.csv"))
    for words in (str(path), "truncated or altered", "sha256", "delete it", "good.csv"):
        assert words in str(caught.value)
    assert path.read_bytes() == content
    assert server.requests == 0  # type: ignore[attr-defined]


def test_an_unreadable_file_is_an_error_with_its_name(nowhere: Path, server: ThreadingHTTPServer) -> None:
    (nowhere / "wine.csv").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"wine\.csv cannot be read: .*directory.*good\.csv"):
        wine.load(source(server, "good.csv"))


def test_the_data_folder_comes_before_the_cache(
    nowhere: Path, server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere.mkdir()
    (nowhere / "wine.csv").write_bytes(b"rubbish")
    (tmp_path / "wine.csv").write_bytes(CSV)
    monkeypatch.setenv("PYFNN_DATA_DIR", str(tmp_path))
    assert len(wine.load(source(server, "good.csv")).x) == 3


def test_a_data_folder_without_the_file_is_an_error_and_neither_cache_nor_download_is_tried(
    nowhere: Path, server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere.mkdir()
    (nowhere / "wine.csv").write_bytes(CSV)
    monkeypatch.setenv("PYFNN_DATA_DIR", str(tmp_path / "mine"))
    with pytest.raises(DatasetError, match=r"PYFNN_DATA_DIR = '.*mine': there is no wine\.csv in it; .*good\.csv"):
        wine.load(source(server, "good.csv"))
    assert server.requests == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "rows", "duplicates", "mean", "variance"),
    [("wine-red", 1599, 240, 5.636, 0.652), ("wine-white", 4898, 937, 5.878, 0.784)],
)
def test_the_wines_have_the_published_size_mean_and_variance(
    name: str, rows: int, duplicates: int, mean: float, variance: float
) -> None:
    real_wine()
    data = datasets.load(name, dtype="float64")
    assert data.x.shape == (rows, 11)
    assert data.features[0] == "fixed acidity"
    assert len(np.unique(np.hstack([data.x, data.y]), axis=0)) == rows - duplicates
    assert data.y.mean() == pytest.approx(mean, abs=5e-4)
    assert data.y.var() == pytest.approx(variance, abs=5e-4)
    assert "10.24432/C56S3T" in data.citation


@pytest.mark.parametrize(("name", "error", "spread"), [("wine-red", 0.435, 0.040), ("wine-white", 0.579, 0.035)])
def test_least_squares_on_the_wines_has_the_known_error(name: str, error: float, spread: float) -> None:
    real_wine()
    errors = []
    for seed in range(20):
        data = datasets.load(name, seed, "float64").standardized()
        x = np.hstack([data.x, np.ones((len(data.x), 1))])
        w = np.linalg.lstsq(x[data.train], data.y[data.train], rcond=None)[0]
        errors.append(((x[data.test] @ w - data.y[data.test]) ** 2).mean())
    assert np.mean(errors) == pytest.approx(error, abs=spread / 2)
