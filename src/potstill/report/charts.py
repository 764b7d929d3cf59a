"""Quality against what it costs: one chart against size, one against speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from potstill.report.figure import INK, Axis, Chart, Dot, Rule, level, score_axis, value_axis
from potstill.report.headline import shipped_row
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
"""Mark and size in pixels by role. An ONNX file often lies exactly on the student: it is smaller, so that both show."""

WIDE = 3.0
"""Ratio of largest to smallest from which an axis is logarithmic."""


@dataclass(frozen=True)
class CostAxis:
    """A cost that quality is set against.

    Attributes:
        chart: what a chart against it is called.
        hint: where on that chart the better ones are.
        title: of the axis.
        value: the figure of a row.
        form: how the figure is written.
    """

    chart: str
    hint: str
    title: str
    value: Callable[[ModelRow], float | None]
    form: Callable[[float], str]

    def axis(self, values: Sequence[float]) -> Axis:
        """The axis for these values: logarithmic where they are far from each other."""
        return value_axis(self.title, values, log=max(values) / min(values) >= WIDE)


SIZE = CostAxis("Against size", "up and left is better", "weights on disk, MB", lambda row: row.megabytes, fixed(1))
SPEED = CostAxis("Against speed", "up and right is better", "sentences a second", lambda row: row.sentences_per_second, significant)
LATENCY = CostAxis("Against latency", "up and left is better", "p50 of one sentence, ms", lambda row: row.p50_ms, significant)


def quality_charts(rows: Sequence[ModelRow], score_title: str) -> dict[str, Chart]:
    """The charts against size and against speed, on one scale of scores; each only where a model has both figures.

    Where all scores are equal there is none: see `all_level`.

    Args:
        rows: of all runs.
        score_title: of the vertical axis.

    Returns:
        Name → chart.
    """
    scores = [row.score for row in rows if row.score is not None]
    if not scores or level(scores):
        return {}
    y_axis = score_axis(score_title, scores)
    found = {name: quality_chart(rows, against, y_axis) for name, against in (("size", SIZE), ("speed", SPEED))}
    return {name: chart for name, chart in found.items() if chart is not None}


def all_level(scores: Sequence[float | None], title: str) -> str:
    """The sentence in place of charts where all scores are equal; "" where they are not, or fewer than two are known."""
    known = [score for score in scores if score is not None]
    return f"All {len(known)} have the same {title}, {known[0]:.2f}: there is nothing to draw." if level(known) else ""


def quality_chart(rows: Sequence[ModelRow], against: CostAxis, y_axis: Axis) -> Chart | None:
    """One point for each model, coloured by role; None where no model has both figures.

    Of one run, every point is labelled with its role. Of several, the file that each run ships carries the run's name,
    and the other points are named where they are pointed at.

    Args:
        rows: of all runs.
        against: the cost on the horizontal axis.
        y_axis: of the scores.
    """
    points = [(row, x, row.score) for row in rows if row.score is not None and (x := against.value(row)) is not None and x > 0]
    if not points:
        return None
    texts = _labels([row for row, _, _ in points])
    dots = [_dot(row, x, y, text, against, y_axis.title) for (row, x, y), text in zip(points, texts)]
    lines = sorted({round(y, 2) for row, _, y in points if row.role == "teacher"})
    rules = [Rule(line) for line in lines]
    return Chart(against.chart, against.axis([x for _, x, _ in points]), y_axis, dots, rules=rules, hint=against.hint)


def _labels(rows: Sequence[ModelRow]) -> list[str]:
    runs = list(dict.fromkeys(row.run for row in rows))
    if len(runs) == 1:
        return [row.title for row in rows]
    shipped = {run: shipped_row([row for row in rows if row.run == run]) for run in runs}
    return [row.run if row is shipped[row.run] else "teacher" if row.role == "teacher" else "" for row in rows]


def _dot(row: ModelRow, x: float, y: float, label: str, against: CostAxis, score_title: str) -> Dot:
    mark, size = MARKS[row.role]
    said = f"{row.run}: {row.title}\n{score_title} {y:.2f}\n{against.title} {against.form(x)}"
    ink = INK if row.role in ("teacher", "undistilled") else ""
    return Dot(x, y, said, f"var(--{row.role})", mark, size, label, ink)
