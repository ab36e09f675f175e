"""Claims about the manifest, and about how a process starts, introduces itself and ends."""

import shutil
import tempfile
from pathlib import Path

import psutil

from bench.check.kit import Candidate, Failed, Skipped, Topic
from pyfnn import activations, losses, programs
from pyfnn.errors import ProtocolError
from pyfnn.manifest import Row
from pyfnn.process import protocol

MANIFEST = Topic("manifest", "The manifest")
STARTING = Topic("start and end", "A program")

_FUSED = tuple(losses.FUSED)  # which hello may list, or not
_BUSY = 0.1  # of a busy second is CPU time of the process itself, at least: others may want that CPU too


# The manifest ---------------------------------------------------------------------------------------------------------


@MANIFEST.claim(
    "the manifest says how to get what it needs",
    'add remedy = "…": what a user without the toolchain should do; with a build line also probe = "… --version"',
)
def _remedy(subject: Candidate) -> None:
    row = subject.row
    if row.host is not None:
        raise Skipped("Python hosts it; the class says what it lacks")
    if not row.remedy.strip():
        raise Failed("no remedy")
    if row.build is not None and row.probe is None:
        raise Failed(
            "a build line without a probe", "the compiler's version, so that a new compiler has the program built anew"
        )


@MANIFEST.claim(
    "every pattern of sources names a file",
    "mend the pattern: it is relative to the manifest's folder",
)
def _sources(subject: Candidate) -> str:
    row = subject.row
    if not row.sources:
        raise Skipped("it names none: its lines are not counted")
    lost = [pattern for pattern in row.sources if not _files(row, pattern)]
    if lost:
        raise Failed(f"no file matches {', '.join(map(repr, lost))} in {row.folder}")
    return ", ".join(path.name for path in row.source_files())


def _files(row: Row, pattern: str) -> list[Path]:
    return row.model_copy(update={"sources": (pattern,)}).source_files()


@MANIFEST.claim(
    "it builds from a folder that cannot be written to, and leaves that as it was",
    "build in {build}, the current folder of the build line; have the tool put what it makes there, caches included",
)
def _builds_elsewhere(subject: Candidate) -> None:
    row = subject.row
    if row.build is None:
        raise Skipped("nothing is built")
    with tempfile.TemporaryDirectory(prefix="pyfnn-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch, "folder")
        shutil.copytree(row.folder, folder, symlinks=True)
        before = _contents(folder)
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            path.chmod(0o555)
        try:
            line = f"{row.build}\n# {scratch}"  # a comment, which makes it another program: nothing built before serves
            built = programs.build(row.model_copy(update={"manifest": folder / row.manifest.name, "build": line}))
            shutil.rmtree(built.folder, ignore_errors=True)
            after = _contents(folder)
        finally:
            for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                path.chmod(0o755)
    _unchanged(before, after, "building")


@MANIFEST.claim(
    "its folder is as it was after running",
    "write nothing beside the program: a file that comes or goes there has it built again at every run",
)
def _runs_elsewhere(subject: Candidate) -> None:
    if subject.row.host is not None:
        raise Skipped("Python hosts it")
    before = _contents(subject.row.folder)
    subject.drop()
    subject.load(subject.exercise()).forward(0, 1)
    subject.drop()
    _unchanged(before, _contents(subject.row.folder), "running")


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _unchanged(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], what: str) -> None:
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise Failed(f"{what} made, changed or removed {', '.join(changed[:5])}")


@MANIFEST.claim("hello's name is the manifest's", "answer name= with the name in the manifest: tables have one name")
def _name(subject: Candidate) -> None:
    if subject.said.name != subject.row.name:
        raise Failed(f"hello says {subject.said.name!r}, the manifest {subject.row.name!r}")


@MANIFEST.claim("hello's language is the manifest's", "write the language the same way in both places")
def _language(subject: Candidate) -> None:
    if subject.said.language != subject.row.language:
        raise Failed(f"hello says {subject.said.language!r}, the manifest {subject.row.language!r}")


@MANIFEST.claim(
    "the process that was started does the work itself",
    "let a wrapper script exec the real program; CPU time and signals are those of the process that was started",
)
def _execs(subject: Candidate) -> str:
    if subject.row.device != "cpu":
        raise Skipped("a device does the work")
    model = subject.load(subject.exercise((24, 48, 24)))
    repeats = 1
    while model.time("gradient", 0, 20, repeats) < 0.05 and model.call_wall_seconds < 0.2:
        repeats *= 2
    share = 0.0
    for _ in range(3):
        model.time("gradient", 0, 20, repeats)
        share = max(share, model.call_cpu_seconds / model.call_wall_seconds)
    if share < _BUSY:
        children = len(psutil.Process(subject.worker.pid).children(recursive=True))
        raise Failed(
            f"busy for {model.call_wall_seconds:.2g} s, it used {model.call_cpu_seconds:.2g} s of CPU itself; "
            f"it has {children} child processes"
        )
    return f"{share:.0%} of the time on the CPU"


# Start and end --------------------------------------------------------------------------------------------------------


@STARTING.claim(
    "stdout carries one reply a command, and nothing else",
    "print nothing but replies, flush each; send what a library prints to stderr",
)
def _only_replies(subject: Candidate) -> None:
    talk = subject.talk("hello", "hello")
    if talk.lines[2:] not in ((), ("ok",)) or len(talk.lines) < 2:  # the end of input may be answered as quit is
        raise Failed(f"{len(talk.lines)} lines to two commands: {_quoted(talk.lines)}")
    if talk.lines[0] != talk.lines[1]:
        raise Failed("two replies to hello that differ", "the same words each time")


@STARTING.claim("hello's fields are filled in", "say what a reader would quote: compiler, version, clock")
def _filled_in(subject: Candidate) -> str:
    said = subject.said
    empty = [key for key in ("language", "compiler", "clock") if not getattr(said, key).strip()]
    if empty:
        raise Failed(f"nothing after {', '.join(f'{key}=' for key in empty)}")
    return f"{said.compiler}; {said.clock}"


@STARTING.claim(
    "activations and losses are names that pyfnn knows",
    "separate them by commas alone, without spaces and parameters: leaky_relu, not leaky_relu(0.01)",
)
def _known_names(subject: Candidate) -> str:
    said = subject.said
    strange = [name for name in said.activations if name not in activations.TABLE and name not in _FUSED]
    strange += [name for name in said.losses if name not in losses.TABLE]
    if strange:
        known = ", ".join([*activations.TABLE, *losses.TABLE])
        raise Failed(f"{', '.join(map(repr, strange))}", f"of {known}")
    return ", ".join(said.activations)


@STARTING.claim("a blank line is no command, and no harm", "skip lines without words, or answer them with an error")
def _blank_line(subject: Candidate) -> None:
    talk = subject.talk("", "hello", "quit")
    good = [line for line in talk.lines if "\tprotocol=" in line]
    if not good or talk.status != 0:
        raise Failed(f"after it, to hello and quit: {_quoted(talk.lines)}, {_end(talk.status)}")


@STARTING.claim("quit is answered ok and ends with status 0", "answer ok, flush, and exit with status 0")
def _quit(subject: Candidate) -> None:
    talk = subject.talk("hello", "quit")
    if talk.lines[1:] != ("ok",) or talk.status != 0:
        raise Failed(f"{_quoted(talk.lines[1:])}, {_end(talk.status)}", "ok, exit status 0")


@STARTING.claim("the end of input ends it with status 0", "take the end of stdin for quit; exit with status 0")
def _end_of_input(subject: Candidate) -> None:
    status = subject.talk("hello", "hello").status
    if status != 0:
        raise Failed(_end(status), "exit status 0")


# Errors in general: here since they take a process that has seen no init.

_BEFORE_INIT = ("forward 0 1", "gradient 0 1", "train 0 1 1 0.1", "time forward 0 1 1", "time gradient 0 1 1")
_EARLY = (*_BEFORE_INIT, "theta", "reset")


@STARTING.claim(
    "a command before init is answered with an error",
    "keep whether there is a model, and answer an error where there is none",
    "What to refuse",
)
def _before_init(subject: Candidate) -> None:
    lines = subject.talk("hello", *_EARLY, "frobnicate%41", "quit").lines[1:]
    for command, line in zip(_EARLY, lines, strict=False):
        if not line.startswith("error"):
            raise Failed(f"to '{command}': {_quoted([line])}")
    if len(lines) < len(_EARLY):
        raise Failed(f"no answer to '{_EARLY[len(lines)]}'")


@STARTING.claim(
    "every error has a message, encoded as values are",
    "answer error, TAB, message= with what is wrong; in it % is %25, TAB %09, newline %0A",
)
def _messages(subject: Candidate) -> str:
    lines = subject.talk("hello", *_EARLY, "frobnicate%41", "quit").lines[1 : len(_EARLY) + 2]
    message = ""
    for line in lines:
        try:
            status, fields = protocol.parse_reply(line)
        except ProtocolError as error:
            raise Failed(str(error)) from None
        message = fields.get("message", "")
        if status == "error" and not message.strip():
            raise Failed(f"{_quoted([line])}", "message=…")
        if "frobnicateA" in message:
            raise Failed("a % that is not written %25", mend="write every % of a value as %25")
    if len(lines) <= len(_EARLY):
        raise Failed("no answer to 'frobnicate%41'")
    return f"for instance: {message}"


def _quoted(lines: "tuple[str, ...] | list[str]") -> str:
    return " | ".join(repr(line[:80]) for line in lines[:5]) or "nothing"


def _end(status: int | None) -> str:
    return "still there when time was up" if status is None else f"exit status {status}"
