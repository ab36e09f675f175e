"""Claims about bad commands: each is refused, the process lives on, and nothing has changed."""

from bench.check.kit import Candidate, Failed, Topic, refused, same_bits
from pyfnn.errors import PyfnnError, WorkerError

COMMANDS = Topic("commands", "What to refuse")

_CHECK = "check the words of a command before anything else; answer error with a message"
_WANTED = "an error to each"
_HUGE = 2**63 - 1  # FIRST + COUNT overflows


def _loaded(subject: Candidate) -> None:
    subject.load(subject.exercise())


@COMMANDS.claim("an unknown command is answered with an error", "answer error to what you do not know; go on")
def _unknown(subject: Candidate) -> None:
    _loaded(subject)
    refused(subject, ("frobnicate", "Theta", "initialize", "forwards 0 1"), _WANTED)


@COMMANDS.claim("too few words are answered with an error", _CHECK)
def _too_few(subject: Candidate) -> None:
    _loaded(subject)
    lines = ("forward", "forward 0", "gradient 0", "train 0 8 4", "train", "time", "time forward", "time gradient 0 4")
    refused(subject, lines, _WANTED)


@COMMANDS.claim("too many words are answered with an error", _CHECK)
def _too_many(subject: Candidate) -> None:
    _loaded(subject)
    refused(subject, ("forward 0 1 1", "gradient 0 1 1", "train 0 8 4 0.1 9", "time forward 0 4 1 1"), _WANTED)


@COMMANDS.claim(
    "words that are no numbers are answered with an error", f"{_CHECK}; a number is the whole word, not its start"
)
def _no_numbers(subject: Candidate) -> None:
    _loaded(subject)
    lines = (
        "forward a 1",
        "forward 0 1.5",
        "gradient 0 4x",
        "train 0 8 4 fast",
        "train 0 8 4 0.1x",
        "time forward 0 4 many",
    )
    refused(subject, lines, _WANTED)


@COMMANDS.claim(
    "rows that there are not are refused", "hold 0 ≤ FIRST, 1 ≤ COUNT and COUNT ≤ rows − FIRST: the sum may overflow"
)
def _rows(subject: Candidate) -> None:
    _loaded(subject)
    ranges = ("-1 4", "0 41", "40 1", "39 2", f"1 {_HUGE}", f"{_HUGE} 1", "0 99999999999999999999999")
    commands = (
        f"{word} {rows}{more}"
        for rows in ranges
        for word, more in (("forward", ""), ("gradient", ""), ("time forward", " 1"), ("time gradient", " 1"))
    )
    refused(subject, commands, "FIRST and COUNT within the 40 rows")


@COMMANDS.claim("entries of order that there are not are refused", "likewise, with the entries of order")
def _entries(subject: Candidate) -> None:
    _loaded(subject)
    ranges = ("-1 4", "0 121", "120 1", "119 2", f"1 {_HUGE}", f"{_HUGE} 1")
    refused(subject, (f"train {entries} 4 0.001" for entries in ranges), "FIRST and COUNT within the 120 entries")


@COMMANDS.claim("a count, batch or number of repeats below 1 is refused", "hold each to be at least 1")
def _below_one(subject: Candidate) -> None:
    _loaded(subject)
    commands = (
        "forward 0 0", "forward 0 -1", "gradient 0 0", "gradient 4 -4", "train 0 0 4 0.1", "train 0 -8 4 0.1",
        "train 0 8 0 0.1", "train 0 8 -4 0.1", "time forward 0 0 1", "time forward 0 4 0", "time gradient 0 4 -1",
    )  # fmt: skip
    refused(subject, commands, _WANTED)


@COMMANDS.claim(
    "a rate that is not finite and above 0 is refused", "hold 0 < RATE < infinity, written so that NaN fails"
)
def _rates(subject: Candidate) -> None:
    _loaded(subject)
    refused(subject, (f"train 0 8 4 {rate}" for rate in ("nan", "0", "0.0", "-0.1", "inf", "-inf")), _WANTED)


@COMMANDS.claim("what cannot be timed is refused", "time takes forward or gradient")
def _untimed(subject: Candidate) -> None:
    _loaded(subject)
    refused(subject, ("time train 0 4 1", "time backward 0 4 1", "time 0 4 1"), _WANTED)


@COMMANDS.claim(
    "a very long line is answered with an error",
    "read lines of any length, or refuse one to its end",
)
def _long_line(subject: Candidate) -> None:
    _loaded(subject)
    refused(subject, ("forward 0 " + "1" * 10_000, "frobnicate " + "x " * 5_000, "y" * 20_000), _WANTED)


@COMMANDS.claim("a line that ends with CR and LF does no harm", "take it or refuse it")
def _carriage_return(subject: Candidate) -> None:
    _loaded(subject)
    try:
        subject.worker.call("theta\r", timeout=subject.patience)
    except WorkerError as error:
        raise Failed(str(error)) from None
    except PyfnnError:
        return


@COMMANDS.claim("refused commands change nothing", "check everything first, then compute")
def _nothing_changed(subject: Candidate) -> None:
    task = subject.exercise()
    model = subject.load(task)
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
            subject.worker.call(line, timeout=subject.patience)
        except WorkerError:
            raise
        except PyfnnError:
            continue
    if not same_bits(model.theta(), task.theta):
        raise Failed("after them theta is no longer that of theta.bin")
    if not same_bits(model.forward(0, 40), outputs):
        raise Failed("after them the outputs of the same rows are others")
