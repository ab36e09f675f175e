"""Claims about invalid commands: each is answered with an error, the process keeps running, its state is unchanged."""

import numpy as np

from bench.check.kit import Candidate, Failed, Topic, refused, same_bits
from pyfnn.errors import PyfnnError, WorkerError
from pyfnn.process import protocol

COMMANDS = Topic("commands", "What to refuse", of_protocol=True)

_CHECK = "check the words of a command before anything else; answer error with a message"
_WANTED = "an error for each"
_HUGE = 2**63 - 1  # FIRST + COUNT overflows


def _loaded(candidate: Candidate) -> None:
    candidate.load(candidate.exercise())
    _write_probes(candidate, 0)


def _write_probes(candidate: Candidate, *probes: int) -> None:
    protocol.write_array(candidate.worker.workdir / protocol.PROBES, np.array(probes, np.int64))


@COMMANDS.claim("an unknown command is answered with an error", "answer error to an unknown command; keep running")
def _unknown(candidate: Candidate) -> None:
    _loaded(candidate)
    refused(candidate, ("frobnicate", "Theta", "initialize", "forwards 0 1"), _WANTED)


@COMMANDS.claim("too few words are answered with an error", _CHECK)
def _too_few(candidate: Candidate) -> None:
    _loaded(candidate)
    lines = (
        "forward",
        "forward 0",
        "gradient 0",
        "train 0 8 4",
        "train",
        "time",
        "time forward",
        "time gradient 0 4 1",
    )
    refused(candidate, lines, _WANTED)


@COMMANDS.claim("too many words are answered with an error", _CHECK)
def _too_many(candidate: Candidate) -> None:
    _loaded(candidate)
    refused(candidate, ("forward 0 1 1", "gradient 0 1 1", "train 0 8 4 0.1 9", "time forward 0 4 1 1 1"), _WANTED)


@COMMANDS.claim(
    "words that are not numbers are answered with an error", f"{_CHECK}; parse the whole word, not only its start"
)
def _no_numbers(candidate: Candidate) -> None:
    _loaded(candidate)
    lines = (
        "forward a 1",
        "forward 0 1.5",
        "gradient 0 4x",
        "train 0 8 4 fast",
        "train 0 8 4 0.1x",
        "train 0 8 4 0x10",
        "train 0 8 4 0x1p-4",
        "time forward 0 4 many 1",
        "time forward 0 4 1 one",
    )
    refused(candidate, lines, _WANTED)


@COMMANDS.claim(
    "rows outside the data are refused",
    "require 0 ≤ FIRST, 1 ≤ COUNT and COUNT ≤ rows − FIRST: the sum FIRST + COUNT may overflow",
)
def _rows(candidate: Candidate) -> None:
    _loaded(candidate)
    ranges = ("-1 4", "0 41", "40 1", "39 2", f"1 {_HUGE}", f"{_HUGE} 1", "0 99999999999999999999999")
    commands = (
        f"{word} {rows}{more}"
        for rows in ranges
        for word, more in (("forward", ""), ("gradient", ""), ("time forward", " 1 1"), ("time gradient", " 1 1"))
    )
    refused(candidate, commands, "FIRST and COUNT within the 40 rows")


@COMMANDS.claim("entries outside order are refused", "require the same of FIRST and COUNT with the entries of order")
def _entries(candidate: Candidate) -> None:
    _loaded(candidate)
    ranges = ("-1 4", "0 121", "120 1", "119 2", f"1 {_HUGE}", f"{_HUGE} 1")
    refused(candidate, (f"train {entries} 4 0.001" for entries in ranges), "FIRST and COUNT within the 120 entries")


@COMMANDS.claim("a count, batch or number of repeats or probes below 1 is refused", "require each to be at least 1")
def _below_one(candidate: Candidate) -> None:
    _loaded(candidate)
    commands = (
        "forward 0 0", "forward 0 -1", "gradient 0 0", "gradient 4 -4", "train 0 0 4 0.1", "train 0 -8 4 0.1",
        "train 0 8 0 0.1", "train 0 8 -4 0.1", "time forward 0 0 1 1", "time forward 0 4 0 1", "time gradient 0 4 -1 1",
        "time forward 0 4 1 0", "time gradient 0 4 1 -1",
    )  # fmt: skip
    refused(candidate, commands, _WANTED)


@COMMANDS.claim(
    "a rate that is not finite and above 0 is refused", "require 0 < RATE < infinity, written so that NaN fails"
)
def _rates(candidate: Candidate) -> None:
    _loaded(candidate)
    refused(candidate, (f"train 0 8 4 {rate}" for rate in ("nan", "0", "0.0", "-0.1", "inf", "-inf")), _WANTED)


@COMMANDS.claim("a time command for another operation is refused", "accept only forward and gradient after time")
def _untimed(candidate: Candidate) -> None:
    _loaded(candidate)
    refused(candidate, ("time train 0 4 1 1", "time backward 0 4 1 1", "time 0 4 1 1"), _WANTED)


@COMMANDS.claim(
    "probes outside the outputs or the gradient are refused",
    "require 0 ≤ probe < COUNT·m_L after forward, 0 ≤ probe < parameters after gradient, for every entry of probes.bin",
)
def _probes(candidate: Candidate) -> None:
    network = candidate.exercise().network
    _loaded(candidate)
    for operation, entries in (("forward", 4 * network.sizes[-1]), ("gradient", network.n_parameters)):
        line = f"time {operation} 0 4 1 2"
        for bad in (-1, entries, 2**62):
            _write_probes(candidate, 0, bad)
            refused(candidate, (line,), f"an error: entry {bad} of {entries}")
        _write_probes(candidate, 0, entries - 1)
        candidate.worker.call(line)


@COMMANDS.claim(
    "a probes.bin that is missing, or not PROBES numbers long, is answered with an error",
    "at each time command read probes.bin anew, after a check that it has 8·PROBES bytes",
)
def _probes_file(candidate: Candidate) -> None:
    _loaded(candidate)
    _write_probes(candidate, 0, 1, 0)
    refused(candidate, ("time forward 0 4 5 2", "time gradient 0 4 5 4", f"time forward 0 4 1 {_HUGE}"), _WANTED)
    candidate.worker.call("time gradient 0 4 1 3")
    (candidate.worker.workdir / protocol.PROBES).unlink()
    refused(candidate, ("time gradient 0 4 1 3",), "an error: probes.bin is missing")


@COMMANDS.claim(
    "a very long line is answered with an error",
    "read lines of any length, or read a long line to its end and refuse it",
)
def _long_line(candidate: Candidate) -> None:
    _loaded(candidate)
    refused(candidate, ("forward 0 " + "1" * 10_000, "frobnicate " + "x " * 5_000, "y" * 20_000), _WANTED)


@COMMANDS.claim("a line that ends with CR and LF does no harm", "accept the line, or answer an error")
def _carriage_return(candidate: Candidate) -> None:
    _loaded(candidate)
    try:
        candidate.worker.call("theta\r", timeout=candidate.patience)
    except WorkerError as error:
        raise Failed(str(error)) from None
    except PyfnnError:
        return


@COMMANDS.claim("refused commands change nothing", "check everything first, then compute")
def _nothing_changed(candidate: Candidate) -> None:
    task = candidate.exercise()
    model = candidate.load(task)
    outputs = model.forward(0, 40)
    for line in (
        "train 0 121 4 0.1",
        "train 0 8 4 nan",
        "train 0 8 0 0.1",
        "frobnicate",
        "gradient 0 41",
        "train 119 2 1 0.1",
    ):
        try:
            candidate.worker.call(line, timeout=candidate.patience)
        except WorkerError:
            raise
        except PyfnnError:
            continue
    if not same_bits(model.theta(), task.theta):
        raise Failed("after refused commands theta differs from theta.bin")
    if not same_bits(model.forward(0, 40), outputs):
        raise Failed("after refused commands the outputs of the same rows differ")
