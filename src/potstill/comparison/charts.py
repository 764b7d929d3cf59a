"""Charts of a comparison: score against size, latency and compression, with the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from potstill.comparison.against import MAJORITY, PLAIN, PUBLISHED, TEACHER, Comparison, Entry
from potstill.report import charts
from potstill.report.charts import CostAxis
from potstill.report.figure import INK, MUTED, Axis, Chart, Dot, Line, score_axis
from potstill.report.numbers import fixed
from potstill.results import CONVERTED, ROLES

FRONT = "front"
NAMED = 8
"""So many entries are labelled with their names; where there are more, all have the numbers of the table's rows."""
KEPT = "kept of the teacher’s score, %"

# Series in the order of the key: title, colour, mark, size in pixels.
SERIES: dict[str, tuple[str, str, str, int]] = {
    TEACHER: ("teacher", "var(--teacher)", "square", 11),
    PLAIN: ("without distillation", "var(--undistilled)", "circle-open", 11),
    "student": ("distilled, torch", "var(--student)", "circle", 10),
    "onnx": ("distilled, ONNX fp32", "var(--onnx)", "diamond", 9),
    "int8": ("distilled, ONNX int8", "var(--int8)", "circle", 10),
    "torch-int8": ("distilled, torch int8", "var(--torch-int8)", "diamond-open", 10),
    "model": ("other models", "var(--model)", "circle", 10),
    PUBLISHED: ("published", "var(--published)", "triangle-open", 11),
    FRONT: ("Pareto front of ours", MUTED, "", 0),
}


@dataclass(frozen=True)
class Point:
    """One mark on a chart.

    Attributes:
        series: a key of `SERIES`.
        number: row of its entry in the table, from 1.
        name: shown when the mark is pointed at.
        x, y: cost and score.
        low, high: ends of the error bar; None for none.
        labelled: whether its name or number stands beside it.
    """

    series: str
    number: int
    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    labelled: bool = True


@dataclass(frozen=True)
class EntryCost:
    """A cost that scores are drawn against, and its figure of an entry that has no rows."""

    axis: CostAxis
    entry: Callable[[Entry], float | None]


SIZE = EntryCost(charts.SIZE, lambda entry: entry.fp32)
LATENCY = EntryCost(charts.LATENCY, lambda entry: entry.p50_ms)
COMPRESS = CostAxis(
    "Kept of the teacher, by compression", "up and right is better", "compress factor, ×", lambda row: row.compress, fixed(2)
)


def trade_charts(comparison: Comparison) -> dict[str, Chart]:
    """The charts against size and latency, on one scale of scores, and of compression; each only where there is something to draw.

    Where all entries have the same score there is none: see `charts.all_level`.

    Args:
        comparison: the runs.

    Returns:
        Name → chart.
    """
    if charts.all_level(shown_scores(comparison), comparison.score):
        return {}
    points = {"size": cost_points(comparison, SIZE), "latency": cost_points(comparison, LATENCY)}
    y_axis = _y_axis(comparison.score, [point for own in points.values() for point in own])
    found = {name: _chart(own, comparison, cost, y_axis, 2) for (name, own), cost in zip(points.items(), (SIZE.axis, LATENCY.axis))}
    kept = compress_points(comparison)
    found["compress"] = _chart(kept, comparison, COMPRESS, _y_axis(KEPT, kept), 1)
    return {name: chart for name, chart in found.items() if chart is not None}


def shown_scores(comparison: Comparison) -> list[float | None]:
    """The scores of everything that a chart shows."""
    rows = [row.score for group in comparison.groups for row in group.rows]
    return [*rows, *(entry.score for entry in comparison.entries if not entry.runs)]


def cost_points(comparison: Comparison, cost: EntryCost) -> list[Point]:
    """Score against a cost for every file that was scored, with error bars over seeds; none where no student has both figures."""
    points: list[Point] = []
    groups = {group.name: group for group in comparison.groups}
    for number, entry in enumerate(comparison.entries, start=1):
        group = groups.get(entry.name) if entry.runs else None
        if group is None:
            points += _points(entry.kind, number, entry.name, cost.entry(entry), entry.score)
            points += _teacher_files(comparison, number, entry, cost)
            continue
        for row, scores in zip(group.rows, group.scores):
            if row.role == TEACHER:
                continue
            series = PLAIN if entry.kind == PLAIN or row.role == "undistilled" else row.role
            name = f"{entry.name}: {ROLES[row.role]}"
            own = _points(series, number, name, cost.axis.value(row), row.score, scores)
            # The file whose score the table shows is labelled; the others say who they are when pointed at.
            points += [point if row.score == entry.score else Point(**{**vars(point), "labelled": False}) for point in own]
    return [] if all(point.series in (TEACHER, PUBLISHED) for point in points) else points


def _teacher_files(comparison: Comparison, number: int, entry: Entry, cost: EntryCost) -> list[Point]:
    """The files that the teacher's own run shipped, where it is among the runs: a smaller file of the teacher needs no student."""
    taught = {other.name for other in comparison.entries if other.runs}
    itself = [group for group in comparison.groups if group.name not in taught and entry.kind == TEACHER]
    return [
        point
        for group in itself
        if any(row.score == entry.score for row in group.rows)
        for row in group.rows
        if row.role in CONVERTED
        for point in _points(TEACHER, number, f"{entry.name}: {ROLES[row.role]}", cost.axis.value(row), row.score)
    ]


def compress_points(comparison: Comparison) -> list[Point]:
    """Share of the teacher's score against the compression, ours and published."""
    return [
        point
        for number, entry in enumerate(comparison.entries, start=1)
        if entry.kind != MAJORITY  # no model, and so of no size
        for point in _points(_series(entry, comparison), number, entry.name, entry.compress, entry.of_teacher)
    ]


def _series(entry: Entry, comparison: Comparison) -> str:
    if entry.kind in SERIES:
        return entry.kind
    group = next(group for group in comparison.groups if group.name == entry.name)
    return next((row.role for row in group.rows if row.score == entry.score and row.role in SERIES and row.role != TEACHER), "student")


def _points(series: str, number: int, name: str, x: float | None, y: float | None, scores: Sequence[float] = ()) -> list[Point]:
    if x is None or y is None or x <= 0:
        return []
    return [Point(series, number, name, x, y, min(scores, default=None), max(scores, default=None))]


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (cost, score) points on the Pareto front, by rising cost: no other point costs less and scores at least as high."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _y_axis(title: str, points: Sequence[Point]) -> Axis | None:
    """The axis that holds all points and error bars; None without points."""
    values = [value for point in points for value in (point.low, point.y, point.high) if value is not None]
    return score_axis(title, values) if values else None


def _chart(points: Sequence[Point], comparison: Comparison, cost: CostAxis, y_axis: Axis | None, digits: int) -> Chart | None:
    """The chart of the points; None where fewer than two lie apart."""
    if y_axis is None or len({(point.x, point.y) for point in points}) < 2:
        return None
    front = pareto([(point.x, point.y) for point in points if point.series != PUBLISHED]) if cost is not COMPRESS else []
    lines = [Line([*front], MUTED, dash="dash", stepped=True, series=FRONT)] if len(front) > 1 else []
    dots = [_dot(point, comparison, cost.form, digits) for series in SERIES for point in points if point.series == series]
    x_axis = cost.axis([point.x for point in points])
    return Chart(cost.chart, x_axis, y_axis, dots, lines, hint=cost.hint, numbered=len(comparison.entries) > NAMED)


def _dot(point: Point, comparison: Comparison, form: Callable[[float], str], digits: int) -> Dot:
    _, colour, mark, size = SERIES[point.series]
    return Dot(
        point.x,
        point.y,
        f"{point.number}. {point.name}\n{point.y:.{digits}f} at {form(point.x)}",
        colour,
        mark,
        size,
        comparison.entries[point.number - 1].name if point.labelled else "",
        INK if point.series in (TEACHER, PLAIN) else "",
        point.number,
        point.low,
        point.high,
        point.series,
    )


def series_key(found: Iterable[Chart]) -> list[tuple[str, str]]:
    """(series, title) of each series that any of the charts draws, in the order of `SERIES`."""
    found = list(found)
    drawn = {dot.series for chart in found for dot in chart.dots} | {line.series for chart in found for line in chart.lines}
    return [(series, title) for series, (title, *_) in SERIES.items() if series in drawn]
