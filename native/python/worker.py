"""The worker protocol: commands from stdin, replies to stdout, the files of WORKDIR, the clocks.

The network is in mlp.py. Usage: worker.py NAME WORKDIR, with the backend's name, python or pypy.
"""

import os
import platform
import re
import sys
import time
from array import array

import mlp

WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
SPELLING = re.compile(r"(\w+)(?:\((\S+)\))?")

# Kept, so that the numbers that follow lie at other places within a page in each process.
scattered = [[float(n)] for n in range(int.from_bytes(os.urandom(2), "little"))]

name, workdir = "", ""
setup = {}  # the lines of network.txt; empty until an init succeeds
model = None  # the network; None until then


class Refusal(Exception):
    """A command that cannot be carried out."""

    def __init__(self, message, kind="invalid"):
        super().__init__(message)
        self.kind = kind


# ---- The files of WORKDIR -------------------------------------------------------------------------------------------


def read_file(file_name):
    try:
        with open(os.path.join(workdir, file_name), "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise Refusal(f"{file_name} is missing") from None


def read_numbers(file_name, items, typecode):
    """Read a file that holds exactly `items` little-endian numbers: f, d, or q for int64."""
    numbers = array(typecode)
    content, expected = read_file(file_name), items * numbers.itemsize
    if len(content) != expected:
        raise Refusal(f"{file_name} has {len(content)} bytes: must be {expected}")
    numbers.frombytes(content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


def read_entries(file_name, items, end):
    """Read numbers of entries, counted from 0, of something that has `end` entries."""
    entries = read_numbers(file_name, items, "q")
    for at, entry in enumerate(entries):
        if not 0 <= entry < end:
            raise Refusal(f"{file_name}: entry {at} is {entry}: must lie in [0, {end})")
    return entries


def write_numbers(file_name, numbers):
    content = array(setup["typecode"], numbers)
    if sys.byteorder == "big":
        content.byteswap()
    with open(os.path.join(workdir, file_name), "wb") as file:
        file.write(content.tobytes())


def rows_of(numbers, width):
    return [numbers[at : at + width] for at in range(0, len(numbers), width)]


def read_setup():
    """Read and check network.txt."""
    lines = {}
    for line in read_file("network.txt").decode(errors="replace").split("\n"):
        key, *words = line.split() or [""]
        lines[key] = words

    def words(key):
        if key not in lines:
            raise Refusal(f"network.txt has no line {key}")
        return lines[key]

    def bad(key, rule):
        return Refusal(f"network.txt: {key} = {' '.join(lines[key])}: {rule}")

    def word(key):
        if len(words(key)) != 1:
            raise bad(key, "must be one word")
        return lines[key][0]

    def positive(key, text):
        if not WHOLE.fullmatch(text) or int(text) < 1:
            raise bad(key, "must be a whole number, at least 1")
        return int(text)

    sizes = [positive("sizes", text) for text in words("sizes")]
    if len(sizes) < 2:
        raise bad("sizes", "must be at least 2 numbers")
    if len(words("activations")) != len(sizes) - 2:
        raise bad("activations", f"must be {len(sizes) - 2} names, one a hidden layer")
    if not NUMBER.fullmatch(word("l2")) or not 0 <= float(word("l2")) < float("inf"):
        raise bad("l2", "must be finite, at least 0")
    typecode = {"float32": "f", "float64": "d"}.get(word("dtype"))
    if typecode is None:
        raise Refusal(f"no dtype {word('dtype')!r}", "unsupported")
    positive("threads", word("threads"))  # checked, then ignored: one thread computes
    return {
        "sizes": sizes,
        "functions": functions([*words("activations"), word("output_activation")], word("loss")),
        "loss": word("loss"),
        "l2": float(word("l2")),
        "typecode": typecode,
        "rows": positive("rows", word("rows")),
        "order": positive("order", word("order")),
    }


def functions(spellings, loss):
    """Return (value, derivative, parameter) of each layer's activation."""
    if loss not in mlp.LOSSES:
        raise Refusal(f"no loss {loss!r}", "unsupported")
    fuses = mlp.LOSSES[loss][2]
    if fuses is not None and spellings[-1] != fuses:
        raise Refusal(f"network.txt: output_activation = {spellings[-1]}: {loss} fuses {fuses}")
    found = [activation(spelling) for spelling in spellings[: -1 if fuses else None]]
    if fuses is not None:  # mlp.py computes softmax itself, of whole rows
        found.append(mlp.ACTIVATIONS.get(fuses, mlp.ACTIVATIONS["identity"]))
    return found


def activation(spelling):
    match = SPELLING.fullmatch(spelling)
    row = mlp.ACTIVATIONS.get(match[1]) if match else None
    if row is not None and match[2] is None:
        return row
    if row is None or row[2] is None or not NUMBER.fullmatch(match[2]) or abs(float(match[2])) == float("inf"):
        raise Refusal(f"no activation {spelling!r}", "unsupported")
    return (*row[:2], float(match[2]))


# ---- Numbers from words ---------------------------------------------------------------------------------------------


def at_least_one(what, word):
    if not WHOLE.fullmatch(word) or int(word) < 1:
        raise Refusal(f"{what} = {word}: must be a whole number, at least 1")
    return int(word)


def span(first, count, what):
    """Return FIRST and COUNT, after a check that [FIRST, FIRST+COUNT) lies within the rows or the entries of order."""
    need_model()
    length = setup[what]
    if not WHOLE.fullmatch(first) or int(first) < 0 or int(first) + at_least_one("COUNT", count) > length:
        raise Refusal(f"FIRST = {first}, COUNT = {count}: must be whole numbers within the {length} of {what}")
    return int(first), int(count)


def need_model():
    if model is None:
        raise Refusal("no network yet: init comes first")


# ---- The commands; each returns the fields of its reply --------------------------------------------------------------


def clocks():
    cpu = time.process_time()
    return time.perf_counter(), cpu


def elapsed(start):
    seconds = time.perf_counter() - start[0]
    return {"seconds": repr(seconds), "cpu_seconds": repr(time.process_time() - start[1])}


def hello():
    version = platform.python_version()
    if platform.python_implementation() == "PyPy":
        version = f"{'.'.join(map(str, sys.pypy_version_info[:3]))} (Python {version})"
    return {
        "protocol": 1,
        "name": name,
        "language": "Python",
        "compiler": f"{platform.python_implementation()} {version}",
        "flags": "",
        "activations": ",".join(mlp.ACTIVATIONS),
        "losses": ",".join(mlp.LOSSES),
        "arithmetic": "float64",
        "deterministic": "yes",
        "clock": "time.perf_counter",
    }


def init():
    global setup, model
    new = read_setup()
    sizes, typecode = new["sizes"], new["typecode"]
    n_parameters = sum((inputs + 1) * outputs for inputs, outputs in zip(sizes, sizes[1:]))
    theta = read_numbers("theta.bin", n_parameters, typecode)
    x = rows_of(read_numbers("x.bin", new["rows"] * sizes[0], typecode), sizes[0])
    y = rows_of(read_numbers("y.bin", new["rows"] * sizes[-1], typecode), sizes[-1])
    order = read_entries("order.bin", new["order"], new["rows"])
    model = mlp.Mlp(sizes, new["functions"], new["loss"], new["l2"], theta, x, y, order)
    setup = new
    return {"threads": 1}


def forward(first, count):
    start, rows = span(first, count, "rows")
    model.forward(model.x[start : start + rows])
    write_numbers("outputs.bin", [y_j for y in model.last.A for y_j in y])
    return {}


def gradient(first, count):
    start, rows = span(first, count, "rows")
    loss = model.loss_and_gradient(start, rows)
    write_numbers("gradient.bin", model.gradient())
    return {"loss": f"{loss:.17g}"}


def train(first, count, batch, rate):
    start, entries = span(first, count, "order")
    batch_size = min(at_least_one("BATCH", batch), entries)
    if not NUMBER.fullmatch(rate) or not 0 < float(rate) < float("inf"):
        raise Refusal(f"RATE = {rate}: must be finite and above 0")
    learning_rate = float(rate)
    begin = clocks()
    model.train(start, entries, batch_size, learning_rate)
    return elapsed(begin)


def timed(operation, first, count, repeats, n_probes):
    start, rows = span(first, count, "rows")
    if operation not in ("forward", "gradient"):
        raise Refusal(f"{operation!r}: must be forward or gradient")
    times, starts = at_least_one("REPEATS", repeats), setup["rows"] - rows + 1
    if operation == "forward":
        probed, width = model.timed_forward, setup["sizes"][-1]
        entries = read_entries("probes.bin", at_least_one("PROBES", n_probes), rows * width)
        probes = [divmod(entry, width) for entry in entries]
    else:
        probed, places = model.timed_gradient, model.places()
        entries = read_entries("probes.bin", at_least_one("PROBES", n_probes), len(places))
        probes = [places[entry] for entry in entries]
    checksum = 0.0
    begin = clocks()
    for repeat in range(times):
        row, column = probes[repeat % len(probes)]
        checksum += probed((start + repeat * rows) % starts, rows, row, column)
    return {**elapsed(begin), "checksum": f"{checksum:.17g}"}


def theta():
    need_model()
    write_numbers("theta_out.bin", model.theta())
    return {}


def reset():
    need_model()
    model.reset()
    return {}


COMMANDS = {  # the words after each, and its function
    "hello": ("", hello),
    "init": ("", init),
    "forward": ("FIRST COUNT", forward),
    "gradient": ("FIRST COUNT", gradient),
    "train": ("FIRST COUNT BATCH RATE", train),
    "time": ("forward|gradient FIRST COUNT REPEATS PROBES", timed),
    "theta": ("", theta),
    "reset": ("", reset),
    "quit": ("", dict),
}


# ---- Lines in, lines out --------------------------------------------------------------------------------------------


def reply(status, fields):
    escaped = {key: re.sub("[%\t\n\r]", lambda c: f"%{ord(c[0]):02X}", str(value)) for key, value in fields.items()}
    line = "\t".join([status, *(f"{key}={value}" for key, value in escaped.items())])
    sys.stdout.buffer.write(line.encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()


def answer(command, words):
    try:
        if command not in COMMANDS:
            raise Refusal(f"unknown command {command!r}")
        takes, function = COMMANDS[command]
        if len(words) != len(takes.split()):
            raise Refusal(f"{len(words)} words after {command}: the command is {f'{command} {takes}'.strip()!r}")
        fields = function(*words)
    except Refusal as refusal:
        reply("error", {"message": refusal, "kind": refusal.kind})
    except Exception as error:  # anything else: memory, a disk, a mistake here; the process goes on
        reply("error", {"message": f"{type(error).__name__}: {error}"})
    else:
        reply("ok", fields)


def main():
    global name, workdir
    if len(sys.argv) != 3:
        sys.exit("usage: worker.py NAME WORKDIR")
    name, workdir = sys.argv[1:]
    for line in sys.stdin.buffer:
        command, *words = line.decode(errors="replace").split() or [""]
        if command:
            answer(command, words)
        if command == "quit" and not words:
            break


main()
