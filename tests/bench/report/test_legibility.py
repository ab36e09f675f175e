"""Claims about legibility and reproducibility of figures: no text is cut, and equal results give equal files."""

import gc
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from support.places import TESTS
from support.reports import ALL_BACKENDS, OVERVIEW, QUICK, STATUS_OF, drawn, edited, environment, texts
from support.sample_results import BACKENDS, FURTHER, WORKLOADS, sample_results, swept_results

from bench import report
from bench.report.drawing import LINE, TYPE, WIDE, WIDTH, dodged, round_ticks, spread, uncrossed
from bench.results.schema import Results


def all_backends_swept(along: str, values: tuple[int, ...]) -> Results:
    """Return a sweep in which a step costs a constant and a part that grows with the value; two times are missing."""
    costs = {name: lambda value, s=s: 5e-6 + s * value**0.9 for name, (*_, s) in BACKENDS.items()}
    too_slow = [("lua", values[-1]), ("go", values[1])]
    return swept_results(costs, values, along, absent=too_slow, data="drawn in wine's shape by a seeded teacher")


LEGIBLE = {
    "a sweep": all_backends_swept("batch", (1, 4, 16, 64, 256, 1024)),
    "a fine sweep": all_backends_swept("width", tuple(range(500, 520))),
    "a sweep of two": all_backends_swept("threads", (1, 2)),
    "three backends": sample_results(),
    "five, noisy": sample_results(QUICK, ["wine-deep", "digits"], noise=0.2),
    "fifteen": sample_results(ALL_BACKENDS, list(WORKLOADS)),
    "every language": sample_results([*ALL_BACKENDS, *FURTHER], ["wine-deep", "wine-batch"]),
    "failures": sample_results(ALL_BACKENDS, ["wine-deep", "mlp"], STATUS_OF),
    "two that are close": sample_results(["numpy", "numpy-skylakex"]),
    "all failed": sample_results(QUICK, failures=dict.fromkeys(QUICK, "crashed")),
}


def _boxes(figure: Figure) -> Iterator[tuple[str, Any]]:
    canvas: Any = FigureCanvasAgg(figure)
    renderer = canvas.get_renderer()
    figure.draw(renderer)
    for text in texts(figure):
        yield text.get_text(), text.get_window_extent(renderer)


@pytest.mark.parametrize("name", LEGIBLE)
def test_every_text_is_legible_at_column_width(name: str) -> None:
    for stem, figure in drawn(LEGIBLE[name]).items():
        assert figure.get_figwidth() == (WIDE if len(figure.axes) > 1 and OVERVIEW in stem else WIDTH)
        assert all(float(text.get_fontsize()) >= TYPE >= 7 for text in texts(figure)), stem
        boxes = list(_boxes(figure))
        for text, box in boxes:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
            assert inside, f"{stem}: {text!r} is cut"
        for (one, a), (other, b) in combinations(boxes, 2):
            wide, high = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(wide, high) <= 1.5, f"{stem}: {one!r} lies over {other!r}"


@given(st.lists(st.floats(0, 2.8), min_size=1, max_size=20).map(sorted))
def test_names_do_not_overlap_and_stay_over_the_axes(ideal: list[float]) -> None:
    places = spread(ideal, LINE, 2.8)
    assert all(b - a >= LINE - 1e-9 for a, b in pairwise(places))
    assert all(-1e-9 <= place <= 2.8 + 1e-9 for place in places)


def test_names_with_enough_room_keep_their_places() -> None:
    assert spread([0.3, 1.0, 2.0], LINE, 2.8) == pytest.approx([0.3, 1.0, 2.0])
    assert spread([1.0, 1.0], 0.2, 2.8) == pytest.approx([0.9, 1.1])


def crossings(leaders: list[tuple[tuple[float, float], tuple[float, float]]]) -> int:
    """Count the pairs of leaders that cross, by solving for the point where their lines meet."""
    found = 0
    for (p, q), (r, s) in combinations(leaders, 2):
        (ax, ay), (bx, by) = (q[0] - p[0], q[1] - p[1]), (s[0] - r[0], s[1] - r[1])
        across = ax * by - ay * bx
        if across:
            t = ((r[0] - p[0]) * by - (r[1] - p[1]) * bx) / across
            u = ((r[0] - p[0]) * ay - (r[1] - p[1]) * ax) / across
            found += 1e-9 < t < 1 - 1e-9 and 1e-9 < u < 1 - 1e-9
    return found


POINT = st.tuples(st.floats(0, 0.99), st.floats(0, 2.8))


@given(st.lists(POINT, min_size=2, max_size=40))
def test_no_leaders_cross_and_every_label_keeps_a_place(points: list[tuple[float, float]]) -> None:
    points = sorted(points, key=lambda point: point[1])
    places = spread([up for _, up in points], LINE, 2.8)
    found = uncrossed(points, places, 1.0)
    assert sorted(found) == sorted(places)
    assert crossings([(point, (1.0, place)) for point, place in zip(points, found, strict=True)]) == 0


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.3, 5.0]) | st.floats(0, 6), st.floats(0, 2.8)), max_size=40))
def test_dodged_marks_never_overlap_and_a_lone_one_stays(points: list[tuple[float, float]]) -> None:
    shifts = dodged(points, 0.07)
    places = [(x + shift, y) for (x, y), shift in zip(points, shifts, strict=True)]
    assert all(math.dist(one, other) >= 0.07 - 1e-9 for one, other in combinations(places, 2))
    for point, shift in zip(points, shifts, strict=True):
        if all(math.dist(point, other) >= 2.0 for other in places if other != point):
            assert shift == 0.0
    assert dodged([(1.0, 1.0), (1.0, 2.0)], 0.5) == [0.0, 0.0]


def test_leaders_in_the_order_of_their_heights_may_cross_and_are_exchanged() -> None:
    points, places = [(0.1, 1.0), (0.9, 1.01)], [2.0, 2.5]
    assert crossings([(point, (1.0, place)) for point, place in zip(points, places, strict=True)]) == 1
    assert uncrossed(points, places, 1.0) == [2.5, 2.0]


@given(st.floats(-9, 6), st.floats(0.04, 9))
def test_a_log_axis_always_has_ticks(low: float, decades: float) -> None:
    ticks = round_ticks(10**low, 10 ** (low + decades))
    assert 2 <= len(ticks) <= 7
    assert all(10**low <= tick <= 10 ** (low + decades) for tick in ticks)


def files(results: Results, folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in report.write(report.run_view(results), folder)}


def test_a_second_draw_is_identical(tmp_path: Path) -> None:
    results = sample_results(QUICK)
    first, second = files(results, tmp_path / "one"), files(results, tmp_path / "two")
    assert {Path(name).suffix for name in first} == {".html", ".md", ".png", ".svg"}
    assert first == second


def test_the_text_of_an_svg_file_is_text_in_a_font_that_every_reader_has(tmp_path: Path) -> None:
    written = files(sample_results(QUICK), tmp_path)
    text = written["step_time_train_float32_1t.svg"].decode()
    names = re.findall(r"<text [^>]*font-family: 'DejaVu Sans', 'Verdana', sans-serif[^>]*>([^<]+)</text>", text)
    assert set(QUICK) <= set(names)
    assert "<use" not in text or "DejaVuSans-" not in text  # no outlines of letters
    assert max(len(data) for name, data in written.items() if name.endswith(".svg")) < 40_000


def test_drawing_leaves_garbage_collection_as_it_was(tmp_path: Path) -> None:
    before = gc.get_freeze_count()
    files(sample_results(), tmp_path)
    assert gc.isenabled()
    assert gc.get_freeze_count() == before


def test_drawing_keeps_matplotlibs_settings_and_does_not_import_pyplot() -> None:
    code = (
        "import pathlib, sys, tempfile; from matplotlib import rcParams;"
        "read = lambda: {k: rcParams[k] for k in rcParams if not k.startswith('backend')};"
        "before = read();"
        "from bench import report;"
        "from support.sample_results import sample_results;"
        "report.write(report.run_view(sample_results()), pathlib.Path(tempfile.mkdtemp()));"
        "assert read() == before; assert 'matplotlib.pyplot' not in sys.modules"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=TESTS.parent, env=environment(TESTS), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_workload_name_cannot_lead_a_file_out_of_the_folder(tmp_path: Path) -> None:
    view = report.run_view(edited(sample_results(), {}, workload="../../evil $x$"))
    written = report.write(view, tmp_path / "in")
    assert all(path.parent == tmp_path / "in" for path in written)
    assert {path.parent for path in tmp_path.rglob("*.*")} == {tmp_path / "in"}
