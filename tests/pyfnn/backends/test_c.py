"""What is particular to fnn.h, its host and the plain C library: refusals, statuses, memory, the GIL.

Agreement of every backend with the oracle is test_conformance's business.
"""

import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.requirements import require

from pyfnn import oracle, registry
from pyfnn.backend import Backend
from pyfnn.backends import c
from pyfnn.errors import BackendUnavailable, InvalidInput, PyfnnError, Unsupported
from pyfnn.manifest import Row, native_folder
from pyfnn.model import Model
from pyfnn.network import Network, initialize

SOURCES = native_folder() / "c_cuda"
NETWORK = Network((3, 4, 2), "tanh", "squared_error", dtype="float64")
LINEAR = Network((3, 2), "tanh", "squared_error", dtype="float64")

# Somebody else's library, written from fnn.h alone: one linear layer in double, and knobs to spoil it.
THIRD_PARTY = r"""
#include <stdlib.h>
#include <string.h>
#include "fnn.h"
#ifndef VERSION
#define VERSION FNN_VERSION
#endif
#ifndef STATUS
#define STATUS FNN_OK
#endif
#ifndef ABOUT
#define ABOUT "name=linear\nlanguage=C\ncompiler=cc\nflags=none\nclock=none\nactivations=identity\n" \
              "losses=squared_error\narithmetic=float64\ndeterministic=yes\n"
#endif

struct fnn_model {
  const char *error;
  int64_t inputs, outputs;
  double *theta, *start, *x, *y;
  int64_t *order;
};

static void *copy(const void *from, int64_t bytes) {
  return memcpy(malloc(bytes), from, bytes);
}

int32_t fnn_version(void) { return VERSION; }
const char *fnn_about(void) { return ABOUT; }

int fnn_create(const fnn_network *network, const void *theta, fnn_model **handle) {
  fnn_model *m = *handle = calloc(1, sizeof *m);
  if (network->n_layers != 1) {
    m->error = "one layer is all there is";
    return FNN_UNSUPPORTED;
  }
  m->error = "";
  m->inputs = network->sizes[0], m->outputs = network->sizes[1];
  int64_t bytes = (m->inputs + 1) * m->outputs * sizeof(double);
  m->theta = copy(theta, bytes), m->start = copy(theta, bytes);
  return FNN_OK;
}

void fnn_destroy(fnn_model *m) {
  if (m) free(m->theta), free(m->start), free(m->x), free(m->y), free(m->order), free(m);
}

const char *fnn_last_error(const fnn_model *m) { return m ? m->error : "out of memory"; }
int32_t fnn_threads(const fnn_model *m) { return m != 0; }

int fnn_load(fnn_model *m, const void *x, const void *y, int64_t rows, const int64_t *order, int64_t n_order) {
  free(m->x), free(m->y), free(m->order);
  m->x = copy(x, rows * m->inputs * sizeof(double)), m->y = copy(y, rows * m->outputs * sizeof(double));
  m->order = copy(order, n_order * sizeof(int64_t));
  m->error = STATUS ? "told to fail" : "";
  return STATUS;
}

static double output(const fnn_model *m, int64_t row, int64_t j) {
  double z = m->theta[m->inputs * m->outputs + j];
  for (int64_t i = 0; i < m->inputs; i++) z += m->x[row * m->inputs + i] * m->theta[i * m->outputs + j];
  return z;
}

int fnn_forward(fnn_model *m, int64_t first, int64_t count, void *outputs) {
  for (int64_t n = 0; n < count; n++)
    for (int64_t j = 0; j < m->outputs; j++) ((double *)outputs)[n * m->outputs + j] = output(m, first + n, j);
  return FNN_OK;
}

/* Adds one row's share of loss and gradient, a batch of B rows. */
static double share(const fnn_model *m, int64_t row, int64_t B, double *gradient) {
  double loss = 0;
  for (int64_t j = 0; j < m->outputs; j++) {
    double error = output(m, row, j) - m->y[row * m->outputs + j], delta = 2 * error / B;
    loss += error * error / B;
    for (int64_t i = 0; i < m->inputs; i++) gradient[i * m->outputs + j] += m->x[row * m->inputs + i] * delta;
    gradient[m->inputs * m->outputs + j] += delta;
  }
  return loss;
}

int fnn_loss_and_gradient(fnn_model *m, int64_t first, int64_t count, double *loss, void *gradient) {
  memset(gradient, 0, (m->inputs + 1) * m->outputs * sizeof(double));
  *loss = 0;
  for (int64_t n = 0; n < count; n++) *loss += share(m, first + n, count, gradient);
  return FNN_OK;
}

int fnn_train(fnn_model *m, int64_t first, int64_t count, int64_t batch_size, double rate, double *seconds) {
  int64_t size = (m->inputs + 1) * m->outputs;
  double *gradient = malloc(size * sizeof(double));
  for (int64_t at = 0; at < count; at += batch_size) {
    int64_t B = batch_size < count - at ? batch_size : count - at;
    memset(gradient, 0, size * sizeof(double));
    for (int64_t n = 0; n < B; n++) share(m, m->order[first + at + n], B, gradient);
    for (int64_t i = 0; i < size; i++) m->theta[i] -= rate * gradient[i];
  }
  free(gradient);
  *seconds = 1e-6;
  return FNN_OK;
}

int fnn_time(fnn_model *m, int32_t op, int64_t first, int64_t count, int64_t repeats, double *seconds, double *sum) {
  *seconds = 1e-6 * repeats, *sum = op + 10 * first + 100 * count;
  return FNN_OK;
}

int fnn_theta(fnn_model *m, void *theta) {
  memcpy(theta, m->theta, (m->inputs + 1) * m->outputs * sizeof(double));
  return FNN_OK;
}

#ifdef UNAVAILABLE
const char *fnn_unavailable(void) { return UNAVAILABLE; }
#endif
#ifdef DEVICE_SECONDS
int fnn_device_seconds(const fnn_model *m, double *seconds) { return *seconds = 0.25, m ? FNN_OK : FNN_INVALID; }
#endif
#ifdef HALF_OF_MANY
int fnn_train_many(fnn_model *m, int64_t first, int64_t count, int64_t batch, const double *rates, double *seconds) {
  return FNN_UNSUPPORTED;
}
#endif

#ifndef WITHOUT_RESET
int fnn_reset(fnn_model *m) {
  memcpy(m->theta, m->start, (m->inputs + 1) * m->outputs * sizeof(double));
  return FNN_OK;
}
#endif
"""

# mlp.c with its allocations counted and made to fail, and those between two looks at the clock kept apart.
SCARCE = r"""
#define _POSIX_C_SOURCE 199309L
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
int64_t allocations = 0, allocations_inside = 0, allocations_left = INT64_MAX;
static int64_t at_last_look = 0;
static void *scarce_aligned_alloc(size_t alignment, size_t size) {
  allocations++;
  return allocations_left-- > 0 ? aligned_alloc(alignment, size) : NULL;
}
static void *scarce_calloc(size_t count, size_t size) {
  allocations++;
  return allocations_left-- > 0 ? calloc(count, size) : NULL;
}
static int looked(clockid_t clock, struct timespec *now) {
  allocations_inside = allocations - at_last_look;
  at_last_look = allocations;
  return clock_gettime(clock, now);
}
#define aligned_alloc scarce_aligned_alloc
#define calloc scarce_calloc
#define clock_gettime looked
#include "mlp.c"
/* The bits below a cache line, of the addresses of all arrays that a step touches. */
__attribute__((visibility("default"))) int64_t beside_a_line(const fnn_model *m) {
  uintptr_t all = (uintptr_t)m->theta | (uintptr_t)m->gradient | (uintptr_t)m->x | (uintptr_t)m->y |
                  (uintptr_t)m->order | (uintptr_t)m->X | (uintptr_t)m->T;
  for (const layer *l = m->layers; l < m->layers + m->n_layers; l++)
    all |= (uintptr_t)l->Z | (uintptr_t)l->A | (uintptr_t)l->delta;
  return all % 64;
}
"""


def compiler() -> str:
    found = shutil.which("cc")
    require("cc", found is not None, "install a C compiler, for instance gcc or clang")
    return str(found)


def compile_library(folder: Path, source: str, *flags: str) -> Path:
    (folder / "source.c").write_text(source, encoding="utf-8")
    library = folder / "library.so"
    command = [
        compiler(),
        "-std=c11",
        "-O2",
        "-fPIC",
        "-shared",
        f"-I{SOURCES}",
        *flags,
        "source.c",
        "-o",
        "library.so",
    ]
    subprocess.run([*command, "-lm"], cwd=folder, check=True)
    return library


def row(library: Path) -> Row:
    return Row(
        name="third",
        language="C",
        division="plain",
        host="pyfnn.backends.c:Library",
        library=library.name,
        manifest=library.parent / "backend.toml",
        remedy="ask its author",
    )


def third_party(folder: Path, *flags: str) -> Backend:
    return registry.load(row(compile_library(folder, THIRD_PARTY, *flags)))


def data(network: Network, rows: int = 6, seed: int = 1) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, network.sizes[0])).astype(network.dtype)
    y = rng.uniform(size=(rows, network.sizes[-1])).astype(network.dtype)
    if network.loss == "softmax_cross_entropy":
        y = np.eye(network.sizes[-1], dtype=network.dtype)[rng.integers(0, network.sizes[-1], rows)]
    return x, y, rng.integers(0, rows, 11)


@pytest.fixture
def backend() -> Backend:
    try:
        return registry.load_backend("c")
    except BackendUnavailable as error:
        require("c", False, str(error))
        raise


@pytest.fixture
def model(backend: Backend) -> Model:
    return backend.create(NETWORK, initialize(NETWORK, 1))


def raw(model: Model) -> tuple[Any, Any]:
    assert isinstance(model, c.LibraryModel)
    return model._lib, model._handle


def create(lib: Any, **changes: Any) -> tuple[int, str]:
    """Status and message of fnn_create for a good 2-3-1 network with some fields changed."""
    ffi = c._ffi()
    fields: dict[str, Any] = {
        "n_layers": 2,
        "sizes": (2, 3, 1),
        "activations": ("tanh", "identity"),
        "loss": "squared_error",
        "l2": 0.0,
        "dtype": 1,
        "threads": 1,
    } | changes
    kept = [ffi.new("char[]", name.encode()) for name in fields["activations"]]
    loss = ffi.new("char[]", fields["loss"].encode())
    sizes, activations = ffi.new("int64_t[]", fields["sizes"]), ffi.new("char *[]", kept)
    network = ffi.new("fnn_network *", {**fields, "sizes": sizes, "activations": activations, "loss": loss})
    theta, handle = ffi.new("double[13]"), ffi.new("fnn_model **")
    status = lib.fnn_create(network, theta, handle)
    message = ffi.string(lib.fnn_last_error(handle[0])).decode()
    lib.fnn_destroy(handle[0])
    return status, message


# --- Hosting: any library that exports fnn.h ---


def test_a_library_written_from_the_header_alone_is_hosted_and_agrees_with_the_oracle(tmp_path: Path) -> None:
    x, y, order = data(LINEAR)
    theta = initialize(LINEAR, 3)
    with third_party(tmp_path).create(LINEAR, theta) as model:
        model.load(x, y, order)
        loss, gradient = model.loss_and_gradient(1, 4)
        wanted_loss, wanted = oracle.loss_and_gradient(LINEAR, theta, x[1:5], y[1:5])
        np.testing.assert_allclose(loss, wanted_loss, rtol=1e-13)
        np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(model.forward(2, 3), oracle.forward(LINEAR, theta, x[2:5]).A[-1], rtol=1e-12)
        assert model.train(2, 9, 4, 0.1) == 1e-6
        trained = oracle.train(LINEAR, theta, x, y, order[2:], 4, 0.1)
        np.testing.assert_allclose(model.theta(), trained, rtol=1e-12)
        model.reset()
        np.testing.assert_array_equal(model.theta(), theta)


def test_a_row_of_a_manifest_names_a_library_beside_it(tmp_path: Path) -> None:
    compile_library(tmp_path, THIRD_PARTY)
    manifest = tmp_path / "backend.toml"
    manifest.write_text(
        '[[backend]]\nname = "mine"\nlanguage = "C"\ndivision = "plain"\n'
        'host = "pyfnn.backends.c:Library"\nlibrary = "library.so"\n',
        encoding="utf-8",
    )
    assert registry.load_backend("mine", [manifest]).description.name == "linear"


def test_the_description_is_what_the_library_says(tmp_path: Path) -> None:
    said = third_party(tmp_path).description
    assert (said.name, said.compiler, said.clock, said.arithmetic) == ("linear", "cc", "none", "float64")
    assert said.activations == ("identity",)
    assert said.losses == ("squared_error",)
    assert said.deterministic


def test_operations_arrive_in_the_librarys_own_numbers(tmp_path: Path) -> None:
    with third_party(tmp_path).create(LINEAR, initialize(LINEAR, 1)) as model:
        model.load(*data(LINEAR))
        assert model.time("forward", 1, 2, 3) == pytest.approx(3e-6)
        assert model.checksum == 0 + 10 * 1 + 100 * 2
        model.time("gradient", 1, 2, 3)
        assert model.checksum == 1 + 10 * 1 + 100 * 2


def test_what_a_library_does_not_list_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="linear has no activation 'tanh'"):
        third_party(tmp_path).create(NETWORK, initialize(NETWORK, 1))


def test_a_refusal_by_the_library_carries_its_words(tmp_path: Path) -> None:
    deep = Network((3, 2, 2), "identity", "squared_error", dtype="float64")
    with pytest.raises(Unsupported, match="one layer is all there is"):
        third_party(tmp_path).create(deep, initialize(deep, 1))


@pytest.mark.parametrize(
    ("status", "error"), [(1, InvalidInput), (2, Unsupported), (3, MemoryError), (4, PyfnnError), (77, PyfnnError)]
)
def test_each_status_becomes_its_error(tmp_path: Path, status: int, error: type[Exception]) -> None:
    model = third_party(tmp_path, f"-DSTATUS={status}").create(LINEAR, initialize(LINEAR, 1))
    with model, pytest.raises(error, match="told to fail") as caught:
        model.load(*data(LINEAR))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("-DVERSION=2", "implements version 2 of fnn.h, not 1"),
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
def test_a_library_that_is_not_this_fnn_h_is_refused_by_name(tmp_path: Path, flag: str, reason: str) -> None:
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


def test_the_header_is_all_that_the_host_declares() -> None:
    functions = set(re.findall(r"^[\w *]*?\b(fnn_\w+)\(", (SOURCES / "fnn.h").read_text(), re.MULTILINE))
    declared = set(re.findall(r"\b(fnn_\w+)\(", c._declarations()))
    assert (len(functions), len(c.required_names())) == (18, 13)
    assert declared == functions > c.required_names()


def test_a_library_that_says_why_it_cannot_run_is_unavailable_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable) as caught:
        third_party(tmp_path, '-DUNAVAILABLE="the device is on fire\\ncall the fire brigade"')
    assert (caught.value.reason, caught.value.remedy) == ("the device is on fire", "call the fire brigade")


def test_a_library_that_finds_nothing_amiss_is_hosted(tmp_path: Path) -> None:
    assert third_party(tmp_path, "-DUNAVAILABLE=0").description.name == "linear"


@pytest.mark.parametrize(("flags", "wanted"), [(("-DDEVICE_SECONDS",), 0.25), ((), None)])
def test_the_devices_own_seconds_are_the_models(tmp_path: Path, flags: tuple[str, ...], wanted: float | None) -> None:
    with third_party(tmp_path, *flags).create(LINEAR, initialize(LINEAR, 1)) as model:
        model.load(*data(LINEAR))
        assert model.device_seconds is None
        model.train(0, 4, 2, 0.1)
        assert model.device_seconds == wanted


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


# --- The C library through the raw interface ---


def test_the_functions_that_it_lists_are_those_it_has(backend: Backend, model: Model) -> None:
    lib, _ = raw(model)
    for name in backend.description.activations:
        assert create(lib, activations=(name, name)) == (0, "")
    for name in backend.description.losses:
        output = {"softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "sigmoid"}.get(name, "tanh")
        assert create(lib, loss=name, activations=("tanh", output)) == (0, "")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"n_layers": 0}, 1, "n_layers = 0"),
        ({"sizes": (2, 0, 1)}, 1, r"sizes\[1\] = 0"),
        ({"sizes": (2, -5, 1)}, 1, r"sizes\[1\] = -5"),
        ({"sizes": (2**62, 2**62, 1)}, 2, "layer 1 is too large"),
        ({"sizes": (2**31, 2**31, 1)}, 2, "layer 1 is too large"),
        ({"sizes": (1, 2**55, 3)}, 2, "layer 2 is too large"),
        ({"l2": -0.5}, 1, "l2 = -0.5"),
        ({"l2": float("nan")}, 1, "l2 = nan"),
        ({"l2": float("inf")}, 1, "l2 = inf"),
        ({"threads": 0}, 1, "threads = 0"),
        ({"dtype": 2}, 2, "no dtype 2"),
        ({"dtype": -1}, 2, "no dtype -1"),
        ({"loss": "hinge"}, 2, "no loss 'hinge'"),
        ({"loss": "x" * 5000}, 2, "no loss 'xxx"),
        ({"activations": ("gauss", "identity")}, 2, "no activation 'gauss' for layer 1"),
        ({"activations": ("softmax", "identity")}, 2, "no activation 'softmax' for layer 1"),
        ({"activations": ("tanh", "softmax")}, 2, "no activation 'softmax' for layer 2"),
        ({"activations": ("tanh", "")}, 2, "no activation '' for layer 2"),
        ({"loss": "softmax_cross_entropy"}, 1, "fuses softmax"),
    ],
)
def test_fnn_create_refuses_with_status_and_words(model: Model, changes: Any, status: int, words: str) -> None:
    got, message = create(raw(model)[0], **changes)
    assert got == status
    assert re.search(words, message), message


def test_null_pointers_are_refused_and_not_followed(model: Model) -> None:
    lib, handle = raw(model)
    ffi = c._ffi()
    null, number, row_numbers = ffi.NULL, ffi.new("double[8]"), ffi.new("int64_t[1]")
    other = ffi.new("fnn_model **")
    assert lib.fnn_create(null, number, other) == lib.FNN_INVALID
    lib.fnn_destroy(other[0])
    assert lib.fnn_create(null, number, null) == lib.FNN_INVALID
    for first in (null, handle):
        assert lib.fnn_load(first, null, number, 1, row_numbers, 1) == lib.FNN_INVALID
        assert lib.fnn_forward(first, 0, 1, null) == lib.FNN_INVALID
        assert lib.fnn_loss_and_gradient(first, 0, 1, null, null) == lib.FNN_INVALID
        assert lib.fnn_train(first, 0, 1, 1, 0.1, null) == lib.FNN_INVALID
        assert lib.fnn_time(first, 0, 0, 1, 1, null, null) == lib.FNN_INVALID
        assert lib.fnn_theta(first, null) == lib.FNN_INVALID
    assert lib.fnn_reset(null) == lib.FNN_INVALID
    assert ffi.string(lib.fnn_last_error(null)) == b"out of memory"
    lib.fnn_destroy(null)


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (0, 0), (0, -3), (0, 7), (5, 2), (2**62, 2**62), (1, 2**63 - 1)])
def test_ranges_outside_the_rows_are_refused_and_explained(model: Model, first: int, count: int) -> None:
    lib, handle = raw(model)
    model.load(*data(NETWORK))
    out = c._ffi().new("double[64]")
    for status in (
        lib.fnn_forward(handle, first, count, out),
        lib.fnn_loss_and_gradient(handle, first, count, out, out),
        lib.fnn_time(handle, 0, first, count, 1, out, out),
        lib.fnn_train(handle, first + 5 if first > 0 else first, count + 5 if count > 0 else count, 1, 0.1, out)
        if count < 2**62
        else lib.FNN_INVALID,
    ):
        assert status == lib.FNN_INVALID
        assert "must lie within the" in c._text(lib.fnn_last_error(handle))
    model.forward(0, 6)
    assert c._text(lib.fnn_last_error(handle)) == ""


def test_work_before_any_data_is_refused(model: Model) -> None:
    lib, handle = raw(model)
    assert lib.fnn_forward(handle, 0, 1, c._ffi().new("double[2]")) == lib.FNN_INVALID
    assert "call fnn_load first" in c._text(lib.fnn_last_error(handle))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_not_finite_and_positive_is_refused(model: Model, rate: float) -> None:
    lib, handle = raw(model)
    model.load(*data(NETWORK))
    assert lib.fnn_train(handle, 0, 5, 1, rate, c._ffi().new("double *")) == lib.FNN_INVALID
    np.testing.assert_array_equal(model.theta(), initialize(NETWORK, 1))


@pytest.mark.parametrize(
    ("rows", "order", "n_order"),
    [(0, [0], 1), (-1, [0], 1), (6, [0], 0), (6, [0, 6], 2), (6, [-1], 1), (2**62, [0], 1)],
)
def test_a_load_that_fails_keeps_the_old_data(model: Model, rows: int, order: list[int], n_order: int) -> None:
    lib, handle = raw(model)
    x, y, good_order = data(NETWORK)
    model.load(x, y, good_order)
    before = model.forward(0, 6)
    other = c._ffi().from_buffer(np.zeros_like(x))
    status = lib.fnn_load(handle, other, other, rows, c._ffi().new("int64_t[]", order), n_order)
    assert status == (lib.FNN_NO_MEMORY if rows == 2**62 else lib.FNN_INVALID)
    assert c._text(lib.fnn_last_error(handle)) != ""
    np.testing.assert_array_equal(model.forward(0, 6), before)
    assert model.train(0, 11, 2, 0.01) >= 0


def test_two_models_at_once_share_nothing(backend: Backend) -> None:
    x, y, order = data(NETWORK)
    theta = initialize(NETWORK, 1)
    with backend.create(NETWORK, theta) as one, backend.create(NETWORK, theta) as two:
        one.load(x, y, order)
        two.load(-x, y, order)
        alone = two.loss_and_gradient(0, 6)[1]
        one.train(0, 11, 3, 0.1)
        np.testing.assert_array_equal(two.loss_and_gradient(0, 6)[1], alone)
        np.testing.assert_array_equal(two.theta(), theta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_logits_of_a_thousand_stay_finite_and_right(backend: Backend, loss: str, dtype: str) -> None:
    network = Network((1, 4), "tanh", loss, dtype=dtype)
    theta = np.array([1000, -1000, 999, 0, 0, 0, 0, 0], dtype=dtype)
    x = np.array([[1], [-1], [0.5]], dtype=dtype)
    y = np.eye(4, dtype=dtype)[[0, 2, 1]]
    wide = theta.astype(np.longdouble)
    wanted_loss, wanted = oracle.loss_and_gradient(network, wide, x, y)
    with backend.create(network, theta) as model:
        model.load(x, y, np.arange(3))
        loss_, gradient = model.loss_and_gradient(0, 3)
        np.testing.assert_allclose(loss_, float(wanted_loss), rtol=1e-6)
        np.testing.assert_allclose(gradient, wanted.astype(dtype), rtol=1e-5, atol=1e-30)
        np.testing.assert_allclose(model.forward(0, 3), oracle.forward(network, wide, x).A[-1], rtol=1e-5, atol=1e-30)


def test_nothing_but_fnn_h_is_exported(backend: Backend) -> None:
    assert isinstance(backend, c.Library)
    nm = shutil.which("nm")
    require("nm", nm is not None, "install binutils")
    listed = subprocess.run(
        [str(nm), "-D", "--defined-only", str(backend.path)], check=True, capture_output=True, text=True
    )
    exported = {line.split()[-1] for line in listed.stdout.splitlines()} - {"_init", "_fini"}
    assert exported == c.required_names()


def test_other_python_threads_run_while_it_trains(backend: Backend) -> None:
    network = Network((64, 256, 1), "tanh", "squared_error")
    x, y, _ = data(network, rows=256)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.002):
            ticks.append(time.perf_counter())

    with backend.create(network, initialize(network, 1)) as model:
        model.load(x, y, np.zeros(20_000, np.int64))
        thread = threading.Thread(target=tick)
        thread.start()
        start = time.perf_counter()
        model.train(0, 20_000, 1, 1e-6)
        end = time.perf_counter()
        stop.set()
        thread.join()
    margin = (end - start) / 10
    assert end - start > 0.05, "too short to tell"
    assert [at for at in ticks if start + margin < at < end - margin]


# --- Memory ---


class Scarce:
    """mlp.c hosted with a hand on its allocations."""

    def __init__(self, folder: Path) -> None:
        library = compile_library(folder, SCARCE)
        self.backend = registry.load(row(library))
        import cffi

        self.ffi: Any = cffi.FFI()
        self.ffi.cdef("extern int64_t allocations, allocations_inside, allocations_left;")
        self.ffi.cdef("int64_t beside_a_line(void *);")
        self.counts: Any = self.ffi.dlopen(str(library))


@pytest.fixture
def scarce(tmp_path: Path) -> Scarce:
    return Scarce(tmp_path)


def test_every_array_begins_at_a_cache_line(scarce: Scarce) -> None:
    with scarce.backend.create(NETWORK, initialize(NETWORK, 1)) as model:
        model.load(*data(NETWORK))
        model.train(0, 11, 3, 0.01)
        assert isinstance(model, c.LibraryModel)
        assert scarce.counts.beside_a_line(scarce.ffi.cast("void *", model._handle)) == 0


def test_no_step_allocates(scarce: Scarce) -> None:
    with scarce.backend.create(NETWORK, initialize(NETWORK, 1)) as model:
        model.load(*data(NETWORK))
        before = scarce.counts.allocations
        model.train(0, 11, 2, 0.01)
        assert scarce.counts.allocations > before, "the first call prepares its workspace"
        assert scarce.counts.allocations_inside == 0
        model.time("gradient", 0, 6, 5)
        assert scarce.counts.allocations_inside == 0
        before = scarce.counts.allocations
        model.train(0, 11, 3, 0.01)
        model.time("forward", 0, 6, 5)
        assert scarce.counts.allocations == before, "a workspace that is large enough is kept"


def test_whichever_allocation_fails_the_call_says_so_and_leaves_the_model_as_it_was(scarce: Scarce) -> None:
    x, y, order = data(NETWORK)
    theta = initialize(NETWORK, 1)
    counts = scarce.counts
    with scarce.backend.create(NETWORK, theta) as model:
        model.load(x, y, order)
        before = model.forward(0, 2)
        for enough in range(3):
            counts.allocations_left = enough
            with pytest.raises(MemoryError, match="no memory for the data"):
                model.load(-x, y, order)
            counts.allocations_left = 2**62
            np.testing.assert_array_equal(model.forward(0, 2), before)
        counts.allocations_left = 0
        with pytest.raises(MemoryError, match="no memory for a batch of this size"):
            model.train(0, 11, 6, 0.1)
        np.testing.assert_array_equal(model.theta(), theta)
        np.testing.assert_array_equal(model.forward(0, 2), before)
    for enough, words in enumerate(["out of memory", "the layers", *["the parameters"] * 3]):
        counts.allocations_left = enough
        with pytest.raises(MemoryError, match=words):
            scarce.backend.create(NETWORK, theta)


def test_all_of_it_is_clean_under_the_sanitizers(tmp_path: Path) -> None:
    cc, program = compiler(), tmp_path / "sanitize_test"
    sanitize = ["-std=c11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    empty = tmp_path / "empty.c"
    empty.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    able = subprocess.run([cc, *sanitize, str(empty), "-o", str(program)], capture_output=True, check=False)
    require("sanitizers", able.returncode == 0, "install the compiler's ASan and UBSan libraries")
    subprocess.run([cc, *sanitize, str(SOURCES / "sanitize_test.c"), "-o", str(program), "-lm"], check=True)
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
