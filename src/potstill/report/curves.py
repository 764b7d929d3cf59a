"""Training curves: loss, development score and learning rate over the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from potstill.report.figure import INK, MUTED, SERIES, Chart, Dot, Line, Points, Rule, linear_axis, score_axis, step_axis, value_axis
from potstill.report.scores import finite, task_title

DOTTED = 60
"""A dev score's evaluations are drawn as points where they are at most so many."""


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


def training_charts(runs: Mapping[str, Curves]) -> list[Chart]:
    """Losses, development scores and learning rates over the steps, a chart each; none of what was not logged.

    Of one run the loss is drawn term by term; of several, their total losses are drawn over each other.

    Args:
        runs: each run's curves, by its name.

    Returns:
        The charts.
    """
    runs = {name: curves for name, curves in runs.items() if curves.loss or curves.dev}
    rules = _marks(list(runs.values()))
    charts = [_loss_chart(runs, rules), _dev_chart(runs, rules), _rate_chart(runs, rules)]
    return [chart for chart in charts if chart is not None]


def _loss_chart(runs: Mapping[str, Curves], rules: list[Rule]) -> Chart | None:
    if len(runs) == 1:
        (curves,) = runs.values()
        # A lone term of weight 1 is the total itself: one line says it.
        terms = {name: points for name, points in curves.terms.items() if _values(points) != _values(curves.loss)}
        # Wide under the terms: where one of them is the whole loss, as in LRC-BERT's first stage, both are seen.
        lines = [Line(curves.loss, INK, "total", width=2.6 if terms else 1.6)]
        lines += [_line(points, name, number) for number, (name, points) in enumerate(terms.items())]
    else:
        lines = [_line(curves.loss, f"{name}{_best_of(curves)}", number) for number, (name, curves) in enumerate(runs.items())]
    losses = [y for line in lines for y in _values(line.points)]
    if not losses:
        return None
    if logarithmic := min(losses) >= 0 and max(losses) > 0:
        losses = [loss for loss in losses if loss]
        # A weight that a schedule begins with may be 0, which has no logarithm.
        lines = [replace(line, points=[(x, y or None) for x, y in line.points]) for line in lines]
    hint = "each term before its weight" if len(runs) == 1 and len(lines) > 1 else ""
    axis = value_axis(f"loss{' (log scale)' if logarithmic else ''}", losses, log=logarithmic)
    return Chart("Loss by step", step_axis(_last(runs)), axis, lines=lines, rules=rules, hint=hint)


def _dev_chart(runs: Mapping[str, Curves], rules: list[Rule]) -> Chart | None:
    found = [(number, name, metric, points) for number, (name, curves) in enumerate(runs.items()) for metric, points in curves.dev.items()]
    if not found:
        return None
    metrics = list(dict.fromkeys(metric for _, _, metric, _ in found))
    lines, dots = [], []
    for number, name, metric, points in found:
        title = task_title(metric)
        if len(runs) == 1:
            line = Line(points, "var(--int8)" if len(metrics) == 1 else _colour(metrics.index(metric)), title if len(metrics) > 1 else "")
        else:
            line = _line(points, name if len(metrics) == 1 else f"{name} {title}", number)
        lines.append(line)
        best = _best(points)
        for place, (step, value) in enumerate(points):
            if value is not None and (place == best or len(points) <= DOTTED):
                # Labels at the points of several runs would cover each other: there the legend of the losses names the best.
                label = f"best {value:.2f}" if place == best and len(runs) == 1 else ""
                said = f"{line.name or title} {value:.2f}\nstep {step:,.0f}{', the best' if place == best else ''}"
                dots.append(Dot(step, value, said, line.colour, size=11 if place == best else 5, label=label))
    title = ", ".join(map(task_title, metrics))
    y_axis = score_axis(title, [value for _, _, _, points in found for value in _values(points)], room=0.2)
    return Chart("Score by step", step_axis(_last(runs)), y_axis, dots, lines, rules)


def _rate_chart(runs: Mapping[str, Curves], rules: list[Rule]) -> Chart | None:
    single = len(runs) == 1
    lines = [Line(curves.rate, MUTED) if single else _line(curves.rate, name, number) for number, (name, curves) in enumerate(runs.items())]
    rates = [y for line in lines for y in _values(line.points)]
    if not rates:
        return None
    y_axis = linear_axis("learning rate", min(0.0, min(rates)), max(rates) or 1.0)
    return Chart("Learning rate by step", step_axis(_last(runs)), y_axis, lines=lines, rules=rules, height=0.6)


def _values(points: Points) -> list[float]:
    return [y for _, y in points if y is not None]


def _last(runs: Mapping[str, Curves]) -> float:
    """The last step of all runs."""
    return max(x for curves in runs.values() for points in (curves.loss, curves.rate, *curves.dev.values()) for x, _ in points)


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _line(points: Points, name: str, number: int) -> Line:
    """A look of its own for each curve: where the colours end they begin anew, dotted."""
    return Line(points, _colour(number), name, "dot" if number // len(SERIES) % 2 else "solid")


def _marks(runs: Sequence[Curves]) -> list[Rule]:
    """Where the stages of all runs begin: once for those that agree, in its own colour where a run stands alone."""
    shared: dict[tuple[tuple[float, str], ...], list[int]] = {}
    for number, curves in enumerate(runs):
        if len(curves.stages) > 1:
            shared.setdefault(tuple(curves.stages), []).append(number)
    marks: dict[tuple[float, str], Rule] = {}
    for stages, numbers in shared.items():
        colour = MUTED if len(shared) == 1 or len(numbers) > 1 else _colour(numbers[0])
        for step, name in stages:
            # What several have at the same step is nobody's own.
            marks[step, name] = Rule(step, True, name, MUTED if (step, name) in marks or not step else colour)
    return list(marks.values())


def _best(points: Points) -> int:
    return max(range(len(points)), key=lambda number: -math.inf if (value := points[number][1]) is None else value)


def _best_of(curves: Curves) -> str:
    """The best dev score as an addition to a legend."""
    return "".join(f", best {points[_best(points)][1]:.2f}" for points in curves.dev.values())
