"""Training curves: loss, development score and learning rate over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from potstill.report.figure import INK, MUTED, PAPER, SERIES, Figure, axis, layout, log_ticks, plain
from potstill.report.scores import finite, task_title

Points = list[tuple[float, float | None]]


@dataclass
class Curves:
    """What metrics.jsonl says, as curves of (step, value) points; a None value breaks the line.

    Attributes:
        loss: the total.
        terms: each term's own loss, by its name.
        rate: the learning rate.
        dev: development scores, by metric.
        stages: the first step of each stage, and the stage's name.
    """

    loss: Points = field(default_factory=list)
    terms: dict[str, Points] = field(default_factory=dict)
    rate: Points = field(default_factory=list)
    dev: dict[str, Points] = field(default_factory=dict)
    stages: list[tuple[float, str]] = field(default_factory=list)


def read_curves(lines: Sequence[Mapping[str, Any]]) -> Curves:
    """Sort the lines of metrics.jsonl into curves.

    A stage that counts its steps from 0 again continues where the last one ended. Every curve breaks between stages:
    other terms make another sum, and a term that a stage leaves out has no value there.
    """
    curves = Curves()
    stage, offset, last = None, 0.0, 0.0
    for line in lines:
        own = finite(line.get("step"))
        if own is None:
            continue
        if line.get("stage") != stage:
            if stage is not None:
                offset = last if own + offset < last else offset
                for points in (curves.loss, curves.rate, *curves.terms.values()):
                    points.append((last, None))
            stage = line.get("stage")
            curves.stages.append((last, str(stage)))
        step = last = own + offset
        if "loss" in line:
            curves.loss.append((step, finite(line["loss"])))
        if "learning_rate" in line:
            curves.rate.append((step, finite(line["learning_rate"])))
        for name, value in (line.get("terms") or {}).items():
            curves.terms.setdefault(name, []).append((step, finite(value)))
        dev = line.get("dev")
        if dev and (value := finite(dev.get("value"))) is not None:
            curves.dev.setdefault(str(dev.get("name", "dev")), []).append((step, value))
    return curves


def training_chart(runs: Mapping[str, Curves]) -> Figure | None:
    """Losses, development scores and learning rates over the steps; None where nothing was logged.

    Of one run the loss is drawn term by term; of several, their total losses are drawn over each other.

    Args:
        runs: each run's curves, by its name.
    """
    runs = {name: curves for name, curves in runs.items() if curves.loss or curves.dev}
    if not runs:
        return None
    single = len(runs) == 1
    traces = [
        trace
        for number, (name, curves) in enumerate(runs.items())
        for trace in (_of_one(curves) if single else _of_several(name, curves, number))
    ]
    losses, devs = ([y for trace in traces if trace["yaxis"] == own for y in trace["y"] if y is not None] for own in ("y", "y2"))
    if logarithmic := bool(losses) and min(losses) >= 0 and max(losses) > 0:
        losses = [loss for loss in losses if loss]
        for trace in traces:  # a weight that a schedule begins with may be 0, which has no logarithm
            trace["y"] = [y if y or trace["yaxis"] != "y" else None for y in trace["y"]]
    metrics = dict.fromkeys(task_title(metric) for curves in runs.values() for metric in curves.dev)
    terms = ", terms before their weights" if single and sum(trace["yaxis"] == "y" for trace in traces) > 1 else ""
    titles = {"y": f"loss{terms}{' (log scale)' if logarithmic else ''}", "y2": ", ".join(metrics), "y3": "learning rate"}
    return {"data": traces, "layout": _layout(titles, losses, devs, _marks(list(runs.values())), logarithmic)}


def _of_one(curves: Curves) -> list[Figure]:
    """Total and terms, dev scores, rate."""
    # A lone term of weight 1 is the total itself: one line says it.
    terms = {name: points for name, points in curves.terms.items() if _values(points) != _values(curves.loss)}
    # Wide under the terms: where one of them is the whole loss, as in LRC-BERT's first stage, both are seen.
    traces = [_line(curves.loss, "total", Pen(INK, width=2.6 if terms else 1.6), "y")]
    traces += [_line(points, name, _pen(number), "y") for number, (name, points) in enumerate(terms.items())]
    for metric, points in curves.dev.items():
        traces += _dev(points, task_title(metric), Pen("var(--int8)"), labelled=True)
    return [*traces, _line(curves.rate, "learning rate", Pen(MUTED), "y3", legend=False)]


def _of_several(name: str, curves: Curves, number: int) -> list[Figure]:
    """Total, dev scores and rate of run `number`, in one colour."""
    pen = _pen(number)
    traces = [_line(curves.loss, f"{name}{_best_of(curves)}", pen, "y")]
    for metric, points in curves.dev.items():
        traces += _dev(points, f"{name} {task_title(metric)}", pen, labelled=False)
    return [*traces, _line(curves.rate, "learning rate", pen, "y3", legend=False)]


def _values(points: Points) -> list[float]:
    return [y for _, y in points if y is not None]


@dataclass(frozen=True)
class Pen:
    """How a curve is drawn; the width is in pixels."""

    colour: str
    dash: str = "solid"
    width: float = 1.4


def _pen(number: int) -> Pen:
    """A look of its own for each curve: where the colours end they begin anew, dotted."""
    return Pen(SERIES[number % len(SERIES)], "dot" if number // len(SERIES) % 2 else "solid")


@dataclass(frozen=True)
class Mark:
    """Where a stage begins."""

    step: float
    name: str
    colour: str
    row: int
    """Line of its name, counted from the top."""


def _marks(runs: Sequence[Curves]) -> list[Mark]:
    """The stages of all runs: once for those that agree, in its own colour where a run stands alone."""
    shared: dict[tuple[tuple[float, str], ...], list[int]] = {}
    for number, curves in enumerate(runs):
        if len(curves.stages) > 1:
            shared.setdefault(tuple(curves.stages), []).append(number)
    marks: dict[tuple[float, str], Mark] = {}
    for row, (stages, numbers) in enumerate(shared.items()):
        colour = MUTED if len(shared) == 1 or len(numbers) > 1 else _pen(numbers[0]).colour
        for step, name in stages:
            # What several have at the same step is nobody's own. Names of neighbours stand on two lines.
            again = (step, name) in marks
            marks[step, name] = Mark(step, name, MUTED if again or not step else colour, marks[step, name].row if again else row % 2)
    return list(marks.values())


def _line(points: Points, name: str, pen: Pen, y_axis: str, legend: bool = True) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines" if len(points) > 1 else "markers",
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "name": plain(name),
        "line": {"color": pen.colour, "width": pen.width, "dash": pen.dash},
        "marker": {"color": pen.colour, "size": 5},
        "xaxis": "x",
        "yaxis": y_axis,
        "showlegend": legend,
        "hovertemplate": "%{y:.4g}",
    }


def _best(points: Points) -> int:
    return max(range(len(points)), key=lambda number: -math.inf if (value := points[number][1]) is None else value)


def _best_of(curves: Curves) -> str:
    """The best dev score as an addition to a legend: labels at the points of several runs would cover each other."""
    return "".join(f", best {points[_best(points)][1]:.2f}" for points in curves.dev.values())


def _dev(points: Points, name: str, pen: Pen, labelled: bool) -> list[Figure]:
    best = _best(points)
    step, value = points[best]
    curve = _line(points, name, pen, "y2", legend=False)
    curve.update(mode="lines+markers", hovertemplate="%{y:.2f}")
    mark = {
        **_line([(step, value)], name, pen, "y2", legend=False),
        "mode": "markers+text" if labelled else "markers",
        "marker": {"color": pen.colour, "size": 11, "line": {"color": PAPER, "width": 2}},
        "text": [f"best {value:.2f}"],
        # The best is most often among the last: its label must stay inside.
        "textposition": "top center" if best < 0.8 * len(points) else "top left",
        "textfont": {"color": pen.colour, "size": 13},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }
    mark.pop("hovertemplate")
    return [curve, mark]


def _layout(titles: Mapping[str, str], losses: Sequence[float], devs: Sequence[float], marks: Sequence[Mark], logarithmic: bool) -> Figure:
    # Each panel's share of the height, from the bottom; the rest is for headings, stage names and the legend.
    height, domains = 600, {"y": [0.51, 0.92], "y2": [0.21, 0.43], "y3": [0.0, 0.13]}
    if not devs:
        height, domains = 460, {"y": [0.31, 0.9], "y3": [0.0, 0.17]}
    spread = max(devs) - min(devs) or 1.0 if devs else 1.0
    dev_range = [min(devs) - 0.1 * spread, max(devs) + 0.4 * spread] if devs else None  # room for the best one's label
    headings = [_heading(text, domains[name][1]) for name, text in titles.items() if text]
    return layout(
        height=height,
        xaxis=axis(title="step", anchor="y3", showgrid=False, showline=True, ticks="outside", tickformat=",d", rangemode="tozero"),
        yaxis=axis(domain=domains["y"], **({"type": "log", **log_ticks(min(losses) / 2, max(losses) * 2)} if logarithmic else {})),
        **({"yaxis2": axis(domain=domains["y2"], nticks=4, range=dev_range)} if devs else {}),
        yaxis3=axis(domain=domains["y3"], nticks=3, exponentformat="e", rangemode="tozero"),
        annotations=[*headings, *map(_stage_name, marks)],
        shapes=[_stage_line(mark) for mark in marks if mark.step],
        showlegend=True,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom", "font": {"size": 12, "color": INK}},
        hovermode="x unified",
        hoversubplots="axis",
        spikedistance=-1,
    )


def _heading(text: str, top: float) -> Figure:
    """A panel's heading, above its upper edge at `top` of the whole height."""
    place = {"xref": "paper", "yref": "paper", "x": 0, "y": top, "xanchor": "left", "yanchor": "bottom"}
    return {"text": plain(text), **place, "font": {"size": 12, "color": MUTED}, "showarrow": False}


def _stage_name(mark: Mark) -> Figure:
    """A stage's name at the top of the chart, just right of its line."""
    place = {"x": mark.step, "xshift": 4 if mark.step else 0, "yref": "paper", "y": 1.0, "yshift": -14 * mark.row}
    font = {"size": 12, "color": mark.colour}
    return {"text": plain(mark.name), **place, "xanchor": "left", "yanchor": "top", "font": font, "showarrow": False}


def _stage_line(mark: Mark) -> Figure:
    """The dotted line through all panels where a stage begins."""
    line = {"color": mark.colour, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": mark.step, "x1": mark.step, "yref": "paper", "y0": 0, "y1": 1, "line": line}
