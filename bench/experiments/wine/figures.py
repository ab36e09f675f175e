"""The figures of the wine experiment: the treatments of each setting, the rate sweep, the selected networks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.experiments.averages import Mean, mean_of
from bench.experiments.engine.cell import Finished
from bench.experiments.engine.figures import figure_style
from bench.experiments.wine.baselines import NAMES as BASELINES
from bench.experiments.wine.published import CLAIMED_RATES, RATES, SETTINGS, SWEPT, WINES
from bench.experiments.wine.summary import (
    CORRECTED,
    NORMALIZED,
    PUBLISHED,
    RIGHT,
    RIGHT_CHOSEN,
    TREATMENTS,
    Contest,
    Found,
    Group,
    contests,
    grouped,
    network_name,
)
from bench.report.drawing import FAINT, LEGEND, MUTED, WIDE, log_axis
from bench.report.style import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

Groups = dict[Group, list[Found]]
LOOKS = {  # marker and colour of each treatment
    PUBLISHED: ("o", VERMILION),
    NORMALIZED: ("^", PURPLE),
    CORRECTED: ("s", ORANGE),
    RIGHT: ("D", SKY),
    RIGHT_CHOSEN: ("D", BLUE),
}
BASELINE_LOOKS: dict[str, tuple[Any, str]] = {
    "constant": (":", MUTED),
    "least_squares": ("-", MUTED),
    "sklearn": ("--", GREEN),
}
ERRORS = (0.32, 1.12)  # of the axis; the article's errors and those of a constant lie within it
_NETWORK_COLOURS = (BLUE, ORANGE, GREEN, VERMILION)
_ROW, _TOP, _BOTTOM = 0.40, 0.5, 0.65  # inches


ALTS = {
    "wine_settings": "Mean squared error on the test rows of each of the article's settings, red and white wine: the "
    "article's number, each treatment with its interval, and lines for the baselines.",
    "wine_spread": "Spread of the outputs over that of the labels, for each setting and treatment: 0 is a constant.",
    "wine_rates": "Mean squared error on the test rows against the learning rate, for each network and treatment.",
    "wine_selected": "Test error of the selected network less that of least squares, a mark for each split; below 0 "
    "the network is better.",
}


def draw(finished: Sequence[Finished], out: "Report") -> None:
    """Draw every figure of the cells that are finished."""
    groups, found = grouped(finished), contests(finished)
    with figure_style():
        drawn = {
            "wine_settings": errors_by_setting(groups, found),
            "wine_spread": spreads_by_setting(groups),
            "wine_rates": errors_by_rate(groups),
            **({"wine_selected": selected(found)} if found else {}),
        }
        for name, figure in drawn.items():
            out.figure(figure, name, ALTS[name])


def errors_by_setting(groups: Groups, found: dict[tuple[str, bool], Contest]) -> Figure:
    """Draw the test errors of each setting: the article's number, each treatment with its interval, the baselines."""
    figure, panels = _by_setting("Wine: the article's settings, mean squared error of the test rows")
    for wine, axes in zip(WINES, panels, strict=True):
        contest = found.get((wine, True))
        for name, (style, colour) in BASELINE_LOOKS.items():
            if contest:
                axes.axvline(contest.baselines[name].mean, color=colour, linestyle=style, linewidth=0.9, zorder=0)
        axes.set(xlim=ERRORS, title=f"{wine} wine", xlabel="mean squared error (of marks from 0 to 10)")
        for row, setting in enumerate(SETTINGS):
            _cross(axes, setting.published(wine), row)
            _treatments(axes, groups, wine, row, "test")
    handles = [Line2D([], [], color=BLACK, marker="x", linestyle="none", markersize=4, label="the article's number")]
    handles += _handles(groups)
    handles += [
        Line2D([], [], color=colour, linestyle=style, linewidth=0.9, label=BASELINES[name])
        for name, (style, colour) in BASELINE_LOOKS.items()
    ]
    figure.legend(handles=handles, loc="lower left", ncols=3, **LEGEND)
    return figure


def spreads_by_setting(groups: Groups) -> Figure:
    """Draw the spread of each setting's outputs over that of the labels, for each treatment."""
    figure, panels = _by_setting("Wine: does the network look at the wine? Spread of its outputs on the test rows")
    for wine, axes in zip(WINES, panels, strict=True):
        axes.set(xlim=(-0.03, 1.0), title=f"{wine} wine", xlabel="spread of outputs / of labels; 0: a constant")
        axes.axvline(0, color=MUTED, linewidth=0.6, zorder=0)
        for row, _ in enumerate(SETTINGS):
            _treatments(axes, groups, wine, row, "spread")
    figure.legend(handles=_handles(groups), loc="lower left", ncols=3, **LEGEND)
    return figure


def _by_setting(title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each wine and a row for each setting."""
    height = _ROW * len(SETTINGS) + _TOP + _BOTTOM + 0.35
    figure = Figure(figsize=(WIDE, height))
    figure.text(0.01, 1 - 0.2 / height, title, weight="bold", va="baseline")
    left, gap = 1.85 / WIDE, 0.15 / WIDE
    width = (1 - left - gap - 0.1 / WIDE) / 2
    bottom, tall = (_BOTTOM + 0.35) / height, _ROW * len(SETTINGS) / height
    panels = [figure.add_axes((left + at * (width + gap), bottom, width, tall)) for at in range(2)]
    for axes in panels:
        axes.set_ylim(len(SETTINGS) - 0.5, -0.5)
        axes.set_yticks(range(len(SETTINGS)), [""] * len(SETTINGS))
        for row in range(1, len(SETTINGS), 2):
            axes.axhspan(row - 0.5, row + 0.5, color=FAINT, alpha=0.35, linewidth=0, zorder=-1)
    panels[0].set_yticks(range(len(SETTINGS)), [setting.name for setting in SETTINGS])
    return figure, panels


def _handles(groups: Groups) -> list[Line2D]:
    return [
        Line2D([], [], color=LOOKS[each][1], marker=LOOKS[each][0], linestyle="none", markersize=3.5, label=each)
        for each in _present(groups)
    ]


def _present(groups: Groups) -> list[str]:
    return [each for each in TREATMENTS if any(key.table == "settings" and key.treatment == each for key in groups)]


def _treatments(axes: Axes, groups: Groups, wine: str, row: int, what: str) -> None:
    """Draw the means of one setting, one treatment below the other."""
    setting, present = SETTINGS[row], _present(groups)
    name = network_name(setting._asdict())
    for at, treatment in enumerate(present):
        found = groups.get(Group("settings", wine, True, name, setting.rate, treatment))
        if found:
            y = row + 0.7 * ((at + 1) / (len(present) + 1) - 0.5)
            _mean(axes, mean_of(getattr(each, what) for each in found), y, *LOOKS[treatment])


def _mean(axes: Axes, mean: Mean, y: float, marker: str, colour: str) -> None:
    """Draw a mean with its interval; beyond the axis, or without a finite value, words at the right edge."""
    limit = axes.get_xlim()[1]
    lost = mean.given - mean.finite
    if mean.finite and mean.mean <= limit:
        face = colour if not lost else "white"
        half = mean.half if mean.finite > 1 else 0.0
        axes.errorbar(
            mean.mean, y, xerr=half, marker=marker, color=colour, markerfacecolor=face, markersize=3, linewidth=0.9
        )
        return
    words = "NaN" if mean.finite == 0 else f"{mean.mean:.2g} →"
    axes.text(limit, y, words, color=colour, fontsize=5, ha="right", va="center")


def _cross(axes: Axes, error: float, row: int) -> None:
    if error == error:
        axes.plot(error, row, marker="x", color=BLACK, markersize=4, zorder=5)
    else:
        axes.text(axes.get_xlim()[1], row - 0.42, "the article: NaN", color=BLACK, fontsize=5, ha="right", va="center")


_RATE_STYLES: tuple[tuple[Any, str], ...] = (("-", "done right, λ = 0"), (":", "as published"))


def errors_by_rate(groups: Groups) -> Figure:
    """Draw the test errors of the sweep's networks against the learning rate; the claimed range is shaded."""
    figure = Figure(figsize=(WIDE, 3.4))
    figure.text(0.01, 0.955, "Wine: test error by learning rate, one row a step", weight="bold")
    panels = figure.subplots(1, 2, sharey=True, gridspec_kw={"left": 0.07, "right": 0.99, "bottom": 0.27, "top": 0.87})
    for wine, axes in zip(WINES, panels, strict=True):
        log_axis(axes, "x", RATES)
        axes.set_xticks(RATES, [str(rate) for rate in RATES])
        axes.set(title=f"{wine} wine", xlabel="learning rate", ylim=ERRORS)
        axes.axvspan(*CLAIMED_RATES, color=FAINT, alpha=0.6, linewidth=0)
        for colour, (hidden, activation) in zip(_NETWORK_COLOURS, SWEPT, strict=False):
            name = network_name({"hidden": hidden, "activation": activation})
            for treatment, style in ((RIGHT_CHOSEN, "-"), (PUBLISHED, ":")):
                keys = [Group("rates", wine, True, name, rate, treatment) for rate in RATES]
                _rate_line(axes, [mean_of(each.test for each in groups.get(key, ())) for key in keys], colour, style)
    panels[0].set_ylabel("mean squared error of the test rows")
    handles = [
        Line2D([], [], color=colour, label=network_name({"hidden": hidden, "activation": activation}))
        for colour, (hidden, activation) in zip(_NETWORK_COLOURS, SWEPT, strict=False)
    ]
    handles += [Line2D([], [], color=MUTED, linestyle=style, label=label) for style, label in _RATE_STYLES]
    handles += [Line2D([], [], color=FAINT, linewidth=6, label="rates that the article recommends")]
    handles += [
        Line2D(
            [],
            [],
            color=MUTED,
            marker="o",
            markerfacecolor="white",
            linestyle="none",
            markersize=3.5,
            label="some seeds ended in NaN",
        )
    ]
    figure.legend(handles=handles, loc="lower left", ncols=4, **LEGEND)
    return figure


def _rate_line(axes: Axes, means: Sequence[Mean], colour: str, style: str) -> None:
    drawn = [(rate, mean) for rate, mean in zip(RATES, means, strict=True) if mean.finite]
    x, y = [rate for rate, _ in drawn], [mean.mean for _, mean in drawn]
    axes.errorbar(x, y, yerr=[mean.half if mean.finite > 1 else 0 for _, mean in drawn], color=colour, linestyle=style)
    for rate, mean in drawn:
        face = colour if mean.finite == mean.given else "white"
        axes.plot(rate, mean.mean, marker="o", markersize=3.5, color=colour, markerfacecolor=face)


def selected(found: dict[tuple[str, bool], Contest]) -> Figure:
    """Draw the test errors of the selected networks minus those of least squares, split by split, and their mean."""
    figure = Figure(figsize=(WIDE, 0.55 * len(found) + 0.9))
    height = figure.get_figheight()
    title = "Wine: network selected by validation, test error minus that of least squares on the same split"
    figure.text(0.01, 1 - 0.2 / height, title, weight="bold")
    axes = figure.add_axes((0.23, 0.55 / height, 0.75, 0.55 * len(found) / height))
    axes.margins(x=0.1)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    names = []
    for row, ((wine, duplicates), contest) in enumerate(found.items()):
        names.append(f"{wine}, {'all rows' if duplicates else 'without duplicates'}")
        axes.plot(contest.differences, [row + 0.15] * len(contest.differences), "|", color=BLUE, markersize=7)
        axes.errorbar(
            contest.difference.mean,
            row - 0.15,
            xerr=contest.overlapping.half,
            color=VERMILION,
            linewidth=0.8,
            capsize=2,
        )
        axes.errorbar(
            contest.difference.mean, row - 0.15, xerr=contest.difference.half, marker="D", color=VERMILION, markersize=4
        )
        axes.annotate(
            f"{contest.difference.mean:+.3f} ± {contest.difference.half:.3f}",
            (contest.difference.mean, row - 0.15),
            (0, 5),
            textcoords="offset points",
            ha="center",
            color=VERMILION,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set(
        ylim=(len(names) - 0.5, -0.5),
        xlabel="difference of mean squared errors; below 0 the network is better\n"
        "(bars: splits; diamond: mean with its 95 % interval; thin line: the interval that allows for shared rows)",
    )
    return figure
