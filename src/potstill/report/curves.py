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
    """What metrics.jsonl says, as lines: (step, value) pairs; a None value breaks the line."""

    loss: Points = field(default_factory=list)
    terms: dict[str, Points] = field(default_factory=dict)
    rate: Points = field(default_factory=list)
    dev: dict[str, Points] = field(default_factory=dict)
    stages: list[tuple[float, str]] = field(default_factory=list)
    """The first step of each stage and the stage's name."""


def read_curves(lines: Sequence[Mapping[str, Any]]) -> Curves:
    """Sort the lines of metrics.jsonl into curves.

    A stage that counts its steps from 0 again continues where the last one ended. The total
    breaks between stages, since another table of terms makes another sum.
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
                curves.loss.append((last, None))
                curves.rate.append((last, None))
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
    """Curves of one run, loss by term, or of several runs laid over each other; None when nothing was logged."""
    runs = {name: curves for name, curves in runs.items() if curves.loss or curves.dev}
    if not runs:
        return None
    single = len(runs) == 1
    traces: list[Figure] = []
    stages: list[tuple[float, str]] = []
    for colour, (name, curves) in zip(_colours(len(runs)), runs.items()):
        label = "total" if single else f"{name}{_best_of(curves)}"
        traces.append(_line(curves.loss, label, INK if single else colour, "y", width=1.6))
        if single:
            # A lone term of weight 1 is the total itself: one line says it.
            terms = {term: points for term, points in curves.terms.items() if _values(points) != _values(curves.loss)}
            traces += [_line(points, term, hue, "y") for hue, (term, points) in zip(_colours(len(terms)), terms.items())]
            stages = curves.stages
        for metric, points in curves.dev.items():
            title = task_title(metric) if single else f"{name} {task_title(metric)}"
            traces += _dev(points, title, "var(--int8)" if single else colour, labelled=single)
        traces.append(_line(curves.rate, "learning rate", MUTED if single else colour, "y3", legend=False))
    losses, devs = ([y for trace in traces if trace["yaxis"] == own for y in trace["y"] if y is not None] for own in ("y", "y2"))
    metrics = dict.fromkeys(task_title(metric) for curves in runs.values() for metric in curves.dev)
    titles = {"y": "loss" + (" (log scale)" if _logarithmic(losses) else ""), "y2": ", ".join(metrics), "y3": "learning rate"}
    return {"data": traces, "layout": _layout(titles, losses, devs, stages)}


def _values(points: Points) -> list[float]:
    return [y for _, y in points if y is not None]


def _colours(count: int) -> list[str]:
    return [SERIES[number % len(SERIES)] for number in range(count)]


def _logarithmic(losses: Sequence[float]) -> bool:
    return bool(losses) and min(losses) > 0


def _line(points: Points, name: str, colour: str, y_axis: str, width: float = 1.4, legend: bool = True) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines" if len(points) > 1 else "markers",
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "name": plain(name),
        "line": {"color": colour, "width": width},
        "marker": {"color": colour, "size": 5},
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


def _dev(points: Points, name: str, colour: str, labelled: bool) -> list[Figure]:
    best = _best(points)
    step, value = points[best]
    curve = _line(points, name, colour, "y2", legend=False)
    curve.update(mode="lines+markers", hovertemplate="%{y:.2f}")
    mark = {
        **_line([(step, value)], name, colour, "y2", legend=False),
        "mode": "markers+text" if labelled else "markers",
        "marker": {"color": colour, "size": 11, "line": {"color": PAPER, "width": 2}},
        "text": [f"best {value:.2f}"],
        # The best is most often among the last: its label must stay inside.
        "textposition": "top center" if best < 0.8 * len(points) else "top left",
        "textfont": {"color": colour, "size": 13},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }
    mark.pop("hovertemplate")
    return [curve, mark]


def _layout(titles: Mapping[str, str], losses: Sequence[float], devs: Sequence[float], stages: Sequence[tuple[float, str]]) -> Figure:
    # Each panel's share of the height, from the bottom; the rest is for headings, stage names and the legend.
    height, domains = 600, {"y": [0.51, 0.92], "y2": [0.21, 0.43], "y3": [0.0, 0.13]}
    if not devs:
        height, domains = 460, {"y": [0.31, 0.9], "y3": [0.0, 0.17]}
    notes = [
        {"text": plain(text), "xref": "paper", "yref": "paper", "x": 0, "y": domains[name][1], "xanchor": "left", "yanchor": "bottom"}
        for name, text in titles.items()
        if text
    ]
    shapes = []
    if len(stages) > 1:
        place = {"yref": "paper", "y": 1.0, "xanchor": "left", "yanchor": "top"}
        notes += [{"text": plain(name), "x": step, "xshift": 4 if step else 0, **place} for step, name in stages]
        line = {"color": MUTED, "width": 1, "dash": "dot"}
        shapes = [{"type": "line", "x0": step, "x1": step, "yref": "paper", "y0": 0, "y1": 1, "line": line} for step, _ in stages[1:]]
    spread = max(devs) - min(devs) or 1.0 if devs else 1.0
    dev_range = [min(devs) - 0.1 * spread, max(devs) + 0.4 * spread] if devs else None  # room for the best one's label
    for note in notes:
        note.update(showarrow=False, font={"size": 12, "color": MUTED})
    return layout(
        height=height,
        xaxis=axis(title="step", anchor="y3", showgrid=False, showline=True, ticks="outside", tickformat=",d", rangemode="tozero"),
        yaxis=axis(domain=domains["y"], **({"type": "log", **log_ticks(min(losses) / 2, max(losses) * 2)} if _logarithmic(losses) else {})),
        **({"yaxis2": axis(domain=domains["y2"], nticks=4, range=dev_range)} if devs else {}),
        yaxis3=axis(domain=domains["y3"], nticks=3, exponentformat="e", rangemode="tozero"),
        annotations=notes,
        shapes=shapes,
        showlegend=True,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.0, "yanchor": "bottom", "font": {"size": 12, "color": INK}},
        hovermode="x unified",
        hoversubplots="axis",
        spikedistance=-1,
    )
