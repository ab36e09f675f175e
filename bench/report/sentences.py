"""Sentences on what a run shows, made from its results: each is true of the data, or says that they are undecided.

Verdicts and ratios are those of the results; nothing is computed here. Tables and figures are elsewhere.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from bench.format import number, threads_text, unit_of, with_interval
from bench.report.notes import is_proven, proof_note
from bench.report.run_view import RunView
from bench.report.views import BackendView, CaseView, NotTimed, about_launches, ratios_of
from bench.results.derive import PROVISIONAL, a_a_missed
from bench.results.schema import BackendResult, Case, Estimate, Pair, Verdict

Kind = Literal["shown", "undecided", "attention", "note"]
NAMED = 4  # backends that a sentence lists by name
WORKLOADS = 4  # workloads that have a sentence on the first screen; the others are in the table of cases


@dataclass(frozen=True)
class Sentence:
    """One statement, and what kind it is: shown by the data, undecided by them, a failure, or a remark."""

    text: str
    kind: Kind


# Parts of sentences ------------------------------------------------------------------------------------------------


def named(backend: BackendView) -> str:
    """Return a backend for readers: ``Rust``, ``cpp (C++)``, ``lua (float64)``."""
    language = backend.result.language
    if backend.name.lower() == language.lower():
        return backend.label.replace(backend.name, language, 1)
    return f"{backend.label} ({language})" if language else backend.label


def listed(names: Sequence[str], most: int = NAMED) -> str:
    """Return names as ``A, B and C``; of many, the first ones and the number of the others."""
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def times(ratio: Estimate) -> str:
    """Format a ratio: ``112× [108, 117]``."""
    centre, interval = with_interval(ratio).split(" ", 1)
    return f"{centre}× {interval}"


def time_text(step: Estimate | float) -> str:
    """Format a step time in its own unit: ``3.14 µs [3.05, 3.24]``."""
    unit = unit_of([step if isinstance(step, float) else step.median])
    centre, *interval = with_interval(step, unit.seconds).split(" ", 1)
    return " ".join([f"{centre} {unit.name}", *interval])


def rows_text(case: Case) -> str:
    """Format the rows of a step: ``batch of 1 row``, ``batch of 32 rows``."""
    return f"batch of {case.batch} row{'s' * (case.batch != 1)}"


def on(case: Case) -> str:
    """Return a case for readers: ``wine-batch (train, batch of 32 rows, float32, 1 thread)``."""
    return f"{case.workload} ({case.operation}, {rows_text(case)}, {case.dtype}, {threads_text(case.threads)})"


def compared(one: str, other: str, ratio: Estimate, verdict: Verdict, margin: float) -> str:
    """Return a clause on two backends; `ratio` says how many times faster `one` is than `other`."""
    if verdict == "faster":
        return f"{one} is {times(ratio)} as fast as {other}"
    if verdict == "slower":
        return f"{one} takes {times(ratio.inverse)} as long as {other}"
    if verdict == "same":
        return f"{one} is as fast as {other} within ±{100 * margin:.3g} %"
    return f"it is undecided whether {one} is faster than {other} ({times(ratio)} as fast)"


def _opening(clause: str) -> str:
    """Return a clause as the start of a sentence; names keep their case."""
    return f"It{clause[2:]}" if clause.startswith("it ") else clause


# One case ----------------------------------------------------------------------------------------------------------


def case_sentences(view: CaseView) -> tuple[Sentence, ...]:
    """Return what a case shows, the most important first."""
    found = (fastest(view), gain(view), slowest(view), same(view), *others(view), undecided(view))
    caveats = (Sentence(note, "attention") for note in view.caveats)
    return (*(sentence for sentence in found if sentence), *caveats)


def leading(view: CaseView) -> tuple[str, list[BackendView]]:
    """Return the leading division and its timed backends, fastest first: the first with a step time."""
    for division, group in view.groups:
        timed = [backend for backend in group if backend.step]
        if timed:
            return division, timed
    return "", []


def fastest_of(timed: Sequence[BackendView]) -> list[BackendView]:
    """Return the timed backends of a division that none of it is shown to beat; all where nothing was compared."""
    return [backend for backend in timed if backend.result.fastest is not False] or list(timed[:1])


def standing_out(view: CaseView) -> set[str]:
    """Return the backends that a figure highlights, by name, from the verdicts of the table.

    They are the fastest set of each division, the reference and the slowest of the leading division. A shorter time
    without a verdict highlights nothing.
    """
    _, timed = leading(view)
    best = [b for _, group in view.groups for b in fastest_of([one for one in group if one.step])]
    return {backend.name for backend in (*best, *timed[-1:])} | {view.case.reference or ""}


def fastest(view: CaseView) -> Sentence | None:
    """Return which language is the fastest of a case, or that this is undecided."""
    division, timed = leading(view)
    if not timed:
        return None
    first, where = timed[0], on(view.case)
    if len(timed) == 1:
        text = f"{named(first)} alone of the division {division} was timed on {where}: {_takes(view, first)}."
        return Sentence(text, "note")
    kind = _kind(division, timed)
    if first.result.fastest is None:
        text = (
            f"Undecided which {kind} is the fastest on {where}: without intervals there is no verdict. The shortest "
            f"step time is that of {named(first)}, {_takes(view, first)}."
        )
        return Sentence(text, "undecided")
    level = fastest_of(timed)
    if len(level) == 1:
        return Sentence(f"{named(level[0])} is the fastest {kind} on {where}: {_takes(view, level[0])}.", "shown")
    names = listed([named(backend) for backend in level])
    if _all_same(view, level):
        text = f"{names} are the fastest {kind}s on {where}, and the same within ±{100 * view.case.margin:.3g} %."
        return Sentence(text, "shown")
    text = (
        f"Undecided which {kind} is the fastest on {where}: {names}. None of them is shown to be slower than another."
    )
    return Sentence(text, "undecided")


def _takes(view: CaseView, backend: BackendView) -> str:
    assert backend.step is not None
    step = "a step of one of its networks takes" if view.case.members > 1 else "a step takes"
    return f"{step} {time_text(backend.step)}"


def _kind(division: str, timed: Sequence[BackendView]) -> str:
    languages = {backend.result.language for backend in timed}
    return "language" if division == "plain" and len(languages) == len(timed) else f"{division} backend"


def _all_same(view: CaseView, backends: Iterable[BackendView]) -> bool:
    ratios = ratios_of(view.case)
    pairs = (ratios.get((one.name, other.name)) for one, other in combinations(backends, 2))
    return all(pair is not None and pair[1] == "same" for pair in pairs)


def _verdict(view: CaseView, one: BackendView, other: BackendView) -> str | None:
    """Return a clause on two backends of a case; None where they have no ratio."""
    found = ratios_of(view.case).get((one.name, other.name))
    return compared(named(one), named(other), *found, view.case.margin) if found else None


def _kind_of(view: CaseView, one: BackendView, other: BackendView) -> Kind:
    found = ratios_of(view.case).get((one.name, other.name))
    return "undecided" if found is None or found[1] == "undecided" else "shown"


def gain(view: CaseView) -> Sentence | None:
    """Return the fastest backend of the leading division against the reference."""
    _, timed = leading(view)
    reference = next((backend for backend in view.backends if backend.name == view.case.reference), None)
    if not timed or reference is None:
        return None
    best = fastest_of(timed)[0]
    clause = None if best is reference else _verdict(view, best, reference)
    return Sentence(f"{_opening(clause)}, the reference.", _kind_of(view, best, reference)) if clause else None


def slowest(view: CaseView) -> Sentence | None:
    """Return how long the slowest of the leading division takes against its fastest, where `gain` does not say it."""
    division, timed = leading(view)
    if len(timed) < 3:
        return None
    best, last = fastest_of(timed)[0], timed[-1]
    found = ratios_of(view.case).get((last.name, best.name))
    if last.name == view.case.reference or found is None or found[1] != "slower":
        return None
    of = f" of {division}" if len(view.groups) > 1 else ""
    what = "The slowest" if _is_faster(view, timed[-2], last) else "The one with the longest step time"
    return Sentence(f"{what}{of}, {named(last)}, takes {times(found[0].inverse)} as long as {named(best)}.", "shown")


def _is_faster(view: CaseView, one: BackendView, other: BackendView) -> bool:
    """Return True where one is shown to be faster than the other."""
    found = ratios_of(view.case).get((one.name, other.name))
    return found is not None and found[1] == "faster"


def same(view: CaseView) -> Sentence | None:
    """Return the backends that are next to each other in speed and of which every two are shown to be the same."""
    _, timed = leading(view)
    level = fastest_of(timed)
    runs: list[list[BackendView]] = []
    for backend in timed:
        if runs and _all_same(view, [*runs[-1], backend]):
            runs[-1].append(backend)
        else:
            runs.append([backend])
    shown = [run for run in runs if len(run) > 1 and run != level]
    if not shown:
        return None
    groups = "; ".join(listed([named(backend) for backend in run], most=len(run)) for run in shown)
    return Sentence(f"The same within ±{100 * view.case.margin:.3g} %: {groups}.", "shown")


def others(view: CaseView) -> Iterator[Sentence]:
    """Yield the best of each further division against the best of the leading one."""
    for name, clause, kind in _apart(view):
        yield Sentence(f"{name.capitalize()}, ranked apart: {clause}.", kind)


def others_in_one(view: CaseView) -> Sentence | None:
    """Return `others` as one statement, for the first screen; None where there is none."""
    found = list(_apart(view))
    if not found:
        return None
    parts = " ".join(f"{name.capitalize()}: {clause}." for name, clause, _ in found)
    kinds = {kind for *_, kind in found}
    return Sentence(f"Other divisions, ranked apart. {parts}", "undecided" if "undecided" in kinds else "shown")


def _apart(view: CaseView) -> Iterator[tuple[str, str, Kind]]:
    """Yield each further division, a clause on its best against the best of the leading one, and its kind."""
    division, timed = leading(view)
    for name, group in view.groups:
        best = next((backend for backend in group if backend.step), None)
        if name == division or best is None:
            continue
        clause = _verdict(view, best, fastest_of(timed)[0])
        if clause:
            yield name, clause, _kind_of(view, best, fastest_of(timed)[0])


def undecided(view: CaseView) -> Sentence | None:
    """Return how many pairs of a division are undecided, and the one that takes the fewest launches."""
    division_of = {backend.name: backend.division for backend in view.backends}
    labels = {backend.name: named(backend) for backend in view.backends}
    pairs = [pair for pair in view.case.pairs or () if division_of.get(pair.backend) == division_of.get(pair.than)]
    open_pairs = sorted((pair for pair in pairs if pair.verdict == "undecided"), key=_launches)
    if not open_pairs:
        return None
    nearest = open_pairs[0]
    what = f"{labels.get(nearest.backend, nearest.backend)} against {labels.get(nearest.than, nearest.than)}"
    text = (
        f"Of the {len(pairs)} pair{'s' * (len(pairs) != 1)} of backends within a division, {len(open_pairs)} "
        f"{'is' if len(open_pairs) == 1 else 'are'} undecided. The one that needs the fewest more launches is {what}: "
        f"{about_launches(nearest.more_launches)}."
    )
    return Sentence(text, "undecided")


def _launches(pair: Pair) -> float:
    return float("inf") if pair.more_launches is None else pair.more_launches


# The whole run -----------------------------------------------------------------------------------------------------


def story_case(view: RunView) -> CaseView | None:
    """Return the case that the first screen shows: the first training with a step time, else the first other one."""
    timed = [case for case in view.cases if leading(case)[1]]
    trained = (case for case in timed if case.case.operation == "train")
    return next(trained, timed[0] if timed else None)


def lead(view: RunView) -> tuple[Sentence, ...]:
    """Return the answer of a run: for each workload, in cases like the first, what is fastest, in each division."""
    story = story_case(view)
    if story is None:
        text = "No backend was timed." if view.cases else "No case was measured."
        return (Sentence(text, "attention"),)
    like = [case for case in view.cases if _like(case.case, story.case)]
    both = (sentence for case in like[:WORKLOADS] for sentence in (in_one(case), others_in_one(case)))
    found = [sentence for sentence in both if sentence]
    more = len(view.cases) - len(like[:WORKLOADS])
    rest = f"The table of cases has {more} other{'s' * (more != 1)}."
    return (*found, *([Sentence(rest, "note")] if more > 0 else []))


def in_one(view: CaseView) -> Sentence | None:
    """Return the fastest of a case, the next one and the gain over the reference as one statement."""
    first = fastest(view)
    if first is None:
        return None
    more = [sentence.text for sentence in (runner_up(view), gain(view)) if sentence]
    return Sentence(" ".join([first.text, *more]), first.kind)


def runner_up(view: CaseView) -> Sentence | None:
    """Return the next backend after the only fastest one.

    None where `gain` has it, none is the only fastest, or the next one is not shown to be faster than the one after it.
    """
    _, timed = leading(view)
    level = fastest_of(timed)
    if len(level) != 1 or len(timed) < 2 or timed[0] is not level[0] or timed[1].name == view.case.reference:
        return None
    found = ratios_of(view.case).get((timed[1].name, level[0].name))
    if found is None or found[1] != "slower" or (len(timed) > 2 and not _is_faster(view, timed[1], timed[2])):
        return None
    return Sentence(f"The next, {named(timed[1])}, takes {times(found[0].inverse)} as long.", "shown")


def _like(case: Case, story: Case) -> bool:
    alike = ("operation", "dtype", "threads", "members")
    return all(getattr(case, name) == getattr(story, name) for name in alike)


def findings(view: RunView) -> tuple[Sentence, ...]:
    """Return what was rejected, because its results are wrong, and what is absent."""
    return (*rejected(view), *absent(view))


def rejected(view: RunView) -> Iterator[Sentence]:
    """Yield a sentence for each backend whose results are wrong, with its first reason."""
    found: dict[str, list[NotTimed]] = {}
    for one in view.not_timed:
        if one.status == "parity failed":
            found.setdefault(one.instance, []).append(one)
    for instance, ones in found.items():
        count = sum(len(one.cases) for one in ones)
        reason = next((line for one in ones for line in one.reason.splitlines()), "no reason was recorded")
        cases = f"{count} case{'s' * (count != 1)}"
        yield Sentence(f"Rejected in {cases}, because its results are wrong: {instance} ({reason}).", "attention")


def absent(view: RunView) -> Iterator[Sentence]:
    """Yield the backends without a step time for another reason."""
    names = dict.fromkeys(f"{one.instance} ({one.status})" for one in view.not_timed if one.status != "parity failed")
    if names:
        yield Sentence(f"Not timed everywhere: {listed(list(names), 8)}. Reasons and remedies are below.", "attention")


def trust(view: RunView) -> tuple[Sentence, ...]:
    """Return why the numbers of a run can be believed, and what speaks against it; from its results alone."""
    timed = [(backend.label, backend.result) for case in view.cases for backend in case.backends if backend.step]
    if not timed:
        return ()
    found = [
        _proof(proof_note(timed)),
        _unproven(timed),
        _launches_sentence(view),
        _against_itself(view),
        _below_the_peak(view),
        _sensitivity(view),
        _conditions(view),
    ]
    return tuple(sentence for sentence in found if sentence)


def _proof(note: str) -> Sentence:
    if note:
        return Sentence(f"{note} Only then was the backend timed, in the same process.", "shown")
    return Sentence("These results hold no proof that any backend computes the right values.", "attention")


def _unproven(timed: Sequence[tuple[str, BackendResult]]) -> Sentence | None:
    """Return which of the timed backends lack a proof, where others have one."""
    without = dict.fromkeys(label for label, result in timed if not is_proven(result))
    if not without or all(not is_proven(result) for _, result in timed):
        return None
    names = listed(list(without), 8)
    text = f"Timed without a proof that their results are right, because no comparison was made or one failed: {names}."
    return Sentence(text, "attention")


def _launches_sentence(view: RunView) -> Sentence:
    summaries = [b.result.timing_summary for case in view.cases for b in case.backends if b.step]
    launches = [summary.launches for summary in summaries if summary]
    blocks = sum(summary.blocks for summary in summaries if summary)
    fewest, most = min(launches), max(launches)
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    text = (
        f"{blocks} timed block{'s' * (blocks != 1)}, in {count} launch{'es' * (most != 1)} of a fresh process of each "
        "backend."
    )
    if most == 1:
        return Sentence(f"{text} One launch gives no interval, so nothing is decided.", "undecided")
    few = f" With fewer than {PROVISIONAL} launches intervals are provisional." if fewest < PROVISIONAL else ""
    return Sentence(f"{text} Intervals hold 95 %, and come from the spread between launches.{few}", "shown")


def _against_itself(view: RunView) -> Sentence | None:
    counts = [a_a_missed(case.case) for case in view.cases]
    missed, count = sum(each[0] for each in counts), sum(each[1] for each in counts)
    if not count:
        return Sentence("No backend was timed against itself, so the intervals are unchecked here.", "undecided")
    text = (
        f"Backends were timed against themselves, where the true ratio is 1: {missed} of {count} "
        f"interval{'s' * (count != 1)} without 1. About 1 in 20 is to be expected."
    )
    return Sentence(text, "shown")


def _below_the_peak(view: RunView) -> Sentence | None:
    shares = [
        (share, backend)
        for case in view.cases
        for backend in case.backends
        if backend.step and (share := backend.result.ceiling_share) is not None
    ]
    if not shares:
        return None
    share, backend = max(shares, key=lambda each: each[0])
    text = f"The highest speed is {number(100 * share, 2)} % of the peak that was probed on this machine"
    return Sentence(f"{text} ({named(backend)}).", "shown")


def _sensitivity(view: RunView) -> Sentence | None:
    found = [case.case.sensitivity.verdict == "slower" for case in view.cases if case.case.sensitivity]
    if not found:
        return None
    text = f"A copy of a backend, slowed on purpose, was found slower in {sum(found)} of {len(found)} cases."
    return Sentence(text, "shown" if all(found) else "undecided")


def _conditions(view: RunView) -> Sentence:
    warnings = view.results.warnings
    if not warnings:
        return Sentence("No warning about the machine or the run was given.", "shown")
    names = listed(list(dict.fromkeys(one.name for one in warnings)), 8)
    count = f"{len(warnings)} warning{'s' * (len(warnings) != 1)}"
    return Sentence(f"Against it: {count} about the machine or the run ({names}), with remedies below.", "attention")
