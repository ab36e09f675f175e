"""The worker protocol, version 1: its words, its files and how they are encoded. Spawns and computes nothing.

Both ends are in Python here (`pyfnn.worker`, `pyfnn.process`), but any program may be one; docs/add-a-language.md
tells it in full.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pyfnn.backend import Description
from pyfnn.errors import BackendUnavailable, BuildFailed, Diverged, InvalidInput, ProtocolError, PyfnnError, Unsupported
from pyfnn.network import Network


def error_from(fields: dict[str, str]) -> PyfnnError:
    message = fields.get("message", "an error without a message")
    kind = fields.get("kind")
    if kind == "unavailable":
        return BackendUnavailable(message, fields.get("remedy", ""))
    if kind == "build_failed":
        return BuildFailed(message, fields.get("remedy", ""))
    kinds: dict[str | None, type[PyfnnError]] = {
        "diverged": Diverged,
        "unsupported": Unsupported,
        "invalid": InvalidInput,
    }
    return kinds.get(kind, PyfnnError)(message)


def number_field(fields: dict[str, str], key: str) -> float:
    try:
        return float(fields[key])
    except KeyError:
        raise ProtocolError(f"the reply lacks {key}") from None
    except ValueError:
        raise ProtocolError(f"{key}={fields[key]} is no number") from None


def whole_field(fields: dict[str, str], key: str) -> int:
    value = number_field(fields, key)
    if not value.is_integer() or value < 1:
        raise ProtocolError(f"{key}={fields[key]}: must be a whole number, at least 1")
    return int(value)


def seconds_field(fields: dict[str, str], key: str = "seconds") -> float:
    value = number_field(fields, key)
    if not 0 <= value < math.inf:
        raise ProtocolError(f"{key}={fields[key]}: must be finite and not negative")
    return value


def device_seconds_field(fields: dict[str, str]) -> float | None:
    return seconds_field(fields, "device_seconds") if "device_seconds" in fields else None


VERSION: Final = 1

NETWORK, THETA, X, Y, ORDER = "network.txt", "theta.bin", "x.bin", "y.bin", "order.bin"
OUTPUTS, GRADIENT, THETA_OUT = "outputs.bin", "gradient.bin", "theta_out.bin"
L2, RATES = "l2.bin", "rates.bin"  # float64, one for each member

# What each command takes, `quit` aside.
COMMANDS: Final[Mapping[str, Mapping[str, type]]] = {
    "hello": {},
    "init": {},
    "forward": {"FIRST": int, "COUNT": int},
    "gradient": {"FIRST": int, "COUNT": int},
    "train": {"FIRST": int, "COUNT": int, "BATCH": int, "RATE": float},
    "time": {"forward|gradient": str, "FIRST": int, "COUNT": int, "REPEATS": int},
    "theta": {},
    "reset": {},
    "init_many": {},  # this and the next only where hello says many=yes
    "train_many": {"FIRST": int, "COUNT": int, "BATCH": int},
    "pools": {},  # asked of what Python hosts, and of nobody else: the BLAS and thread pools of its process
}

_ESCAPES = {"%": "%25", "\t": "%09", "\n": "%0A", "\r": "%0D"}


def parse_command(line: str) -> tuple[str, list[Any]]:
    """Name and arguments of a command line.

    Raises
    ------
    ProtocolError
        An unknown command, or arguments that it does not take.
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
    """One reply line, newline included: the status, then TAB-separated key=value fields."""
    words = [status, *(f"{key}={_quote(str(value))}" for key, value in fields.items())]
    return "\t".join(words) + "\n"


def _quote(value: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in value)


def parse_reply(line: str) -> tuple[str, dict[str, str]]:
    """Status ("ok" or "error") and fields of a reply line.

    Raises
    ------
    ProtocolError
        Quoting the line.
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


def describe(description: Description) -> dict[str, str]:
    """The fields of the reply to `hello`."""
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
    }


def parse_description(fields: Mapping[str, str]) -> Description:
    """What a reply to `hello` says; refuses another protocol by its number and a missing field by its name."""
    if fields.get("protocol") != str(VERSION):
        raise ProtocolError(f"protocol {fields.get('protocol', 'unstated')}: this version speaks {VERSION}")
    missing = [key for key in describe(Description("", "", "", "", "")) if key not in fields]
    if missing:
        raise ProtocolError(f"the reply to hello lacks {', '.join(missing)}")
    if fields["arithmetic"] not in ("native", "float64"):
        raise ProtocolError(f"arithmetic={fields['arithmetic']}: must be native or float64")
    if fields["deterministic"] not in ("yes", "no"):
        raise ProtocolError(f"deterministic={fields['deterministic']}: must be yes or no")
    if fields.get("many", "no") not in ("yes", "no"):
        raise ProtocolError(f"many={fields['many']}: must be yes or no")
    return Description.from_fields(fields)


@dataclass(frozen=True)
class Setup:
    """What network.txt says: the network, how much data lies beside it, how many threads may be used.

    members: how many networks there are, each with a row of theta.bin, order.bin and l2.bin; None for a single one.
    """

    network: Network
    rows: int
    order: int
    threads: int
    members: int | None = None


def format_setup(setup: Setup) -> str:
    """The text of network.txt: a key and its values a line."""
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
    """What a network.txt says.

    Raises
    ------
    ProtocolError
        Naming the missing or malformed key.
    """
    lines = {words[0]: words[1:] for words in (line.split() for line in text.splitlines()) if words}
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
    """The text of a file in WORKDIR."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path.name}: {getattr(error, 'strerror', None) or error}") from None


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Raw, little-endian, C order."""
    path.write_bytes(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())


def read_array(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """The array in a file, checked against the size its shape asks for."""
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProtocolError(f"{path.name}: {error.strerror}") from None
    if len(data) != wanted:
        raise ProtocolError(f"{path.name} has {len(data)} bytes: {shape} of {dtype} takes {wanted}")
    little = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
    return little.astype(dtype, copy=True).reshape(shape)
