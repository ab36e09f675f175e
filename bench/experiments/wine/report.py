"""The report of the wine experiment: its tables; `findings` has its sentences, `figures` draws."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.experiments.averages import mean_of
from bench.experiments.engine.cell import Finished, Settings
from bench.experiments.wine import cost, figures, findings
from bench.experiments.wine.baselines import NAMES as BASELINES
from bench.experiments.wine.cells import SWEEP_SEEDS
from bench.experiments.wine.published import RATES, SETTINGS, SWEPT, WINES
from bench.experiments.wine.summary import (
    RIGHT_CHOSEN,
    TREATMENTS,
    Found,
    Group,
    contests,
    grouped,
    network_name,
    select,
)

if TYPE_CHECKING:
    from bench.experiments.engine.report import Report

_INTERVAL = "Mean over {seeds} random splits, each with its own initial θ, ± half of the 95 % interval by Student's t."
_ROWS = {True: "all rows", False: "without exact duplicates"}


def report(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    """Write sentences, tables and figures; measure what NumPy would have taken."""
    groups = grouped(finished)
    findings.say(finished, groups, out)
    for duplicates in (True, False):
        _settings_table(groups, out, settings, duplicates)
    _values_table(groups, out)
    _contest_table(finished, out, settings)
    _choices_table(finished, out)
    _rates_table(groups, out, settings)
    _agreement_table(finished, out)
    cost.report(finished, out, settings)
    figures.draw(finished, out)


def _settings_table(groups: dict[Group, list[Found]], out: "Report", settings: Settings, duplicates: bool) -> None:
    treatments = [each for each in TREATMENTS if any(key.treatment == each for key in groups)]
    rows = []
    for wine in WINES:
        for setting in SETTINGS:
            key = Group("settings", wine, duplicates, network_name(setting._asdict()), setting.rate, "")
            found = [mean_of(each.test for each in groups.get(key._replace(treatment=t), ())).text for t in treatments]
            rows.append([wine, setting.name, format(setting.published(wine), ".3f").replace("nan", "NaN"), *found])
    notes = [
        _INTERVAL.format(seeds=settings.seeds),
        f"As published and gradient corrected: {settings.epochs} epochs; the article does not print its number.",
        "NaN: training left the finite numbers.",
    ]
    title = f"Wine: mean squared error of the test rows, {_ROWS[duplicates]}"
    stem = "wine" if duplicates else "wine_without_duplicates"
    out.table(stem, ["wine", "setting", "the article", *treatments], rows, title=title, notes=notes)


def _values_table(groups: dict[Group, list[Found]], out: "Report") -> None:
    header = [
        "table",
        "wine",
        "rows",
        "network",
        "rate",
        "treatment",
        "test",
        "half interval",
        "finite",
        "seeds",
        "spread",
    ]
    rows = []
    for key, found in sorted(groups.items()):
        test, spread = mean_of(each.test for each in found), mean_of(each.spread for each in found)
        own = (key.table, key.wine, _ROWS[key.duplicates], key.network, str(key.rate), key.treatment)
        rows.append([*own, _plain(test.mean), _plain(test.half), test.finite, test.given, spread.mean])
    notes = ["spread: standard deviation of the outputs on the test rows over that of the labels; 0 is a constant."]
    out.table("wine_values", header, rows, title="Wine: all means", notes=notes)


def _plain(value: float) -> float | str:
    """Return a value that a table writes without powers of ten; beyond 100 000 the text with them."""
    return value if abs(value) < 1e5 else f"{value:.4g}"


def _contest_table(finished: Sequence[Finished], out: "Report", settings: Settings) -> None:
    rows = []
    for (wine, duplicates), contest in contests(finished).items():
        baselines = [contest.baselines[name].text for name in BASELINES]
        won = sum(difference < 0 for difference in contest.differences)
        difference = f"{contest.difference.mean:+.3f} ± {contest.difference.half:.3f}"
        shared = f"± {contest.overlapping.half:.3f}"
        rows.append(
            [
                wine,
                _ROWS[duplicates],
                *baselines,
                contest.selected.text,
                difference,
                shared,
                f"{won}/{len(contest.differences)}",
            ]
        )
    header = [
        "wine",
        "rows",
        *BASELINES.values(),
        "done right, selected",
        "selected − least squares",
        "with shared rows",
        "lower in",
    ]
    notes = [
        _INTERVAL.format(seeds=settings.seeds),
        "Selected: of all settings and λ, the network with the lowest error on the validation rows of its split.",
        "The difference is paired: both on the same split. With shared rows: the splits are not independent, as each "
        "draws from the same rows; its variance is s²(1/n + test rows / training rows) (Nadeau and Bengio 2003).",
    ]
    out.table("wine_selected", header, rows, title="Wine: selected by validation, and baselines", notes=notes)


def _choices_table(finished: Sequence[Finished], out: "Report") -> None:
    counts = Counter((split[0], split[1], each.setting, each.l2) for split, each in select(finished).items())
    rows = [[wine, _ROWS[duplicates], *own, count] for (wine, duplicates, *own), count in sorted(counts.items())]
    header = ["wine", "rows", "setting", "λ", "splits"]
    out.table("wine_choices", header, rows, title="Wine: what validation chose, by the number of splits")


def _rates_table(groups: dict[Group, list[Found]], out: "Report", settings: Settings) -> None:
    rows = []
    for wine in WINES:
        for hidden, activation in SWEPT:
            name = network_name({"hidden": hidden, "activation": activation})
            for treatment in TREATMENTS:
                keys = [Group("rates", wine, True, name, rate, treatment) for rate in RATES]
                if any(key in groups for key in keys):
                    found = (mean_of(each.test for each in groups.get(key, ())).text for key in keys)
                    shown = "done right, λ = 0" if treatment == RIGHT_CHOSEN else treatment
                    rows.append([wine, name, shown, *found])
    seeds = min(settings.seeds, SWEEP_SEEDS)
    notes = [_INTERVAL.format(seeds=seeds), "The article claims that rates from 0.01 to 0.2 suit."]
    header = ["wine", "network", "treatment", *map(str, RATES)]
    title = "Wine: mean squared error of the test rows, by learning rate"
    out.table("wine_rates", header, rows, title=title, notes=notes)


def _agreement_table(finished: Sequence[Finished], out: "Report") -> None:
    followed = [each.values for each in finished if each.cell.parameters["kind"] == "trajectories"]
    ends: dict[str, dict[int, float | None]] = {}
    for each in finished:
        p = each.cell.parameters
        if p["table"] == "agreement" and p["kind"] == "right":
            ends.setdefault(p["backend"], {})[p["seed"]] = each.values["test"][0]
    rows = []
    for backend, tests in sorted(ends.items()):
        differences = _differences(tests, ends.get("numpy", {}))
        followers = [values[backend] for values in followed if backend in values]
        worst = [_worst(one[what] for one in followers) for what in ("distance", "allowed", "of_bound")]
        rows.append([backend, *worst, mean_of(tests.values()).text, differences])
    header = ["backend", "distance from the oracle", "allowed", "of the bound", "test error", "− numpy's"]
    notes = [
        "distance: the largest ‖θ − oracle's θ‖ / ‖oracle's θ‖ at the ends of the first epochs, in float64.",
        "of the bound: the largest difference of a tensor over what rounding may cause; above 1 would be an error.",
        "test error: after early stopping; the difference from numpy's is paired.",
    ]
    out.table("wine_agreement", header, rows, title="Wine: agreement of backends", notes=notes)


def _differences(tests: dict[int, float | None], reference: dict[int, float | None]) -> str:
    pairs = [(tests[seed], reference[seed]) for seed in tests if seed in reference]
    mean = mean_of(ours - theirs for ours, theirs in pairs if ours is not None and theirs is not None)
    return f"{mean.mean:.1e} ± {mean.half:.1e}"


def _worst(lists: Iterable[list[float | None]]) -> str:
    """Return the largest number; None is one that was not finite."""
    values = (math.inf if value is None else value for each in lists for value in each)
    return format(max(values, default=math.nan), ".1e")
