"""The notes under the table of a case: reference, fastest set, checks, peaks, warm-up, launches, data."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.format import number, threads_text, with_interval, words
from bench.results.derive import PROVISIONAL, a_a_missed, not_warm
from bench.results.schema import BackendResult, Case, Results

A_A_SHOWN = 2  # intervals of A/A pairs that the note lists
OFF_CPU = 0.02  # share of the timed blocks; a note and a column show the shares where a backend's is greater
BUSY = 0.95  # share of the step time by the device's clock; a note names the backends below it

Timed = Sequence[tuple[str, BackendResult]]  # label and result of each timed backend


def case_notes(case: Case, timed: Timed, requested: str) -> tuple[str, ...]:
    """Return the notes under the table of a case.

    Parameters
    ----------
    case : Case
    timed : sequence of (str, BackendResult)
        Label and result of each backend with a step time, in the order of the table.
    requested : str
        Reference that the settings name.
    """
    notes = (
        proof_note(timed),
        arithmetic_note(case, timed),
        _reference_note(case, requested),
        _fastest_note(case),
        _a_a_note(case),
        _sensitivity_note(case),
        _peak_note(case),
        _device_peak_note(case, timed),
        _idle_note(timed),
        _off_cpu_note(timed),
        _unsteady_note(timed),
        _warming_note(case, timed),
        _launches_note(timed),
        _members_note(case),
        f"Data: {case.data.rstrip('.')}." if case.data else "",
        f"Stopped: {case.stopped.rstrip('.')}." if case.stopped else "",
    )
    return tuple(note for note in notes if note)


def case_caveats(case: Case, timed: Timed, requested: str) -> tuple[str, ...]:
    """Return those notes of a case that limit what its numbers show. Parameters as for `case_notes`."""
    notes = (
        _reference_note(case, requested),
        _idle_note(timed),
        _off_cpu_note(timed),
        _unsteady_note(timed),
        _warming_note(case, timed),
        _few_launches_note(timed),
    )
    return tuple(note for note in notes if note)


def parts_note(results: Results) -> str:
    """Return what changed between the parts of a run; "" where all were measured under the same conditions."""
    if not results.differences:
        return ""
    return f"Measured in parts under different conditions (--force): {'; '.join(results.differences)}."


def _members_note(case: Case) -> str:
    if case.members == 1:
        return ""
    return (
        f"{case.members} networks are trained at once, each with its own θ, sample order, learning rate and λ. A step "
        "is a step of one network."
    )


def is_proven(result: BackendResult) -> bool:
    """Return True where there is a proof: comparisons were made, and all passed."""
    proof = result.parity
    return proof.get("passed") is True and proof.get("checks", 0) > 0 and not proof.get("failures")


def proof_note(timed: Timed) -> str:
    """Name the number of comparisons that each process passed, and the one that came nearest to its bound.

    Backends without a proof do not count.
    """
    proofs = [(label, result.parity) for label, result in timed if is_proven(result) and result.parity.get("worst")]
    if not proofs:
        return ""
    counts = [int(proof["checks"]) for _, proof in proofs]
    least, most = min(counts), max(counts)
    label, worst = max(((label, proof["worst"]) for label, proof in proofs), key=lambda each: _share(each[1]))
    return (
        f"Proven: each process passed {least if least == most else f'{least} to {most}'} comparisons with the oracle, "
        "a slow network of reference in higher precision. An error must stay below a bound, the most that rounding can "
        f"cause; the nearest is the error of {label}'s {worst.get('what', '')}, at "
        f"{number(100 * _share(worst), 2)} % of the bound."
    )


def _share(worst: Mapping[str, Any]) -> float:
    """Return an error as a share of its bound; infinity where it is not finite and so stored as text."""
    share = worst.get("share")
    return float(share) if isinstance(share, int | float) else float("inf")


def work_note(case: Case) -> str:
    """Return the network and its training in one line; "" in files from before they were kept.

    For example ``Network 11-50-1, tanh; squared_error, λ = 0; batches of 1 out of 1120 rows, rate 0.005.``
    """
    work = case.definition
    if work is None:
        return ""
    hidden = work.activation if isinstance(work.activation, str) else ", ".join(work.activation)
    last = f", {work.output_activation} at the end" if work.output_activation else ""
    optimizer = "" if case.optimizer == "sgd" else f", {case.optimizer}"
    sizes = "-".join(map(str, work.sizes))
    return (
        f"Network {sizes}, {hidden}{last}; {work.loss}, λ = {work.l2:g}; batches of {work.batch} out of {work.rows} "
        f"rows, rate {case.learning_rate:g}{optimizer}."
    )


def arithmetic_note(case: Case, timed: Timed) -> str:
    """Return what the parentheses of a label like ``python (float64)`` mean, and which backends have them, if any."""
    names: dict[str, list[str]] = {}
    for _, result in timed:
        if not in_dtype(case, result):
            names.setdefault(str(result.arithmetic), []).append(result.name)
    return " ".join(
        f"({arithmetic}): no {case.dtype} arithmetic in {', '.join(some)}, which "
        f"{'compute' if some[1:] else 'computes'} in {arithmetic}; only what leaves the program is {case.dtype}."
        for arithmetic, some in names.items()
    )


def in_dtype(case: Case, result: BackendResult) -> bool:
    """Return True where a backend computes in the dtype of the case."""
    return result.arithmetic in (None, "native", case.dtype)


def _reference_note(case: Case, requested: str) -> str:
    if case.reference == requested:
        return ""
    why = next((words(b.status) for b in case.backends if b.instance == requested), "not in this case")
    if case.reference is None:
        return f"No ratios: the reference {requested} has no step time ({why}), and no plain backend can replace it."
    return f"The reference {requested} has no step time ({why}). The ratios are to {case.reference} instead."


def _fastest_note(case: Case) -> str:
    """Return the fastest set of each division that has a pair."""
    groups: dict[str, list[BackendResult]] = {}
    for backend in case.backends:
        if backend.fastest is not None:
            groups.setdefault(backend.division, []).append(backend)
    sets = [
        f"{division} {', '.join(backend.name for backend in group if backend.fastest)}"
        for division, group in groups.items()
        if len(group) > 1
    ]
    return f"Fastest set (not shown to be slower than any other): {'; '.join(sets)}." if sets else ""


def _a_a_note(case: Case) -> str:
    """Return how many of the intervals of a backend against itself miss 1."""
    missed, count = a_a_missed(case)
    if not count:
        return "No backend was timed against itself, so the intervals are unchecked here." if case.pairs else ""
    shown = "; ".join(f"{pair.than} {with_interval(pair.ratio)}" for pair in (case.a_a_pairs or ())[:A_A_SHOWN])
    more = f" and {count - A_A_SHOWN} more" if count > A_A_SHOWN else ""
    intervals = f"{count} interval{'s' * (count != 1)}"
    return (
        f"A/A, a backend against itself, whose true ratio is 1: {missed} of {intervals} without 1 ({shown}{more}). "
        "About 1 in 20 is to be expected."
    )


def _sensitivity_note(case: Case) -> str:
    """Return whether the slowdown of the planted copy was found."""
    copy, found = case.planted, case.sensitivity
    if copy is None or copy.slowdown is None:
        return ""
    what = f"a copy of {copy.copy_of}, slowed by {100 * copy.slowdown:.3g} %"
    if found is None:
        why = "has no interval" if copy.status == "ok" else f"has no times ({words(copy.status)})"
        return f"Sensitivity here: unknown; {what}, {why}."
    outcome = "found" if found.verdict == "slower" else "not found"
    return f"Sensitivity here: {outcome}; {what}, is called {found.verdict} ({with_interval(found.ratio)})."


def _peak_note(case: Case) -> str:
    if case.ceiling_gflops is None:
        return ""
    return (
        f"Peak: {number(case.ceiling_gflops)} GFLOP/s, the best multiply-add probe of {case.dtype} on "
        f"{threads_text(case.threads)}.{_bare_products(case)}"
    )


def _bare_products(case: Case) -> str:
    if case.bare_gflops is None or not case.ceiling_gflops:
        return ""
    share = f"{100 * case.bare_gflops / case.ceiling_gflops:.0f} % of it"
    return f" The step's products alone, through {case.bare_library}: {number(case.bare_gflops)} GFLOP/s, {share}."


def _device_peak_note(case: Case, timed: Timed) -> str:
    devices = dict.fromkeys(result.device for _, result in timed if result.device != "cpu")
    peaks = [(device, case.ceiling_of(device)) for device in devices]
    known = [
        f"Peak of {device}: {number(peak)} GFLOP/s, the best multiply-add probe of {case.dtype}."
        for device, peak in peaks
        if peak
    ]
    unknown = [
        f"{device} was not probed, so its backends have no share of a peak." for device, peak in peaks if not peak
    ]
    return " ".join(known + unknown)


def _idle_note(timed: Timed) -> str:
    """Return which backends leave their device idle for a part of the step time."""
    shares = [
        (label, result.device_step_seconds.median / result.step_seconds.median)
        for label, result in timed
        if result.step_seconds and result.device_step_seconds
    ]
    notes = [
        f"{label} kept its device busy for only {number(100 * share, 2)} % of its step time."
        for label, share in shares
        if share < BUSY
    ]
    return " ".join(notes)


def off_cpu_shares(timed: Timed) -> dict[str, float]:
    """Return the share of its timed blocks that each backend was off the CPU; empty where none is above `OFF_CPU`."""
    summaries = ((label, result.timing_summary) for label, result in timed)
    shares = {label: s.off_cpu_share for label, s in summaries if s and s.off_cpu_share is not None}
    return shares if max(shares.values(), default=0.0) > OFF_CPU else {}


def _off_cpu_note(timed: Timed) -> str:
    shares = off_cpu_shares(timed)
    if not shares:
        return ""
    label, most = max(shares.items(), key=lambda item: item[1])
    return f"Off the CPU while timed: up to {number(100 * most, 2)} % ({label}); not in the step times."


def _unsteady_note(timed: Timed) -> str:
    labels = [label for label, result in timed if any(not launch.settled for launch in result.launches)]
    return f"No steady state within the limit of the warm-up: {', '.join(labels)}." if labels else ""


def _warming_note(case: Case, timed: Timed) -> str:
    gains = [
        f"{label} ({with_interval(result.gain_within_launches)}×)"
        for label, result in timed
        if result.gain_within_launches and not_warm(case, result)
    ]
    return f"Still warming up while timed (last round of a launch over first): {', '.join(gains)}." if gains else ""


def _launches_note(timed: Timed) -> str:
    launches = {result.timing_summary.launches for _, result in timed if result.timing_summary}
    if not launches:
        return "No backend was timed."
    fewest, most = min(launches), max(launches)
    count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    if most == 1:
        return "One launch: there is no interval and so no ratio."
    few = f" With fewer than {PROVISIONAL} launches they are wide and provisional." if fewest < PROVISIONAL else ""
    return f"Intervals: 95 %, over {count} launches.{few}"


def _few_launches_note(timed: Timed) -> str:
    """Return the note on launches where they are too few for a final interval; else ""."""
    few = any(r.timing_summary and r.timing_summary.launches < PROVISIONAL for _, r in timed)
    return _launches_note(timed) if few or not timed else ""
