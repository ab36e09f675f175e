"""The look of a backend: one everywhere, distinct, by name alone."""

import re
from itertools import combinations

import numpy as np
import pytest
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

from bench.report.style import KNOWN, MARKER_PATHS, OTHERS, BackendStyle, backend_style, language_mark
from pyfnn import registry


def test_every_backend_of_pyfnn_has_a_look_of_its_own() -> None:
    names = set(registry.rows())
    assert names <= set(KNOWN)
    assert len(set(KNOWN.values())) == len(KNOWN)


def test_the_shape_follows_the_division() -> None:
    shapes: dict[str, set[str]] = {}
    for name, row in registry.rows().items():
        shapes.setdefault(row.division, set()).add(backend_style(name).marker)
    assert shapes == {"textbook": {"v"}, "plain": {"o", "^", ">"}, "tuned": {"s", "P"}, "framework": {"D", "X"}}


def test_a_backend_of_another_package_keeps_its_look_and_never_has_one_of_pyfnns() -> None:
    assert backend_style("mojo") == OTHERS[15]  # the same in every run and on every machine
    assert not set(OTHERS) & set(KNOWN.values())
    assert not {look.marker for look in OTHERS} & {look.marker for look in KNOWN.values()}


def test_the_second_instance_of_a_backend_looks_like_the_first() -> None:
    assert backend_style("cpp@2") == backend_style("cpp")


def contrast(colour: str, ground: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.1)."""
    bright = []
    for text in (colour, ground):
        channels = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        bright.append(float(linear @ (0.2126, 0.7152, 0.0722)))
    return (max(bright) + 0.05) / (min(bright) + 0.05)


@pytest.mark.parametrize("look", {look.colour: look for look in KNOWN.values()}.values())
def test_colours_stand_out_from_a_light_and_a_dark_ground(look: BackendStyle) -> None:
    assert contrast(look.colour, "#FFFFFF") > 2
    assert contrast(look.on_dark, "#1B1B1F") > 3


# How colours look without one kind of cones, in linear RGB (Viénot, Brettel and Mollon 1999).
WITHOUT = {
    "red": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "green": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("cones", WITHOUT)
def test_colours_differ_without_one_kind_of_cones(cones: str) -> None:
    colours = sorted({look.colour for look in KNOWN.values()})
    linear = np.array([[(int(c[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)] for c in colours])
    seen = np.clip(linear @ np.array(WITHOUT[cones]).T, 0, 1) ** (1 / 2.2)
    for one, other in combinations(range(len(colours)), 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 0.12, (colours[one], colours[other])


@pytest.mark.parametrize("marker", MARKER_PATHS)
def test_a_marker_has_the_same_outline_in_svg_as_in_matplotlib(marker: str) -> None:
    style = MarkerStyle(marker)
    real = style.get_path().transformed(style.get_transform())
    text = MARKER_PATHS[marker]
    if "A" in text:  # the circle, which has no corners to compare
        corners = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 60)])
    else:
        corners = np.array([[float(x), -float(y)] for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", text)])
    ours = Path(corners / np.ptp(corners, axis=0)[0])
    extents = np.array([real.get_extents().min, real.get_extents().max])
    middle = np.zeros(2) if marker == "p" else extents.mean(axis=0)
    scale = np.ptp(extents[:, 0])
    grid = (np.stack(np.meshgrid(np.linspace(-0.6, 0.6, 41), np.linspace(-0.6, 0.6, 41)), -1)).reshape(-1, 2)
    inside_real = real.contains_points(grid * scale + middle)
    assert np.mean(inside_real != ours.contains_points(grid)) < 0.04


def test_a_language_mark_is_short() -> None:
    marks = {language_mark(row.language) for row in registry.rows().values()}
    assert all(len(mark) <= 4 for mark in marks)
    assert len(marks) == len({row.language for row in registry.rows().values()})
    assert language_mark("Haskell") == "Hask"
