"""Lines and files for fuzzing the worker protocol, drawn from a seed: valid ones, almost valid ones and noise.

No line is blank, quits, or asks a correct worker for minutes of work. Line ends other than a newline stand at the end
of a line only: the readers of several languages end a line at any of them.
"""

import random
import re
from collections.abc import Callable, Mapping

import numpy as np

from bench.check.kit import exercise
from pyfnn.network import Network
from pyfnn.process import protocol

ROWS, ENTRIES, PROBES = 9, 11, 3  # of the data
NETWORK = Network((3, 4, 2), "tanh", "squared_error", l2=0.01)
FILES: Mapping[str, bytes] = {
    **exercise(NETWORK, rows=ROWS, entries=ENTRIES).files(),
    protocol.PROBES: np.arange(PROBES).astype("<i8").tobytes(),
}

_VALID = {
    "FIRST": (b"0", b"1", b"5", b"8"),
    "COUNT": (b"1", b"2", b"4", b"9", b"11"),
    "BATCH": (b"1", b"3", b"64", b"9007199254740992"),
    "RATE": (b"0.01", b"1e-3", b"5e-324", b"1e38", b"1.7976931348623157e308"),
    "forward|gradient": (b"forward", b"gradient"),
    "REPEATS": (b"1", b"2", b"3"),
    "PROBES": (b"%d" % PROBES,),
    "OPTIMIZER": (b"sgd", b"momentum(0.5)", b"nesterov", b"adam(0.9,0.99,1e-8)"),
    "STEPS": (b"0", b"7"),
}
_ODD = (
    b"0", b"-0", b"-1", b"+2", b"007", b"4x", b"0x3", b"1_0", b"1.5", b"1.", b".5", b".", b"-", b"+", b"--1", b"1e1",
    b"1e", b"e5", b"1e400", b"1e-400", b"1d2", b"nan", b"-inf", b"infinity", b"none", b"true", b"1,2", b"(1)",
    b"%d", b"%25", b"%n%s", b"1;2", b"$HOME", b"'1'", b'"', b"\\n", "²".encode(), "٣".encode(), "−1".encode(),
    b"\xff", b"\xc3", b"=", b"a=b",
)  # fmt: skip
_HUGE = (
    b"99999", b"2147483647", b"2147483648", b"4294967297", b"9007199254740993", b"9223372036854775807",
    b"9223372036854775808", b"-9223372036854775808", b"18446744073709551616", b"1" + b"0" * 40, b"1" * 400,
    b"2305843009213693952", b"2305843009213693953",
)  # fmt: skip
_GAPS = (b" ", b" ", b" ", b" ", b" ", b"  ", b"\t", b" \t ", b"\x0b", b"\x0c", "\u00a0".encode())
_NOISE = bytes(set(range(256)) - {0x0A})
_REPEATS = re.compile(rb"(time\s+\w+\s+\S+\s+\S+\s+\S{0,3})\S*")  # at most so many digits of repeats
_DIGITS = re.compile(rb"(\d{3})[\d_]*")
_EXOTIC_GAP = re.compile(rb"[\x1c-\x1f\x80-\xff]")  # that some languages take for a space


class Draws:
    """Random lines and files, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kinds: tuple[Callable[[], bytes], ...] = (
            self._command, self._command, self._almost, self._almost, self._almost, self._mutated, self._mutated,
            self._noise,
        )  # fmt: skip

    def lines(self, count: int) -> list[bytes]:
        """Return so many lines, without their newlines."""
        return [self._line() for _ in range(count)]

    def files(self) -> dict[str, bytes]:
        """Return the files of WORKDIR with some of them altered, cut short or absent."""
        files = dict(FILES)
        for _ in range(self._random.randrange(4)):
            name = self._random.choice((*files, *[protocol.NETWORK] * 6)) if files else ""
            if name not in files:
                continue
            if self._random.random() < 0.1:
                del files[name]
            elif name == protocol.NETWORK and self._random.random() < 0.8:
                files[name] = self._altered_line(files[name])
            else:
                files[name] = self._mutate(files[name], range(256))
        return files

    def _line(self) -> bytes:
        line = self._random.choice(self._kinds)().replace(b"quit", b"quip")
        line = (_DIGITS if _EXOTIC_GAP.search(line) else _REPEATS).sub(rb"\1", line) if b"time" in line else line
        if not re.search(rb"[a-z]", line):
            line += b"x"
        return line + b"\r" if self._random.random() < 0.01 else line

    def _command(self) -> bytes:
        name, parameters = self._random.choice(tuple(protocol.COMMANDS.items()))
        return b" ".join([name.encode(), *(self._random.choice(_VALID[parameter]) for parameter in parameters)])

    def _almost(self) -> bytes:
        """Return a command with odd words, odd gaps, or words too few or too many."""
        pick = self._random.choice
        words = self._command().split(b" ")
        for _ in range(self._random.randrange(1, 3)):
            at = self._random.randrange(len(words) + 1)
            words[at : at + self._random.randrange(2)] = [pick(_ODD if self._random.random() < 0.6 else _HUGE)]
        if self._random.random() < 0.2:
            del words[self._random.randrange(len(words)) :]
        return pick((b"", b"", b"", b" ", b"\t")) + b"".join(word + pick(_GAPS) for word in words)

    def _mutated(self) -> bytes:
        return self._mutate(self._command(), _NOISE)

    def _mutate(self, data: bytes, alphabet: "bytes | range") -> bytes:
        """Replace, insert, remove or repeat some bytes."""
        changed = bytearray(data)
        for _ in range(self._random.randrange(1, 4)):
            at = self._random.randrange(len(changed) + 1)
            end = at + self._random.randrange(1, 9)
            kind = self._random.randrange(4)
            if kind == 0:
                changed[at : at + 1] = [self._random.choice(alphabet)]
            elif kind == 1:
                changed[at:at] = self._random.choices(alphabet, k=end - at)
            elif kind == 2:
                del changed[at:end]
            else:
                changed[at:at] = changed[at:end]
        return bytes(changed)

    def _noise(self) -> bytes:
        length = self._random.randrange(1, 40)
        if self._random.random() < 0.002:
            length = 1 << self._random.randrange(8, 16)
        return bytes(self._random.choices(_NOISE, k=length))

    def _altered_line(self, text: bytes) -> bytes:
        """Return a network.txt with one line removed, repeated, moved, or with an odd word."""
        lines = text.split(b"\n")
        at = self._random.randrange(len(lines))
        kind = self._random.randrange(5)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(self._random.randrange(len(lines)), lines[at])
        else:
            words = lines[at].split(b" ")
            place = self._random.randrange(len(words) + 1)
            odd = self._random.choice((*_ODD, *_HUGE, *_SPELLINGS))
            words[place : place + self._random.randrange(2)] = [odd]
            lines[at] = b" ".join(words)
        return b"\n".join(lines)


_SPELLINGS = (
    b"relu", b"sigmoid", b"softmax", b"leaky_relu(0.1)", b"leaky_relu(", b"leaky_relu()", b"leaky_relu(1e999)",
    b"elu(-1)", b"elu(nan)", b"elu)", b"(", b"()", b"tanh(1)", b"prelu(0.1)", b"maxout(3)", b"maxout(0)",
    b"maxout(1e9)", b"gelu", b"float64", b"float16", b"softmax_cross_entropy", b"sigmoid_cross_entropy",
    b"half_squared_error", b"hinge", b"constructor", b"__proto__", b"__init__", b"members",
)  # fmt: skip
