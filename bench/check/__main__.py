"""The command: python -m bench.check PATH/backend.toml. Tries every claim on every row, and tells."""

import argparse
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Column, Table

from bench.check.commands import COMMANDS
from bench.check.determinism import REPEATING
from bench.check.ensembles import MANY
from bench.check.files import FILES
from bench.check.kit import Candidate, Claim, Outcome, examine
from bench.check.lifecycle import MANIFEST, STARTING
from bench.check.mathematics import MATHEMATICS
from bench.check.timing import TIMING
from pyfnn import registry
from pyfnn.errors import BackendUnavailable, BuildFailed, InvalidInput, PyfnnError
from pyfnn.manifest import Row

TOPICS = (MANIFEST, STARTING, COMMANDS, FILES, MATHEMATICS, REPEATING, TIMING, MANY)
DOCUMENT = "docs/add-a-language.md"
FAILURES, USAGE_ERROR, INTERRUPTED = 1, 2, 130
_HEAD = len("skipped")
_STYLES = {"pass": "green", "FAIL": "bold red", "skipped": "yellow"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m bench.check",
        description=f"Try every claim of {DOCUMENT} on implementations, and say what to mend.",
        epilog="Exit status: 0 where no claim failed, 1 where any did or a backend cannot run, 2 for bad arguments.",
    )
    p.add_argument("manifest", nargs="*", type=Path, metavar="PATH", help="a backend.toml; each of its rows is checked")
    p.add_argument("--backends", metavar="LIST", help="instead of all rows of PATH; built-in ones too")
    p.add_argument("--topics", metavar="LIST", help=f"of {', '.join(topic.name for topic in TOPICS)}")
    p.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="for one reply (30)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    return p


def chosen_rows(arguments: argparse.Namespace) -> list[Row]:
    """The rows named; else all of the manifests given."""
    table = registry.rows(arguments.manifest)
    own = {path.resolve() for path in arguments.manifest}
    given = [row for row in table.values() if row.manifest.resolve() in own]
    if arguments.backends is None:
        if not given:
            raise InvalidInput("nothing to check: name a backend.toml with rows in it, or --backends")
        return given
    names = [name.strip() for name in arguments.backends.split(",") if name.strip()]
    if not names:
        raise InvalidInput(f"--backends {arguments.backends!r}: names nothing")
    return [registry.find(name, arguments.manifest) for name in dict.fromkeys(names)]


def chosen_claims(arguments: argparse.Namespace) -> list[Claim]:
    """Those of the topics named; else all."""
    if arguments.topics is None:
        return [claim for topic in TOPICS for claim in topic.claims]
    table = {topic.name: topic for topic in TOPICS}
    names = [name.strip() for name in arguments.topics.split(",")]
    unknown = [name for name in names if name not in table]
    if unknown:
        raise InvalidInput(f"unknown topic {unknown[0]!r}; known: {', '.join(table)}")
    return [claim for name in names for claim in table[name].claims]


def check(row: Row, claims: Sequence[Claim], timeout: float, console: Console) -> list[Outcome]:
    """Try these claims on one row, telling each as it is known."""
    begin = time.perf_counter()
    console.print(f"\n[bold]{escape(row.name)}[/] ({escape(row.language)}, {row.division})", highlight=False)
    try:
        subject = Candidate(row, timeout)
    except PyfnnError as error:
        outcomes = [_not_started(error)]
        _tell(outcomes[0], console)
        return outcomes
    outcomes, topic = [], ""
    with subject:
        for outcome in examine(subject, claims):
            if outcome.topic != topic:
                topic = outcome.topic
                console.print(f"  [bold]{escape(topic)}[/]", highlight=False)
            _tell(outcome, console)
            outcomes.append(outcome)
    counts = Counter(outcome.result for outcome in outcomes)
    seconds = time.perf_counter() - begin
    total = f"{counts['pass']} passed, {counts['FAIL']} failed, {counts['skipped']} skipped"
    console.print(f"[bold]{escape(row.name)}: {total}[/] in {seconds:.0f} s", highlight=False)
    return outcomes


def _not_started(error: PyfnnError) -> Outcome:
    """Where there is nothing to be tried: not built, not there, or no answer to hello."""
    if isinstance(error, BuildFailed):
        return Outcome("", "it builds", "FAIL", seen=error.reason, mend=error.remedy, section="The manifest")
    if isinstance(error, BackendUnavailable):
        seen = f"unavailable: {error.reason}"
        return Outcome("", "it can run here", "FAIL", seen=seen, mend=error.remedy, section="The manifest")
    return Outcome(
        "",
        "it starts and answers hello",
        "FAIL",
        seen=str(error),
        wanted="within the time for one reply: ok, then protocol=1 and the other fields, separated by TABs",
        mend="run its command line with a folder behind it, type hello, and look; all else comes after that",
        section="A program",
    )


def _tell(outcome: Outcome, console: Console) -> None:
    note = f"  [dim]({escape(outcome.note)})[/]" if outcome.note else ""
    _line(console, f"[{_STYLES[outcome.result]}]{outcome.result}[/]", f"{escape(outcome.claim)}{note}")
    if outcome.result != "FAIL":
        return
    section = f'{DOCUMENT}, "{outcome.section}"'
    told = {"seen": outcome.seen, "wanted": outcome.wanted, "to mend": outcome.mend, "see": section}
    for key, text in told.items():
        if text:
            _line(console, "", f"[bold]{key}:[/] {escape(text)}")


def _line(console: Console, head: str, text: str) -> None:
    """What is too long for a line goes on below itself."""
    grid = Table.grid(Column(width=_HEAD), Column(overflow="fold"), padding=(0, 1, 0, 0))
    grid.add_row(head, text)
    console.print(Padding(grid, (0, 0, 0, 4)), highlight=False)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Everything the command does, but for turning errors into exit statuses."""
    if not 0 < arguments.timeout < float("inf"):
        raise InvalidInput(f"--timeout {arguments.timeout}: must be a finite number above 0")
    claims = chosen_claims(arguments)
    outcomes = {row.name: check(row, claims, arguments.timeout, console) for row in chosen_rows(arguments)}
    if arguments.json:
        told = {name: [asdict(outcome) for outcome in those] for name, those in outcomes.items()}
        arguments.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    failed = any(outcome.result == "FAIL" for those in outcomes.values() for outcome in those)
    return FAILURES if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Exit status 0; 1 where a claim failed; 2 for bad arguments; 130 after Ctrl-C."""
    arguments = parser().parse_args(argv)
    errors = Console(stderr=True)
    try:
        return run(arguments, Console())
    except PyfnnError as error:
        errors.print(f"pyfnn: {error}", markup=False, highlight=False, soft_wrap=True)
        return USAGE_ERROR
    except OSError as error:
        errors.print(f"pyfnn: {error}", markup=False, highlight=False, soft_wrap=True)
        return FAILURES
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
