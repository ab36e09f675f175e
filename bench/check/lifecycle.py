"""Claims about the manifest, and about a process: its start, its answer to hello, its errors and its end."""

import shutil
from dataclasses import replace
from pathlib import Path

from bench.check.kit import Candidate, Failed, Skipped, Topic
from pyfnn import activations, losses, programs
from pyfnn.errors import ProtocolError
from pyfnn.manifest import Row
from pyfnn.process import protocol
from pyfnn.scratch import Scratch

MANIFEST = Topic("manifest", "The manifest")
LIFECYCLE = Topic("start and end", "A program")

_FUSED = tuple(losses.FUSED)  # output activations that hello may list, but need not
_BUSY = 0.1  # least share of CPU time in the time of a call; low, because other processes may share the CPU
_BEFORE_INIT = ("forward 0 1", "gradient 0 1", "train 0 1 1 0.1", "time forward 0 1 1 1", "time gradient 0 1 1 1")
_EARLY = (*_BEFORE_INIT, "theta", "reset")


# The manifest ---------------------------------------------------------------------------------------------------------


@MANIFEST.claim(
    "the manifest says how to get the toolchain",
    'add remedy = "…" with the steps for a user without the toolchain; beside a build line also probe = "… --version"',
)
def _remedy(candidate: Candidate) -> None:
    row = candidate.row
    if row.host is not None:
        raise Skipped("Python hosts it; its class raises BackendUnavailable with the remedy")
    if not row.remedy.strip():
        raise Failed("no remedy")
    if row.build is not None and row.probe is None:
        raise Failed(
            "a build line without a probe", "a probe of the compiler's version, so that a new compiler causes a rebuild"
        )


@MANIFEST.claim(
    "every pattern of sources names a file",
    "correct the pattern: it is relative to the manifest's folder",
)
def _sources(candidate: Candidate) -> str:
    row = candidate.row
    if not row.sources:
        raise Skipped("the manifest has no sources: their lines are not counted")
    lost = [pattern for pattern in row.sources if not _files(row, pattern)]
    if lost:
        raise Failed(f"no file matches {', '.join(map(repr, lost))} in {row.folder}")
    return ", ".join(path.name for path in row.source_files())


def _files(row: Row, pattern: str) -> list[Path]:
    return replace(row, sources=(pattern,)).source_files()


@MANIFEST.claim(
    "it builds from a read-only folder, and leaves the folder unchanged",
    "build in {build}, the current folder of the build line; let the tool write all its output there, caches included",
)
def _builds_elsewhere(candidate: Candidate) -> None:
    row = candidate.row
    if row.build is None:
        raise Skipped("nothing is built")
    with Scratch() as scratch:
        folder = scratch.path / "folder"
        shutil.copytree(row.folder, folder, symlinks=True)
        before = _contents(folder)
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
            path.chmod(0o555)
        try:
            line = f"{row.build}\n# {scratch.path}"  # the comment changes the cache key: the program is built again
            built = programs.build(replace(row, manifest=folder / row.manifest.name, build=line))
            shutil.rmtree(built.folder, ignore_errors=True)
            after = _contents(folder)
        finally:
            for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                path.chmod(0o755)
    _unchanged(before, after, "building")


@MANIFEST.claim(
    "its folder is unchanged after running",
    "write nothing beside the program: a file that comes or goes there causes a rebuild at every run",
)
def _runs_elsewhere(candidate: Candidate) -> None:
    if candidate.row.host is not None:
        raise Skipped("Python hosts it")
    before = _contents(candidate.row.folder)
    with candidate.start() as worker:
        candidate.load(candidate.exercise(), worker).forward(0, 1)
    _unchanged(before, _contents(candidate.row.folder), "running")


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Return (size in bytes, modification time in ns) of each file, by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _unchanged(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], what: str) -> None:
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise Failed(f"{what} made, changed or removed {', '.join(changed[:5])}")


@MANIFEST.claim("hello's name is the manifest's", "answer name= with the name in the manifest")
def _name(candidate: Candidate) -> None:
    if candidate.description.name != candidate.row.name:
        raise Failed(f"hello says {candidate.description.name!r}, the manifest {candidate.row.name!r}")


@MANIFEST.claim("hello's language is the manifest's", "write the language the same way in both places")
def _language(candidate: Candidate) -> None:
    if candidate.description.language != candidate.row.language:
        raise Failed(f"hello says {candidate.description.language!r}, the manifest {candidate.row.language!r}")


@MANIFEST.claim(
    "the started process or its descendants do the work",
    "do the work in processes that the started process starts: the harness reads the CPU time of these alone",
)
def _works(candidate: Candidate) -> str:
    if candidate.row.device != "cpu":
        raise Skipped("a device does the work")
    model = candidate.load(candidate.exercise((24, 48, 24)))
    model.accounts = True
    repeats = 1
    while min(model.time("gradient", 0, 20, repeats) for _ in range(2)) < 0.05 and model.call_wall_seconds < 0.2:
        repeats *= 2  # the lesser of two: a pause makes a call long
    share = 0.0
    for _ in range(3):
        model.time("gradient", 0, 20, repeats)
        share = max(share, model.call_cpu_seconds / model.call_wall_seconds)
    if share < _BUSY:
        raise Failed(
            f"a call of {model.call_wall_seconds:.2g} s took {model.call_cpu_seconds:.2g} s of CPU time in "
            f"{len(candidate.worker.tree.processes())} processes"
        )
    return f"{share:.0%} of the time on the CPU"


# Start and end --------------------------------------------------------------------------------------------------------


@LIFECYCLE.claim(
    "stdout carries one reply a command, and nothing else",
    "print nothing but replies, flush each; send what a library prints to stderr",
    of_protocol=True,
)
def _only_replies(candidate: Candidate) -> None:
    transcript = candidate.transcript("hello", "hello")
    at_the_end = transcript.lines[2:]  # the end of input may be answered like quit
    if at_the_end not in ((), ("ok",)) or len(transcript.lines) < 2:
        raise Failed(f"{len(transcript.lines)} lines to two commands: {_quoted(transcript.lines)}")
    if transcript.lines[0] != transcript.lines[1]:
        raise Failed("two replies to hello that differ", "the same words each time")


@LIFECYCLE.claim("hello's fields are filled in", "answer the compiler with its version, and the name of the clock")
def _filled_in(candidate: Candidate) -> str:
    hello = candidate.description
    empty = [key for key in ("language", "compiler", "clock") if not getattr(hello, key).strip()]
    if empty:
        raise Failed(f"nothing after {', '.join(f'{key}=' for key in empty)}")
    return f"{hello.compiler}; {hello.clock}"


@LIFECYCLE.claim(
    "activations and losses are names that pyfnn knows",
    "separate them by commas alone, without spaces and parameters: leaky_relu, not leaky_relu(0.01)",
)
def _known_names(candidate: Candidate) -> str:
    hello = candidate.description
    unknown = [name for name in hello.activations if name not in activations.TABLE and name not in _FUSED]
    unknown += [name for name in hello.losses if name not in losses.TABLE]
    if unknown:
        known = ", ".join([*activations.TABLE, *losses.TABLE])
        raise Failed(f"{', '.join(map(repr, unknown))}", f"names out of {known}")
    return ", ".join(hello.activations)


@LIFECYCLE.claim(
    "a blank line does no harm", "skip lines without words, or answer them with an error", of_protocol=True
)
def _blank_line(candidate: Candidate) -> None:
    transcript = candidate.transcript("", "hello", "quit")
    good = [line for line in transcript.lines if "\tprotocol=" in line]
    if not good or transcript.status != 0:
        raise Failed(f"after it, in reply to hello and quit: {_quoted(transcript.lines)}, {_end(transcript.status)}")


@LIFECYCLE.claim(
    "a carriage return within a line does not end it",
    "read up to the newline; many languages' own readers of lines end at other characters too",
    of_protocol=True,
)
def _carriage_return(candidate: Candidate) -> None:
    transcript = candidate.transcript("hello", "frobnicate\rhello", "quit")
    if len(transcript.lines) != 3 or transcript.lines[2] != "ok":
        raise Failed(f"to 'hello', 'frobnicate\\rhello' and 'quit': {_quoted(transcript.lines)}", "one reply to each")


@LIFECYCLE.claim(
    "quit is answered ok and ends with status 0", "answer ok, flush, and exit with status 0", of_protocol=True
)
def _quit(candidate: Candidate) -> None:
    transcript = candidate.transcript("hello", "quit")
    if transcript.lines[1:] != ("ok",) or transcript.status != 0:
        raise Failed(f"{_quoted(transcript.lines[1:])}, {_end(transcript.status)}", "ok, exit status 0")


@LIFECYCLE.claim("the end of input ends it with status 0", "treat the end of stdin like quit; exit with status 0")
def _end_of_input(candidate: Candidate) -> None:
    status = candidate.transcript("hello", "hello").status
    if status != 0:
        raise Failed(_end(status), "exit status 0")


# Errors: here rather than in commands.py, because they need a process before its first init --------------------------


@LIFECYCLE.claim(
    "a command before init is answered with an error",
    "remember whether a model is loaded, and answer an error if none is",
    "What to refuse",
    of_protocol=True,
)
def _before_init(candidate: Candidate) -> None:
    lines = candidate.transcript("hello", *_EARLY, "frobnicate%41", "quit").lines[1:]
    for command, line in zip(_EARLY, lines, strict=False):
        if not line.startswith("error"):
            raise Failed(f"in reply to '{command}': {_quoted([line])}")
    if len(lines) < len(_EARLY):
        raise Failed(f"no answer to '{_EARLY[len(lines)]}'")


@LIFECYCLE.claim(
    "every error has a message, encoded as values are",
    "answer error, TAB, message= with the reason; encode % as %25, TAB as %09 and newline as %0A",
    of_protocol=True,
)
def _messages(candidate: Candidate) -> str:
    lines = candidate.transcript("hello", *_EARLY, "frobnicate%41", "quit").lines[1 : len(_EARLY) + 2]
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
            raise Failed("a % that is not written as %25", fix="write every % of a value as %25")
    if len(lines) <= len(_EARLY):
        raise Failed("no answer to 'frobnicate%41'")
    return f"for instance: {message}"


def _quoted(lines: "tuple[str, ...] | list[str]") -> str:
    return " | ".join(repr(line[:80]) for line in lines[:5]) or "nothing"


def _end(status: int | None) -> str:
    return "still running at the time limit" if status is None else f"exit status {status}"
