"""Claims about `c-libmvec`: right; it calls the vector functions of glibc, which `c` does not; absent without them."""

from itertools import islice

import pytest
from support.batteries import drawn
from support.requirements import require

from pyfnn import compiled, parity, registry
from pyfnn.backends.c import Libmvec, Library
from pyfnn.errors import BackendUnavailable
from pyfnn.network import DTYPES

VECTOR_TANH = b"v_tanh"  # in the names of all of them: _ZGVbN4v_tanhf, _ZGVeN8v_tanh, ...


def load(name: str) -> Library:
    """Load a backend; skip the test where it is absent."""
    try:
        backend = registry.load_backend(name)
    except BackendUnavailable as error:
        require(name, False, error.remedy)
        raise
    assert isinstance(backend, Library)
    return backend


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_agrees_with_the_oracle_on_random_networks(dtype: str) -> None:
    backend = load("c-libmvec")
    for seed, battery in islice(drawn(0, dtype), 10):
        evidence = parity.examine(backend.create, battery)
        assert evidence.passed, f"random_case({seed}, {dtype!r}): {evidence.worst}"


def test_it_calls_the_vector_tanh_which_c_does_not() -> None:
    assert VECTOR_TANH in load("c-libmvec").path.read_bytes()
    assert VECTOR_TANH not in load("c").path.read_bytes()


def test_it_differs_from_c_in_name_and_in_the_functions_that_its_flags_name() -> None:
    vector, plain = load("c-libmvec").description, load("c").description
    assert vector.name == "c-libmvec"
    assert vector.flags == f"{plain.flags}, with the vector functions of glibc's libmvec"
    assert (vector.activations, vector.losses, vector.optimizers) == (
        plain.activations,
        plain.losses,
        plain.optimizers,
    )


def test_where_it_was_not_compiled_it_is_unavailable_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {name: files for name, files in compiled.build_info().SOURCES.items() if "libmvec" not in name}
    monkeypatch.setattr(compiled.build_info(), "SOURCES", sources)
    with pytest.raises(BackendUnavailable, match="no vector tanh") as caught:
        Libmvec(registry.find("c-libmvec"))
    assert "glibc is 2.35 or later" in caught.value.remedy
