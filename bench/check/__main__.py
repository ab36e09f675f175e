"""The command: python -m bench.check PATH/backend.toml. Checks every claim on every row and prints the outcomes."""

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

from bench import unexpected
from bench.check.commands import COMMANDS
from bench.check.completeness import COMPLETENESS
from bench.check.determinism import DETERMINISM
from bench.check.ensembles import ENSEMBLES
from bench.check.files import FILES
from bench.check.kit import Candidate, Claim, Outcome, examine
from bench.check.library.claims import LIBRARY
from bench.check.lifecycle import LIFECYCLE, MANIFEST
from bench.check.mathematics import MATHEMATICS
from bench.check.promptness import PROMPTNESS
from bench.check.timing import TIMING
from pyfnn import registry
from pyfnn.errors import BackendUnavailable, BuildFailed, InvalidInput, PyfnnError
from pyfnn.manifest import Row

TOPICS = (
    MANIFEST, LIFECYCLE, COMMANDS, FILES, LIBRARY, MATHEMATICS, DETERMINISM, COMPLETENESS, TIMING, PROMPTNESS,
    ENSEMBLES,
)  # fmt: skip
_TOPICS = {topic.name: topic for topic in TOPICS}
DOCUMENT = "docs/add-a-language.md"
FAILURES, USAGE_ERROR, INTERRUPTED = 1, 2, 130
_HEAD = len("skipped")
_STYLES = {"pass": "green", "FAIL": "bold red", "skipped": "yellow", "pyfnn": "cyan"}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    p = argparse.ArgumentParser(
        prog="python -m bench.check",
        description=f"Check every claim of {DOCUMENT} on implementations, and show how to fix what fails.",
        epilog="Exit status: 0 if no claim failed, 1 if one failed or a backend cannot run, 2 for bad arguments.",
    )
    p.add_argument("manifest", nargs="*", type=Path, metavar="PATH", help="a backend.toml; each of its rows is checked")
    p.add_argument(
        "--backends", metavar="LIST", help="backends to check instead of all rows of PATH; built-in ones too"
    )
    p.add_argument("--topics", metavar="LIST", help=f"topics to check: {', '.join(topic.name for topic in TOPICS)}")
    p.add_argument("--timeout", type=float, default=30.0, metavar="SECONDS", help="time limit of one reply (30)")
    p.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes to this file, too")
    return p


def chosen_rows(arguments: argparse.Namespace) -> list[Row]:
    """Return the rows that --backends names, or else all rows of the given manifests.

    Raises
    ------
    InvalidInput
        Nothing is named, or a name is unknown.
    """
    table = registry.rows(arguments.manifest)
    own = {path.resolve() for path in arguments.manifest}
    given = [row for row in table.values() if row.manifest.resolve() in own]
    if arguments.backends is None:
        if not given:
            raise InvalidInput("nothing to check: name a backend.toml with rows in it, or --backends")
        return given
    names = [name.strip() for name in arguments.backends.split(",") if name.strip()]
    if not names:
        raise InvalidInput(f"--backends {arguments.backends!r}: names no backend")
    return [registry.find(name, arguments.manifest) for name in dict.fromkeys(names)]


def chosen_claims(arguments: argparse.Namespace) -> list[Claim]:
    """Return the claims of the topics that --topics names, or else all claims.

    Raises
    ------
    InvalidInput
        A topic is unknown.
    """
    if arguments.topics is None:
        return [claim for topic in TOPICS for claim in topic.claims]
    names = [name.strip() for name in arguments.topics.split(",")]
    unknown = [name for name in names if name not in _TOPICS]
    if unknown:
        raise InvalidInput(f"unknown topic {unknown[0]!r}; known: {', '.join(_TOPICS)}")
    return [claim for name in names for claim in _TOPICS[name].claims]


def check(row: Row, claims: Sequence[Claim], timeout: float, console: Console) -> list[Outcome]:
    """Check these claims on one row; print each outcome as soon as it is known."""
    begin = time.perf_counter()
    console.print(f"\n[bold]{escape(row.name)}[/] ({escape(row.language)}, {row.division})", highlight=False)
    try:
        candidate = Candidate(row, timeout)
    except PyfnnError as error:
        outcomes = [_not_started(error)]
        _print_outcome(outcomes[0], console)
        return outcomes
    outcomes, topic = [], ""
    with candidate:
        for outcome in examine(candidate, [claim for claim in claims if _TOPICS[claim.topic].applies(row)]):
            if outcome.topic != topic:
                topic = outcome.topic
                console.print(f"  [bold]{escape(topic)}[/]", highlight=False)
            _print_outcome(outcome, console)
            outcomes.append(outcome)
    counts = Counter(outcome.result for outcome in outcomes)
    seconds = time.perf_counter() - begin
    total = f"{counts['pass']} passed, {counts['FAIL']} failed, {counts['skipped']} skipped"
    if counts["pyfnn"]:
        total += f", {counts['pyfnn']} answered by pyfnn"
    console.print(f"[bold]{escape(row.name)}: {total}[/] in {seconds:.0f} s", highlight=False)
    return outcomes


def _not_started(error: PyfnnError) -> Outcome:
    """Return the outcome for a candidate that failed to build, cannot run here or did not answer hello."""
    if isinstance(error, BuildFailed):
        return Outcome("", "it builds", "FAIL", seen=error.reason, fix=error.remedy, section="The manifest")
    if isinstance(error, BackendUnavailable):
        seen = f"unavailable: {error.reason}"
        return Outcome("", "it can run here", "FAIL", seen=seen, fix=error.remedy, section="The manifest")
    return Outcome(
        "",
        "it starts and answers hello",
        "FAIL",
        seen=str(error),
        expected="within the time limit of one reply: ok, then protocol=1 and the other fields, separated by TABs",
        fix="run its command line with a folder as the last argument, type hello, and look at the answer",
        section="A program",
    )


def _print_outcome(outcome: Outcome, console: Console) -> None:
    note = f"  [dim]({escape(outcome.note)})[/]" if outcome.note else ""
    _line(console, f"[{_STYLES[outcome.result]}]{outcome.result}[/]", f"{escape(outcome.claim)}{note}")
    if outcome.result != "FAIL":
        return
    section = f'{DOCUMENT}, "{outcome.section}"'
    details = {"seen": outcome.seen, "expected": outcome.expected, "fix": outcome.fix, "see": section}
    for key, text in details.items():
        if text:
            _line(console, "", f"[bold]{key}:[/] {escape(text)}")


def _line(console: Console, head: str, text: str) -> None:
    """Print a hanging indent: text that is longer than the line continues below itself."""
    grid = Table.grid(Column(width=_HEAD), Column(overflow="fold"), padding=(0, 1, 0, 0))
    grid.add_row(head, text)
    console.print(Padding(grid, (0, 0, 0, 4)), highlight=False)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Run the command; return its exit status, or raise `PyfnnError` or `OSError`."""
    if not 0 < arguments.timeout < float("inf"):
        raise InvalidInput(f"--timeout {arguments.timeout}: must be a finite number above 0")
    claims = chosen_claims(arguments)
    outcomes = {row.name: check(row, claims, arguments.timeout, console) for row in chosen_rows(arguments)}
    if arguments.json:
        found = {name: [asdict(outcome) for outcome in own] for name, own in outcomes.items()}
        arguments.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    failed = any(outcome.result == "FAIL" for own in outcomes.values() for outcome in own)
    return FAILURES if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Return exit status 0; 1 if a claim failed; 2 for bad arguments; 130 after Ctrl-C."""
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
    except Exception as error:  # noqa: BLE001
        line = unexpected.report("pyfnn", sys.argv[1:] if argv is None else argv, error)
        errors.print(line, markup=False, highlight=False, soft_wrap=True)
        return FAILURES
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
