"""The C library with texts of its fnn.c replaced: without its argument checks, with many networks, or with a fault."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from pyfnn.manifest import Row, native_folder
from support.fnn_libraries import compiler, row

_REFUSAL = re.compile(r"(?:return|status =) fail\(model, FNN_(?:INVALID|UNSUPPORTED).*?\);", re.DOTALL)


def build(folder: Path, change: Callable[[str], str]) -> Row:
    """Compile the C library with its fnn.c changed; return the row that hosts it."""
    sources = folder / "c_cuda"
    shutil.copytree(native_folder() / "c_cuda", sources)
    source = sources / "fnn.c"
    source.write_text(change(source.read_text(encoding="utf-8")), encoding="utf-8")
    library = folder / "library.so"
    files = [str(sources / name) for name in ("fnn.c", "mlp.c")]
    command = [compiler(), "-std=c11", "-O1", "-shared", "-fPIC", *files, "-o", str(library), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    manifest = folder / "backend.toml"
    manifest.write_text(
        '[[backend]]\nname = "third"\nlanguage = "C"\ndivision = "plain"\nhost = "pyfnn.backends.c:Library"\n'
        'library = "library.so"\nremedy = "ask its author"\n'
    )
    return row(library)


def replacing(texts: Mapping[str, str]) -> Callable[[str], str]:
    """Return the function that replaces these texts, each of which must be in the source."""

    def change(source: str) -> str:
        for old, new in texts.items():
            assert old in source, f"fnn.c no longer contains {old!r}: copy its present text here"
            source = source.replace(old, new)
        return source

    return change


_OF_MANY = {  # texts of fnn.c that many networks at once need otherwise
    "  mlp network;\n};": "  mlp network;\n  int64_t members;\n  struct fnn_model **each; /* of many networks */\n};\n"
    "static void destroy_many(fnn_model *);\nstatic int theta_of_many(fnn_model *, void *);\n"
    "static int reset_many(fnn_model *);",
    "  mlp *network = &model->network;\n  free(network->layers);": "  destroy_many(model);\n"
    "  mlp *network = &model->network;\n  free(network->layers);",
    "int fnn_theta(fnn_model *model, void *theta) {\n": "int fnn_theta(fnn_model *model, void *theta) {\n"
    "  if (model != NULL && model->members > 0)\n    return theta_of_many(model, theta);\n",
    "  set_theta(&model->network, theta);\n": "  if (model->members > 0)\n"
    '    return fail(model, FNN_INVALID, "many networks take no theta");\n  set_theta(&model->network, theta);\n',
    "  if (status == FNN_OK)\n    *finite =": "  if (status == FNN_OK && model->members > 0)\n"
    '    return fail(model, FNN_INVALID, "many networks have many thetas");\n  if (status == FNN_OK)\n    *finite =',
    "int fnn_reset(fnn_model *model) {\n": "int fnn_reset(fnn_model *model) {\n"
    "  if (model != NULL && model->members > 0)\n    return reset_many(model);\n",
    '"deterministic=yes\\n"': '"deterministic=yes\\nmany=yes\\n"',
}


def with_many(source: str) -> str:
    """Return fnn.c with many networks at once."""
    own = Path(__file__).with_name("many_networks.c").read_text(encoding="utf-8")
    return f"{replacing(_OF_MANY)(source)}\n{own}"


_NEVER_MADE = 'model->created ? FNN_OK : fail(model, FNN_INVALID, "this model was never made: fnn_create failed")'


def without_checks(source: str) -> str:
    """Return fnn.c without a single check of its arguments."""
    checks = {
        "  if (model == NULL)\n    return FNN_INVALID;\n": "",
        _NEVER_MADE: "FNN_OK",
        "  if (handle == NULL)\n    return FNN_INVALID;\n": "",
        "  if (model == NULL)\n    return;\n": "",
        'model == NULL ? "out of memory" : model->error': "model->error",
    }
    return _REFUSAL.sub(";", replacing(checks)(source))


FAULTS = {  # texts to replace in fnn.c, by the claim that must fail and what must be seen
    ("a rate that is not finite", "FNN_OK from fnn_train with learning_rate = -0.1"): {"learning_rate > 0 &&": ""},
    ("ranges outside the data", "FNN_OK from fnn_forward with first = 9223372036854775807, count = 1"): {
        "count > length || first > length - count": "count > length || first + count > length"
    },
    ("batch_size and repeats below 1", "no end within 1 s of CPU time in fnn_train(batch_size=0)"): {
        "batch_size < 1": "batch_size < 0"
    },
    ("entries of order outside", "FNN_OK from fnn_load with order = […, 6, …]"): {
        "order[i] >= rows": "order[i] > rows"
    },
    ("fnn_last_error explains", "after a successful fnn_load"): {"  model->error[0] = '\\0';\n": ""},
    ("every function refuses a handle", "SIGSEGV in fnn_load"): {_NEVER_MADE: "FNN_OK"},
    ("refused calls change nothing", "exit status 3"): {
        "learning_rate < INFINITY": "(learning_rate < INFINITY || (exit(3), 0))"
    },
    ("two models share nothing", "the text of the other one is"): {
        "static int fail(": "static char last[256];\nstatic int fail(",
        "vsnprintf(model->error, sizeof model->error,": "vsnprintf(last, sizeof last,",
        "model->error[0] =": "last[0] =",
        ": model->error;": ": last;",
    },
    ("a model copies theta", "after fnn_reset: theta"): {
        "  free(network->start);\n": "",
        "  memcpy(network->start, theta, n * size);\n": "  free(network->start), network->start = (void *)theta;\n",
    },
    ("fnn_set_theta, if there is one", "after fnn_set_theta and fnn_reset: theta differ"): {
        "  set_theta(&model->network, theta);\n": "  set_theta(&model->network, theta);\n"
        "  memcpy(model->network.start, theta, model->network.n_parameters * model->network.arithmetic->size);\n"
    },
    ("fnn_loss, if there is one", "rows [0, 6): "): {
        "arithmetic->loss(&model->network, first, count)": "arithmetic->loss(&model->network, 0, 1)"
    },
    ("fnn_is_finite, if there is one", "theta[25] = nan: fnn_is_finite wrote 1"): {
        "    *finite = model->network.arithmetic->is_finite(&model->network);": "    {\n"
        "      mlp most = model->network;\n      most.n_parameters--;\n"
        "      *finite = most.arithmetic->is_finite(&most);\n    }"
    },
    ("leave no memory behind", "bytes remain of each model"): {"  free(network->gradient);\n": ""},
    ("fnn_load replaces the data", "checksum differ"): {
        "network->rows = rows;": "if (rows > network->rows) network->rows = rows;"
    },
    ("it prints nothing", "bytes on stdout or stderr"): {
        "  const double start = now();\n": '  const double start = now();\n  puts("go");\n'
    },
}  # fmt: skip

FAULTS_OF_MANY = {  # the same of fnn.c with many networks
    ("rates and orders that break a rule", "FNN_OK from fnn_train_many with learning_rates"): {
        "learning_rates[k] > 0 &&": "",
        "learning_rate > 0 &&": "",
    },
    ("rates and orders that break a rule", "FNN_OK from fnn_load_many with orders"): {
        "check_data(model, x, y, rows, orders + k": "check_data(model, x, y, rows, orders + 0 * k",
        "order[i] >= rows": "order[i] > 2 * rows && order[i] < 0",
    },
    ("members below 1", "signal SIGSEGV in fnn_create_many(l2s=NULL)"): {" || l2s == NULL": ""},
    ("their handle is refused by functions of one model", "SIGSEGV in fnn_"): {
        '  if (many->members == 0)\n    return fail(many, FNN_INVALID, "these are not many networks");\n': "",
        _NEVER_MADE: "FNN_OK",
    },
    ("each ends where a model of its own would", "member 1 ends at another theta"): {
        "own.l2 = l2s[k]": "own.l2 = l2s[0]"
    },
    ("many networks: refused calls change nothing", "seconds written by fnn_train_many"): {
        "  if (learning_rates == NULL": "  if (seconds != NULL)\n    *seconds = 0;\n  if (learning_rates == NULL"
    },
    ("many networks: models created and destroyed", "bytes remain of each model"): {
        "    fnn_destroy(many->each[k]);\n": "    many->each[k] = NULL;\n"
    },
}
