"""Charts of a comparison: score against size, latency and compression, with the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.comparison.against import MAJORITY, PLAIN, PUBLISHED, TEACHER, Comparison, Entry
from potstill.report import charts
from potstill.report.charts import CostAxis
from potstill.report.figure import INK, MUTED, PAPER, Figure, axis, layout, log_ticks, plain
from potstill.report.labels import place_labels
from potstill.report.numbers import fixed
from potstill.results import CONVERTED, ROLES

FRONT = "front"
NAMED = 6
"""So many entries are labelled with their names; where there are more, all have the numbers of the table's rows."""
LABEL = 22  # letters of a name on a chart

# Series in the order of the key: title, colour, symbol, size in pixels.
SERIES: dict[str, tuple[str, str, str, int]] = {
    TEACHER: ("teacher", "var(--teacher)", "square", 11),
    PLAIN: ("without distillation", "var(--undistilled)", "circle-open", 11),
    "student": ("distilled, torch", "var(--student)", "circle", 10),
    "onnx": ("distilled, ONNX fp32", "var(--onnx)", "diamond", 9),
    "int8": ("distilled, ONNX int8", "var(--int8)", "circle", 10),
    "torch-int8": ("distilled, torch int8", "var(--torch-int8)", "diamond-open", 10),
    "model": ("other models", "var(--model)", "circle", 10),
    PUBLISHED: ("published", "var(--published)", "triangle-up-open", 11),
    FRONT: ("Pareto front of ours", MUTED, "line-ew", 0),
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


def cost_chart(comparison: Comparison, cost: EntryCost) -> Figure | None:
    """Score against a cost for every file that was scored, with error bars over seeds.

    None where fewer than two files have both figures, or no student has.
    """
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
    if all(point.series in (TEACHER, PUBLISHED) for point in points):
        return None
    return _chart(points, comparison, cost.axis.title, comparison.score, cost.axis.form, 2, front=True)


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


def compress_chart(comparison: Comparison) -> Figure | None:
    """Share of the teacher's score against the compression, ours and published; None where fewer than two entries have both."""
    points = [
        point
        for number, entry in enumerate(comparison.entries, start=1)
        if entry.kind != MAJORITY  # no model, and so of no size
        for point in _points(_series(entry, comparison), number, entry.name, entry.compress, entry.of_teacher)
    ]
    return _chart(points, comparison, "compress factor, ×", "kept of the teacher’s score, %", fixed(2), 1, front=False)


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


def _chart(
    points: Sequence[Point], comparison: Comparison, x_title: str, y_title: str, form: Callable[[float], str], digits: int, front: bool
) -> Figure | None:
    if len({(point.x, point.y) for point in points}) < 2:
        return None
    xs, ys = [point.x for point in points], [value for point in points for value in (point.low, point.y, point.high) if value is not None]
    logarithmic = max(xs) / min(xs) >= charts.WIDE
    at = [math.log10(x) if logarithmic else x for x in xs]
    margin = (max(at) - min(at)) * 0.12 or abs(at[0]) * 0.2 or 1.0
    x_range = [min(at) - margin, max(at) + margin]
    room = max((max(ys) - min(ys)) * 0.12, 0.4)
    y_range = [min(ys) - room, max(ys) + room]
    numbered = len(comparison.entries) > NAMED
    texts = [str(point.number) if numbered else _cut(comparison.entries[point.number - 1].name) for point in points]

    def up(y: float) -> float:
        return (y - y_range[0]) / (y_range[1] - y_range[0])

    across = [(x - x_range[0]) / (x_range[1] - x_range[0]) for x in at]
    spots = [(x, up(point.y)) for x, point in zip(across, points)]
    bars = [(x, up(p.low), up(p.high)) for x, p in zip(across, points) if p.low is not None and p.high is not None and p.low < p.high]
    line = pareto([(point.x, point.y) for point in points if point.series != PUBLISHED]) if front else []
    shown = [text if point.labelled else "" for text, point in zip(texts, points)]
    labels = place_labels(spots, shown, [up(y) for _, y in line[:-1]], bars)
    traces: list[Figure] = [_front(line)] if len(line) > 1 else []
    for series in SERIES:
        own = [(point, label) for point, label in zip(points, labels) if point.series == series]
        if own:
            traces.append(_trace(series, own, form, digits))
    x_axis = axis(title=x_title, range=x_range, showgrid=False, showline=True, ticks="outside", nticks=7)
    if logarithmic:
        x_axis.update(type="log", **log_ticks(10 ** x_range[0], 10 ** x_range[1]))
    y_axis = axis(title=y_title, range=y_range, nticks=7)
    return {"data": traces, "layout": layout(xaxis=x_axis, yaxis=y_axis, height=420, hovermode="closest")}


def _cut(name: str) -> str:
    return name if len(name) <= LABEL else f"{name[: LABEL - 1]}…"


def _front(line: Sequence[tuple[float, float]]) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, _ in line],
        "y": [y for _, y in line],
        "line": {"color": MUTED, "width": 1.4, "dash": "dash", "shape": "hv"},
        "name": SERIES[FRONT][0],
        "meta": FRONT,
        "hoverinfo": "skip",
    }


def _trace(series: str, points: Sequence[tuple[Point, Any]], form: Callable[[float], str], digits: int) -> Figure:
    title, colour, symbol, size = SERIES[series]
    trace: Figure = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [point.x for point, _ in points],
        "y": [point.y for point, _ in points],
        "text": [f"\u00a0{plain(label.text)}\u00a0" for _, label in points],
        "textposition": [label.position for _, label in points],
        "textfont": {"size": 12, "color": INK if series in (TEACHER, PLAIN) else colour},
        "cliponaxis": False,
        "marker": {"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.5, "color": colour if "open" in symbol else PAPER}},
        "name": title,
        "meta": series,
        # Names go in as data: plotly would read %{…} inside a template.
        "customdata": [[f"{point.number}. {plain(point.name)}", form(point.x)] for point, _ in points],
        "hovertemplate": f"<b>%{{customdata[0]}}</b><br>%{{y:.{digits}f}} at %{{customdata[1]}}<extra></extra>",
    }
    if any(point.low != point.high for point, _ in points):
        trace["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [0 if point.high is None else point.high - point.y for point, _ in points],
            "arrayminus": [0 if point.low is None else point.y - point.low for point, _ in points],
            "thickness": 1,
            "width": 3,
            "color": colour,
        }
    return trace


def series_key(figures: Sequence[Figure | None]) -> list[tuple[str, str]]:
    """(series, title) of each series that any of the charts draws, in the order of `SERIES`."""
    drawn = {trace["meta"] for figure in figures if figure is not None for trace in figure["data"]}
    return [(series, title) for series, (title, *_) in SERIES.items() if series in drawn]
