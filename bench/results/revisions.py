"""Two revisions of the same backends in one run: the change of each backend, from arms that took turns.

A backend at a revision is named ``cpp@1a2b3c4``. Reads results; builds nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

from bench.results.changes import Comparison, Entry
from bench.results.derive import on_clock
from bench.results.schema import BackendResult, Case, Results, Sample
from bench.statistics.runs import Change, interleaved_changes
from pyfnn.errors import PyfnnError
from pyfnn.manifest import split_revision


class _Pair(NamedTuple):
    """A backend of a case at both revisions, as far as the case has it."""

    name: str
    old: BackendResult | None
    new: BackendResult | None

    @property
    def timed(self) -> bool:
        """True where both can be compared."""
        return _is_timed(self.old) and _is_timed(self.new)


def revisions_in(results: Results) -> list[str]:
    """Return the revisions that a run measured, the old one first; empty where it did not measure two.

    A run measures the new ones first.
    """
    names = [backend.name for case in results.cases for backend in case.backends]
    found = list(dict.fromkeys(revision for _, revision in map(split_revision, names) if revision))
    return found[::-1] if len(found) == 2 else []


def compare_revisions(results: Results, margin: float) -> Comparison:
    """Compare the new revision of every backend of a run with the old one.

    Parameters
    ----------
    results : Results
        Of a run of two revisions.
    margin : float
        A change shown to be within 1 ± this share is called the same.

    Raises
    ------
    PyfnnError
        The run did not measure two revisions, or no backend has times in two launches at both.
    """
    revisions = revisions_in(results)
    if not revisions:
        raise PyfnnError("this run did not measure two revisions; name two runs, OLD and NEW")
    pairs = [_pairs(case, *revisions) for case in results.cases]
    found = interleaved_changes([_table(*both) for both in zip(results.cases, pairs, strict=True)], margin)
    entries, lost, only = list[Entry](), list[str](), list[str]()
    for case, own, changes in zip(results.cases, pairs, found, strict=True):
        timed = iter(changes)
        for pair in own:
            change = next(timed) if pair.timed else None
            if change:
                entries.append(_entry(case, pair, change))
                continue
            only.append(f"{case.title}, {_why(pair, revisions)}")
            if _is_timed(pair.old) and not _is_timed(pair.new):
                lost.append(f"{pair.name} on {case.title}")
    if not entries and not lost:
        why = only[0] if only else "no backend"
        raise PyfnnError(f"nothing was timed in two launches at both revisions: {why}; a greater --budget may help")
    return Comparison(
        old_runs=1,
        new_runs=1,
        margin=margin,
        judged=True,
        entries=entries,
        revisions=revisions,
        forced=results.differences,
        only=only,
        lost=lost,
    )


def _pairs(case: Case, old: str, new: str) -> list[_Pair]:
    firsts = {b.name: b for b in case.backends if b.instance == b.name}
    names = dict.fromkeys(split_revision(name)[0] for name in firsts)
    return [_Pair(name, firsts.get(f"{name}@{old}"), firsts.get(f"{name}@{new}")) for name in names]


def _is_timed(backend: BackendResult | None) -> bool:
    return backend is not None and backend.status == "ok" and bool(backend.samples)


def _table(case: Case, pairs: Sequence[_Pair]) -> tuple[dict[str, list[Sample]], list[tuple[str, str]], bool]:
    """Return the arms of a case, the pairs to judge, and whether the samples chose the number of launches."""
    arms = {b.name: on_clock(b.samples, case.clock) for pair in pairs if pair.timed for b in pair[1:] if b}
    judged = [(pair.old.name, pair.new.name) for pair in pairs if pair.timed and pair.old and pair.new]
    return arms, judged, case.launches_chosen


def _entry(case: Case, pair: _Pair, change: Change) -> Entry:
    return Entry(
        case=case.title,
        backend=pair.name,
        reference="",
        old=[],
        change=change.change,
        verdict=change.verdict,
        old_step=pair.old.step_seconds if pair.old else None,
        new_step=pair.new.step_seconds if pair.new else None,
    )


def _why(pair: _Pair, revisions: Sequence[str]) -> str:
    """Return why a backend is not compared."""
    missing = [
        f"at {revision}: {f'{b.status}, {b.reason}' if b else 'not there'}"
        for revision, b in zip(revisions, (pair.old, pair.new), strict=True)
        if not _is_timed(b)
    ]
    return f"{pair.name} {'; '.join(missing) or 'fewer than two launches in common'}"
