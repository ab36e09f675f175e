"""The summary of the experiment: times, ratios and scores with their intervals, as a table, and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.experiments.estimators.trials import DEFAULT, ENTRANTS, PARTNERS, PYFNN, Settings, TimedFit
from bench.format import number, with_interval
from bench.report.drawing import LINE, MUTED, ROW, WIDTH, log_axis
from bench.report.style import BLUE, GREEN, VERMILION
from bench.statistics import intervals
from bench.statistics.intervals import Estimate

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

COLOURS = {"pyfnn": VERMILION, "scikit-learn": BLUE, "PyTorch": GREEN}
HEADER = (
    "dataset",
    "trained by",
    "rate",
    "batch",
    "epochs, median",
    "time, ms [95 %]",
    "pyfnn is faster by",
    "with the same settings by",
    "test score",
    "less that of scikit-learn [95 %]",
)


@dataclass(frozen=True)
class Line:
    """An entrant on a dataset.

    Attributes
    ----------
    seconds : Estimate
        Time to the common error.
    slower : Estimate or None
        Its time over that of pyfnn, paired by launch; None of pyfnn itself.
    slower_at_same : Estimate or None
        Its time over that of its partner, pyfnn with the same settings; None where there is none.
    score : float
        Mean score of the test rows.
    gain : Estimate or None
        Score less that of scikit-learn, of each launch; None of scikit-learn itself.
    """

    dataset: str
    entrant: str
    epochs: float
    seconds: Estimate
    slower: Estimate | None
    slower_at_same: Estimate | None
    score: float
    gain: Estimate | None


def lines(fits: Sequence[TimedFit]) -> list[Line]:
    """Return a line for each dataset and entrant; fits of at least two launches."""
    groups: dict[str, dict[str, list[TimedFit]]] = {}
    for fit in fits:
        groups.setdefault(fit.dataset, {}).setdefault(fit.entrant, []).append(fit)
    return [_line(groups[dataset], dataset, entrant) for dataset in groups for entrant in ENTRANTS]


def _line(group: Mapping[str, list[TimedFit]], dataset: str, entrant: str) -> Line:
    own = group[entrant]
    seconds = intervals.step_seconds(own)
    assert seconds is not None
    scores = {each: {fit.launch: fit.score for fit in group[each]} for each in (entrant, DEFAULT)}
    gains = [score - scores[DEFAULT][launch] for launch, score in scores[entrant].items()]
    return Line(
        dataset,
        entrant,
        median({fit.launch: fit.epochs for fit in own}.values()),
        seconds,
        None if entrant == PYFNN else intervals.ratio(own, group[PYFNN]),
        intervals.ratio(own, group[PARTNERS[entrant]]) if entrant in PARTNERS else None,
        fmean(scores[entrant].values()),
        None if entrant == DEFAULT else intervals.mean_interval(gains),
    )


def say(found: Sequence[Line], out: "Report") -> None:
    """Add a sentence for each dataset and trainer: whether tuned pyfnn reaches the common error sooner."""
    for line in found:
        slower, same = line.slower, line.slower_at_same
        if slower and ENTRANTS[line.entrant] != "pyfnn":
            own = f"{line.dataset}: {line.entrant} takes {with_interval(slower)} times as long as pyfnn, tuned"
            same_text = f" ({with_interval(same)} times with the same settings)" if same else ""
            decided = slower.low > 1 or slower.high < 1
            out.say(f"{own}{same_text}{'' if decided else ': undecided'}.", "shown" if decided else "undecided")


def row(line: Line, setting: Mapping[str, Settings]) -> tuple[object, ...]:
    """Return the cells of a line, in the order of `HEADER`."""
    chosen = setting[line.dataset][line.entrant]
    gain = line.gain
    return (
        line.dataset,
        f"{line.entrant} ({chosen.variant} Adam)" if chosen.variant else line.entrant,
        f"{chosen.rate:g}",
        str(chosen.batch),
        f"{line.epochs:g}",
        with_interval(line.seconds, 1e-3),
        with_interval(line.slower) if line.slower else None,
        with_interval(line.slower_at_same) if line.slower_at_same else None,
        f"{line.score:.3f}",
        f"{gain.median:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if gain else None,
    )


def draw(found: Sequence[Line], footnotes: Sequence[str]) -> Figure:
    """Draw the times as dots with intervals on a log axis, a panel for each dataset; right of each how much slower."""
    datasets = list(dict.fromkeys(line.dataset for line in found))
    panel = (len(ENTRANTS) + 1.5) * 1.3 * ROW
    figure = Figure(figsize=(WIDTH, len(datasets) * panel + 0.45 + len(footnotes) * LINE), layout="constrained")
    bounds = [bound * 1e3 for line in found for bound in (line.seconds.low, line.seconds.high)]
    panels = figure.subplots(len(datasets), 1, sharex=True, squeeze=False)[:, 0]
    for axes, dataset in zip(panels, datasets, strict=True):
        _draw_panel(axes, dataset, [line for line in found if line.dataset == dataset])
        log_axis(axes, "x", bounds)
    panels[-1].set_xlabel("ms of training to the common error, 95 %")
    figure.supxlabel("\n".join(footnotes), fontsize=6, color=MUTED, x=0.02, ha="left")
    return figure


def _draw_panel(axes: Axes, dataset: str, found: Sequence[Line]) -> None:
    for at, line in enumerate(found):
        colour, e = COLOURS[ENTRANTS[line.entrant]], line.seconds
        axes.plot([e.low * 1e3, e.high * 1e3], [at, at], color=colour, linewidth=1.2)
        axes.plot([e.median * 1e3], [at], "o", color=colour, markersize=3.8)
        if line.slower:
            text = f"× {number(line.slower.median)}"
            axes.text(1.02, at, text, transform=axes.get_yaxis_transform(), va="center", color=colour)
    axes.set_yticks(range(len(found)), [line.entrant for line in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_title(dataset, fontsize=7, loc="left")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.4)
