"""Claims about the host of fnn.h (pyfnn.backends.c): it runs any library with these functions, and refuses others."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.fnn_libraries import NETWORK, SOURCES, compile_library, data, row, third_party

from pyfnn import oracle, registry
from pyfnn.backends import c
from pyfnn.errors import BackendUnavailable, InvalidInput, PyfnnError, Unsupported
from pyfnn.network import Network, initialize

LINEAR = Network((3, 2), "tanh", "squared_error", dtype="float64")


def test_a_library_written_from_the_header_alone_is_hosted_and_agrees_with_the_oracle(tmp_path: Path) -> None:
    x, y, order = data(LINEAR)
    theta = initialize(LINEAR, 3)
    with third_party(tmp_path).create(LINEAR, theta) as model:
        model.load(x, y, order)
        loss, gradient = model.loss_and_gradient(1, 4)
        expected_loss, expected = oracle.loss_and_gradient(LINEAR, theta, x[1:5], y[1:5])
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-13)
        np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(model.forward(2, 3), oracle.forward(LINEAR, theta, x[2:5]).A[-1], rtol=1e-12)
        assert model.train(2, 9, 4, 0.1) == 1e-6
        trained = oracle.train(LINEAR, theta, x, y, order[2:], 4, 0.1)
        np.testing.assert_allclose(model.theta(), trained, rtol=1e-12)
        model.reset()
        np.testing.assert_array_equal(model.theta(), theta)


def test_a_row_of_a_manifest_names_a_library_beside_it(tmp_path: Path) -> None:
    compile_library(tmp_path, "third_party.c")
    manifest = tmp_path / "backend.toml"
    manifest.write_text(
        '[[backend]]\nname = "mine"\nlanguage = "C"\ndivision = "plain"\n'
        'host = "pyfnn.backends.c:Library"\nlibrary = "library.so"\n',
        encoding="utf-8",
    )
    assert registry.load_backend("mine", [manifest]).description.name == "linear"


def test_the_description_is_what_fnn_about_returns(tmp_path: Path) -> None:
    found = third_party(tmp_path).description
    assert (found.name, found.compiler, found.clock, found.arithmetic) == ("linear", "cc", "none", "float64")
    assert found.activations == ("identity",)
    assert found.losses == ("squared_error",)
    assert found.deterministic


def test_operations_arrive_in_the_librarys_own_numbers(tmp_path: Path) -> None:
    with third_party(tmp_path).create(LINEAR, initialize(LINEAR, 1)) as model:
        model.load(*data(LINEAR))
        assert model.time("forward", 1, 2, 3) == pytest.approx(3e-6)
        assert model.checksum == 0 + 10 * 1 + 100 * 2 + 1000 * 3 + 10_000 * 2  # entries 0 and 3, of 2 rows of 2
        model.time("gradient", 1, 2, 3)
        assert model.checksum == 1 + 10 * 1 + 100 * 2 + 1000 * 7 + 10_000 * 2  # entries 0 and 7, the last parameter
        model.time("forward", 1, 2, 3, np.array([2, 0, 1]))
        assert model.checksum == 0 + 10 * 1 + 100 * 2 + 1000 * 1 + 10_000 * 3


def test_an_activation_that_a_library_does_not_list_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="linear has no activation 'tanh'"):
        third_party(tmp_path).create(NETWORK, initialize(NETWORK, 1))


def test_a_refusal_by_the_library_carries_its_message(tmp_path: Path) -> None:
    deep = Network((3, 2, 2), "identity", "squared_error", dtype="float64")
    with pytest.raises(Unsupported, match="this library has one layer only"):
        third_party(tmp_path).create(deep, initialize(deep, 1))


@pytest.mark.parametrize(
    ("status", "error"), [(1, InvalidInput), (2, Unsupported), (3, MemoryError), (4, PyfnnError), (77, PyfnnError)]
)
def test_each_status_becomes_its_error(tmp_path: Path, status: int, error: type[Exception]) -> None:
    model = third_party(tmp_path, f"-DSTATUS={status}").create(LINEAR, initialize(LINEAR, 1))
    with model, pytest.raises(error, match="asked to fail") as caught:
        model.load(*data(LINEAR))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("-DVERSION=1", "implements version 1 of fnn.h, not 2"),
        ("-DWITHOUT_RESET", "does not export fnn_reset"),
        ('-DABOUT="name=linear\\nlanguage=C\\n"', "does not say compiler"),
        ("-DABOUT=0", "does not say name"),
        ("-DHALF_OF_MANY", "does not export fnn_create_many"),
        (
            '-DABOUT="name=a\\nlanguage=C\\ncompiler=cc\\nflags=none\\nclock=none\\nactivations=identity\\n'
            'losses=squared_error\\narithmetic=native\\ndeterministic=yes\\nmany=yes\\n"',
            "says many=yes, which is not what it exports",
        ),
    ],
)
def test_a_library_that_does_not_match_fnn_h_is_refused_by_name(tmp_path: Path, flag: str, reason: str) -> None:
    with pytest.raises(BackendUnavailable, match=reason) as caught:
        third_party(tmp_path, flag)
    assert str(tmp_path / "library.so") in caught.value.reason
    assert "fnn.h" in caught.value.remedy


def test_an_absent_file_is_refused_with_the_rows_remedy(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="does not exist") as caught:
        registry.load(row(tmp_path / "absent.so"))
    assert caught.value.remedy == "ask its author"


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not a library", encoding="utf-8")
    with pytest.raises(BackendUnavailable, match="no library that can be loaded"):
        registry.load(row(tmp_path / "text.so"))


def test_the_host_declares_the_functions_of_the_header_and_no_others() -> None:
    functions = set(re.findall(r"^[\w *]*?\b(fnn_\w+)\(", (SOURCES / "fnn.h").read_text(), re.MULTILINE))
    declared = set(re.findall(r"\b(fnn_\w+)\(", c._declarations()))
    assert (len(functions), len(c.required_names())) == (24, 13)
    assert declared == functions > c.required_names()


def test_a_library_that_reports_why_it_cannot_run_is_unavailable_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable) as caught:
        third_party(tmp_path, '-DUNAVAILABLE="the device is on fire\\ncall the fire brigade"')
    assert (caught.value.reason, caught.value.remedy) == ("the device is on fire", "call the fire brigade")


def test_a_library_that_reports_no_reason_is_hosted(tmp_path: Path) -> None:
    assert third_party(tmp_path, "-DUNAVAILABLE=0").description.name == "linear"


@pytest.mark.parametrize(("flags", "expected"), [(("-DDEVICE_SECONDS",), 0.25), ((), None)])
def test_the_model_reports_the_device_seconds_of_its_library(
    tmp_path: Path, flags: tuple[str, ...], expected: float | None
) -> None:
    with third_party(tmp_path, *flags).create(LINEAR, initialize(LINEAR, 1)) as model:
        model.load(*data(LINEAR))
        assert model.device_seconds is None
        model.train(0, 4, 2, 0.1)
        assert model.device_seconds == expected


def test_a_library_without_many_trains_many_networks_one_by_one(tmp_path: Path) -> None:
    thetas = np.stack([initialize(LINEAR, seed) for seed in range(3)])
    x, y, order = data(LINEAR)
    with third_party(tmp_path).create_many(LINEAR, thetas) as ensemble:
        ensemble.load(x, y, np.stack([order] * 3))
        assert ensemble.train(0, 4, 2, 0.1) == pytest.approx(3e-6)


def test_importing_pyfnn_loads_no_library() -> None:
    script = (
        "import sys, pyfnn; pyfnn.load_backend; sys.exit('cffi' in sys.modules or 'pyfnn.backends.c' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
