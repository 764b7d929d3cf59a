"""Quality against what it costs: one chart against size, one against speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from potstill.report.figure import INK, MUTED, PAPER, Figure, axis, layout, log_ticks, plain
from potstill.report.headline import shipped_row
from potstill.report.labels import Placed, place_labels
from potstill.report.numbers import fixed, significant
from potstill.report.rows import ModelRow
from potstill.results import Role

MARKS: dict[Role, tuple[str, int]] = {
    "teacher": ("square", 12),
    "undistilled": ("circle-open", 11),
    "student": ("circle", 15),
    "onnx": ("diamond", 9),
    "int8": ("circle", 13),
    "torch-int8": ("diamond-open", 11),
    "model": ("circle", 12),
}
"""Symbol and size in pixels by role. An ONNX file often lies exactly on the student: it is smaller, so that both show."""

WIDE = 3.0
"""Ratio of largest to smallest from which an axis is logarithmic."""


@dataclass(frozen=True)
class CostAxis:
    """A cost that quality is set against: the axis' title, the figure of a row, and how it is written."""

    title: str
    value: Callable[[ModelRow], float | None]
    form: Callable[[float], str]


SIZE = CostAxis("weights on disk, MB", lambda row: row.megabytes, fixed(1))
SPEED = CostAxis("sentences a second", lambda row: row.sentences_per_second, significant)
LATENCY = CostAxis("p50 of one sentence, ms", lambda row: row.p50_ms, significant)


def quality_chart(rows: Sequence[ModelRow], against: CostAxis, score_title: str) -> Figure | None:
    """One point for each model, coloured by role; None where no model has both figures.

    Of one run, every point is labelled with its role. Of several, the file that each run ships carries the run's name,
    and the other points are named on hover.

    Args:
        rows: of all runs.
        against: the cost on the horizontal axis.
        score_title: of the vertical axis.
    """
    points = [(row, x, row.score) for row in rows if row.score is not None and (x := against.value(row)) is not None and x > 0]
    if not points:
        return None
    xs, ys = [x for _, x, _ in points], [y for _, _, y in points]
    logarithmic = max(xs) / min(xs) >= WIDE
    x_range, y_range = _x_range(xs, logarithmic), _y_range(ys)
    texts = _labels([row for row, _, _ in points])
    at = [math.log10(x) if logarithmic else x for x in xs]
    lines = sorted({round(y, 2) for row, _, y in points if row.role == "teacher"})
    spots = [(_part(x, x_range), _part(y, y_range)) for x, y in zip(at, ys)]
    labels = place_labels(spots, texts, [_part(line, y_range) for line in lines])
    traces = [_trace(row, x, y, label, against, score_title) for (row, x, y), label in zip(points, labels)]
    x_axis = axis(title=against.title, range=x_range, showgrid=False, showline=True, ticks="outside")
    if logarithmic:
        x_axis.update(type="log", **log_ticks(10 ** x_range[0], 10 ** x_range[1]))
    shapes = [_teacher_line(line) for line in lines]
    y_axis = axis(title=score_title, range=y_range, nticks=6)
    return {"data": traces, "layout": layout(xaxis=x_axis, yaxis=y_axis, shapes=shapes, height=380, hovermode="closest")}


def _part(value: float, limits: Sequence[float]) -> float:
    return (value - limits[0]) / (limits[1] - limits[0])


def _labels(rows: Sequence[ModelRow]) -> list[str]:
    runs = list(dict.fromkeys(row.run for row in rows))
    if len(runs) == 1:
        return [row.title for row in rows]
    shipped = {run: shipped_row([row for row in rows if row.run == run]) for run in runs}
    return [row.run if row is shipped[row.run] else "teacher" if row.role == "teacher" else "" for row in rows]


def _trace(row: ModelRow, x: float, y: float, label: Placed, against: CostAxis, score_title: str) -> Figure:
    symbol, size = MARKS[row.role]
    colour = f"var(--{row.role})"
    figures = f"{plain(score_title)} {y:.2f}<br>{against.title} {against.form(x)}"
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [x],
        "y": [y],
        "text": [f"\u00a0{plain(label.text)}\u00a0"],
        "textposition": label.position,
        "textfont": {"size": 13, "color": INK if row.role in ("teacher", "undistilled") else colour},
        "cliponaxis": False,
        "marker": {"symbol": symbol, "size": size, "color": colour, "line": {"width": 1.5, "color": colour if "open" in symbol else PAPER}},
        "name": plain(row.title),
        # Names go in as data: plotly would read %{…} inside a template.
        "customdata": [[plain(f"{row.run}: {row.title}")]],
        "hovertemplate": f"<b>%{{customdata[0]}}</b><br>{figures}<extra></extra>",
    }


def _teacher_line(score: float) -> Figure:
    line = {"color": MUTED, "width": 1, "dash": "dot"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": score, "y1": score, "line": line, "layer": "below"}


def _x_range(values: Sequence[float], logarithmic: bool) -> list[float]:
    low, high = (math.log10(min(values)), math.log10(max(values))) if logarithmic else (min(values), max(values))
    margin = (high - low) * 0.14 or abs(high) * 0.2 or 1.0
    return [low - margin, high + margin]


def _y_range(values: Sequence[float]) -> list[float]:
    margin = max((max(values) - min(values)) * 0.16, 0.5)
    return [min(values) - margin, max(values) + margin]
