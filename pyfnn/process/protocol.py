"""The worker protocol, version 1: its commands, its files and their encoding. Starts no process, computes nothing.

`pyfnn.process.worker` is the driver's end and `pyfnn.worker` one possible other end; any program can be the latter.
docs/add-a-language.md is the full specification.
"""

import errno
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pyfnn.backend import Description
from pyfnn.errors import (
    BackendUnavailable,
    BuildFailed,
    Diverged,
    InvalidInput,
    NoRoom,
    ProtocolError,
    PyfnnError,
    Unsupported,
    WorkerError,
)
from pyfnn.network import Network
from pyfnn.regular import open_regular
from pyfnn.texts import cleaned

VERSION: Final = 1

NETWORK, THETA, X, Y, ORDER = "network.txt", "theta.bin", "x.bin", "y.bin", "order.bin"
OUTPUTS, GRADIENT, THETA_OUT = "outputs.bin", "gradient.bin", "theta_out.bin"
PROBES = "probes.bin"
STATE, STATE_OUT = "state.bin", "state_out.bin"  # of an optimizer: (vectors, n_parameters)
L2, RATES = "l2.bin", "rates.bin"  # float64, one per member

# Arguments of each command; `quit`, the only other command, takes none.
COMMANDS: Final[Mapping[str, Mapping[str, type]]] = {
    "hello": {},
    "init": {},
    "forward": {"FIRST": int, "COUNT": int},
    "gradient": {"FIRST": int, "COUNT": int},
    "train": {"FIRST": int, "COUNT": int, "BATCH": int, "RATE": float},
    "time": {"forward|gradient": str, "FIRST": int, "COUNT": int, "REPEATS": int, "PROBES": int},
    "theta": {},
    "reset": {},
    "init_many": {},  # this and train_many: only after a hello with many=yes
    "train_many": {"FIRST": int, "COUNT": int, "BATCH": int},
    "train_with": {"FIRST": int, "COUNT": int, "BATCH": int, "RATE": float, "OPTIMIZER": str},
    "set_optimizer": {"OPTIMIZER": str, "STEPS": int},  # these three: only after a hello with more optimizers than sgd
    "optimizer_state": {},
    "pools": {},  # Python workers only: the BLAS libraries and thread pools of the process
}

_NO_ROOM = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EROFS}
_ESCAPES = {"%": "%25", "\t": "%09", "\n": "%0A", "\r": "%0D"}


def parse_command(line: str) -> tuple[str, list[Any]]:
    """Return name and arguments of a command line.

    Raises
    ------
    ProtocolError
        The command is unknown, or does not take these arguments.
    """
    name, *words = line.split()
    if name not in COMMANDS:
        raise ProtocolError(f"unknown command {name!r}; known: {', '.join(COMMANDS)}, quit")
    try:
        return name, [kind(word) for kind, word in zip(COMMANDS[name].values(), words, strict=True)]
    except ValueError:
        usage = " ".join([name, *COMMANDS[name]])
        raise ProtocolError(f"{line.strip()!r}: the command is {usage!r}") from None


def format_reply(status: str, fields: Mapping[str, Any]) -> str:
    """Return one reply line, newline included: the status, then TAB-separated key=value fields."""
    words = [status, *(f"{key}={_quote(str(value))}" for key, value in fields.items())]
    return "\t".join(words) + "\n"


def _quote(value: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in value)


def parse_reply(line: str) -> tuple[str, dict[str, str]]:
    """Return status ("ok" or "error") and fields of a reply line.

    Raises
    ------
    ProtocolError
        The line is no reply; the message quotes it.
    """
    status, *words = line.rstrip("\r\n").split("\t")
    fields = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ProtocolError(f"a field without '=' in the reply {line[:200]!r}")
        fields[key] = unquote(value)
    if status not in ("ok", "error"):
        raise ProtocolError(f"the reply starts with neither ok nor error: {line[:200]!r}")
    return status, fields


def error_from(fields: Mapping[str, str]) -> PyfnnError:
    """Return the exception that the fields of an error reply describe; its type comes from their ``kind``."""
    message = cleaned(fields.get("message", "an error without a message"))
    remedy, kind = cleaned(fields.get("remedy", "")), fields.get("kind")
    if kind == "unavailable":
        return BackendUnavailable(message, remedy)
    if kind == "build_failed":
        return BuildFailed(message, remedy)
    kinds: dict[str | None, type[PyfnnError]] = {
        "diverged": Diverged,
        "unsupported": Unsupported,
        "invalid": InvalidInput,
    }
    return kinds.get(kind, PyfnnError)(message)


def number_field(fields: Mapping[str, str], key: str) -> float:
    """Return a field of a reply as a number; `ProtocolError` where it is absent or no number."""
    try:
        return float(fields[key])
    except KeyError:
        raise ProtocolError(f"the reply lacks {key}") from None
    except ValueError:
        raise ProtocolError(f"{key}={fields[key]} is no number") from None


def whole_field(fields: Mapping[str, str], key: str) -> int:
    """Return a field of a reply as a whole number of at least 1; `ProtocolError` where it is not."""
    value = number_field(fields, key)
    if not value.is_integer() or value < 1:
        raise ProtocolError(f"{key}={fields[key]}: must be a whole number, at least 1")
    return int(value)


def seconds_field(fields: Mapping[str, str], key: str = "seconds") -> float:
    """Return a field of a reply as seconds; `ProtocolError` where they are negative or not finite."""
    value = number_field(fields, key)
    if not 0 <= value < math.inf:
        raise ProtocolError(f"{key}={fields[key]}: must be finite and not negative")
    return value


def optional_seconds_field(fields: Mapping[str, str], key: str) -> float | None:
    """Return a field of a reply as seconds, as `seconds_field` does; None where the reply has no such field."""
    return seconds_field(fields, key) if key in fields else None


def describe(description: Description) -> dict[str, str]:
    """Return the fields of the reply to `hello`."""
    return {
        "protocol": str(VERSION),
        "name": description.name,
        "language": description.language,
        "compiler": description.compiler,
        "flags": description.flags,
        "activations": ",".join(description.activations),
        "losses": ",".join(description.losses),
        "arithmetic": description.arithmetic,
        "deterministic": "yes" if description.deterministic else "no",
        "clock": description.clock,
        **({"many": "yes"} if description.many else {}),
        **({"optimizers": ",".join(description.optimizers)} if len(description.optimizers) > 1 else {}),
    }


def parse_description(fields: Mapping[str, str]) -> Description:
    """Return the description in a reply to `hello`.

    Raises
    ------
    ProtocolError
        The worker speaks another version, a field is missing, or a value is not allowed; the message names it.
    """
    if fields.get("protocol") != str(VERSION):
        raise ProtocolError(f"protocol {fields.get('protocol', 'unstated')}: this version speaks {VERSION}")
    missing = [key for key in Description.FIELDS if key not in fields]
    if missing:
        raise ProtocolError(f"the reply to hello lacks {', '.join(missing)}")
    if fields["arithmetic"] not in ("native", "float64"):
        raise ProtocolError(f"arithmetic={fields['arithmetic']}: must be native or float64")
    if fields["deterministic"] not in ("yes", "no"):
        raise ProtocolError(f"deterministic={fields['deterministic']}: must be yes or no")
    if fields.get("many", "no") not in ("yes", "no"):
        raise ProtocolError(f"many={fields['many']}: must be yes or no")
    return Description.from_fields({key: cleaned(value) for key, value in fields.items()})


@dataclass(frozen=True)
class Setup:
    """Contents of network.txt.

    Attributes
    ----------
    network : Network
    rows, order : int
        Number of rows of x.bin and y.bin, and of entries of (each row of) order.bin.
    threads : int
        Number of threads that the worker may use.
    members : int or None
        Number of networks, each with a row of theta.bin, order.bin and l2.bin; None for a single network.
    """

    network: Network
    rows: int
    order: int
    threads: int
    members: int | None = None


def format_setup(setup: Setup) -> str:
    """Return the text of network.txt: on each line a key and its values."""
    network = setup.network
    lines = {
        "sizes": " ".join(map(str, network.sizes)),
        "activations": " ".join(f.name for f in network.hidden_activations),
        "output_activation": network.output_activation,
        "loss": network.loss,
        "l2": repr(network.l2),
        "dtype": network.dtype,
        "rows": setup.rows,
        "order": setup.order,
        "threads": setup.threads,
        **({} if setup.members is None else {"members": setup.members}),
    }
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in lines.items())


def parse_setup(text: str) -> Setup:
    """Read the text of a network.txt.

    Raises
    ------
    ProtocolError
        A key is missing or malformed; the message names it.
    """
    lines = {words[0]: words[1:] for words in (line.split() for line in text.split("\n")) if words}
    try:
        network = Network(
            sizes=tuple(int(size) for size in lines["sizes"]),
            activation=tuple(lines["activations"]),
            loss=lines["loss"][0],
            l2=float(lines["l2"][0]),
            output_activation=lines["output_activation"][0],
            dtype=lines["dtype"][0],
        )
        members = int(lines["members"][0]) if "members" in lines else None
        rows, order, threads = (int(lines[key][0]) for key in ("rows", "order", "threads"))
        return Setup(network, rows, order, threads, members)
    except KeyError as error:
        raise ProtocolError(f"{NETWORK} has no line {error}") from None
    except (IndexError, ValueError, LookupError) as error:
        raise ProtocolError(f"{NETWORK}: {error}") from None


def read_text(path: Path) -> str:
    """Read a text file in WORKDIR, every byte of it; `ProtocolError` where that fails."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError as error:
        raise ProtocolError(f"{path.name}: {error.strerror or error}") from None


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as raw bytes, little-endian, in C order; `NoRoom` or `WorkerError` where that fails."""
    try:
        path.write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    except OSError as error:
        raise cannot_write(path.parent, error) from None


def cannot_write(folder: Path, error: OSError) -> WorkerError:
    """Return the exception for a WORKDIR that takes no data; a full or read-only disk is the machine's fault."""
    kind = NoRoom if error.errno in _NO_ROOM else WorkerError
    return kind(f"its WORKDIR {folder} takes no data: {error.strerror}")


def read_array(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Read an array of the given shape and dtype; `ProtocolError` where the file has another size or is no file."""
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        data, size = _read_exactly(path, expected)
    except OSError as error:
        raise ProtocolError(f"{path.name}: {error.strerror}") from None
    if len(data) != expected:
        raise ProtocolError(f"{path.name} has {size} bytes: {shape} of {dtype} takes {expected}")
    little = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    return little.astype(dtype, copy=True).reshape(shape)


def _read_exactly(path: Path, expected: int) -> tuple[bytes, int]:
    """Return the bytes of a file of `expected` bytes, nothing of a file of another size, and its size."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return (file.read(expected) if size == expected else b""), size
