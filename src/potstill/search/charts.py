"""Charts of a search: score by each value, by step and against latency, and the test scores of the chosen run by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from potstill.report.figure import INK, MUTED, PAPER, SERIES, Figure, axis, layout, log_ticks, plain
from potstill.report.names import key_names, value_title
from potstill.report.numbers import significant
from potstill.report.scores import task_title
from potstill.search.record import Search, Trial

BEST, TRIED = "var(--int8)", "var(--student)"
WIDE = 9.9  # ratio of the largest to the smallest value from which an axis is logarithmic


def settings_title(search: Search, trial: Trial, names: Mapping[str, str]) -> str:
    """Write what a trial changes in the recipe, on one line.

    Args:
        search: the search.
        trial: one of its trials.
        names: key → title.

    Returns:
        The titles and values of its settings.
    """
    if not trial.settings:
        return "as the recipe has it"
    return ", ".join(f"{names[key]} {value_title(value)}" for key, value in trial.settings.items())


def value_chart(search: Search, key: str) -> Figure | None:
    """Draw the scores by the values of one key: a dot for each trial, and for listed values a line through their medians.

    Args:
        search: the search.
        key: one of its keys.

    Returns:
        The chart as Plotly has it; None where no trial with a value of the key was scored.
    """
    names = key_names(list(search.space["keys"]))
    # The best of each key together stands for no single value.
    scored = [trial for trial in search.trials if trial.score is not None and trial.role != "combined"]
    found = [(value, trial) for trial in scored if (value := _value(search, trial, key)) is not None]
    if not found:
        return None
    listed = isinstance(search.space["keys"][key], list)
    x_axis, xs = _value_axis(names[key], [value for value, _ in found], listed)
    traces: list[Figure] = []
    if listed and search.sampler in ("one-factor", "grid"):
        places = list(dict.fromkeys(xs)) if x_axis.get("type") == "category" else sorted(set(xs))
        middle = {place: [trial.score for x, (_, trial) in zip(xs, found) if x == place and trial.state == "complete"] for place in places}
        points = [(place, median(scores)) for place, scores in middle.items() if scores]  # type: ignore[type-var]
        traces.append(_line([x for x, _ in points], [y for _, y in points], "median", MUTED))
    traces += [
        _dots([x for x, (_, trial) in zip(xs, found) if keep(trial)], [trial for _, trial in found if keep(trial)], search, names, **look)
        for keep, look in (
            (lambda trial: trial.state == "pruned", {"colour": MUTED, "name": "pruned", "symbol": "circle-open"}),
            (lambda trial: trial.state != "pruned" and trial.number != search.best, {"colour": TRIED, "name": "trial"}),
            (lambda trial: trial.number == search.best, {"colour": BEST, "name": "best", "size": 13}),
        )
    ]
    traces = [trace for trace in traces if trace["x"]]
    return {"data": traces, "layout": layout(xaxis=x_axis, yaxis=_score_axis(search), height=300, hovermode="closest")}


def steps_chart(search: Search) -> Figure | None:
    """Draw the dev score of every trial by step: the best trial in colour, pruned ones dotted; None where none has a score."""
    names = key_names(list(search.space["keys"]))
    curves = sorted((trial for trial in search.trials if trial.curve), key=lambda trial: trial.number == search.best)
    if not curves:
        return None
    traces = []
    for trial in curves:
        best = trial.number == search.best
        trace = _line([step for step, _ in trial.curve], [value for _, value in trial.curve], "", BEST if best else MUTED)
        trace["line"] |= {"width": 2.6 if best else 1, "dash": "dot" if trial.state == "pruned" else "solid"}
        trace |= {"mode": "lines+markers", "opacity": 1 if best else 0.75, "marker": {"size": 6 if best else 3}}
        trace["hovertemplate"] = f"%{{y:.2f}} at step %{{x}}<br>{_hover(search, trial, names)}<extra></extra>"
        traces.append(trace)
    return {"data": traces, "layout": layout(xaxis=_step_axis(), yaxis=_score_axis(search), height=380, hovermode="closest")}


def front_chart(search: Search) -> Figure | None:
    """Draw quality against latency, with a line along the Pareto front; None where latency is no objective."""
    found = [trial for trial in search.trials if trial.latency_ms is not None and trial.score is not None]
    if not found:
        return None
    names = key_names(list(search.space["keys"]))
    front = sorted((trial for trial in found if trial.number in search.front), key=lambda trial: trial.latency_ms or 0)
    traces = [_line([trial.latency_ms for trial in front], [trial.score for trial in front], "front", BEST)]
    traces[0]["line"] |= {"shape": "hv"}
    for name, kept, colour in (
        ("trial", [trial for trial in found if trial.number not in search.front], TRIED),
        ("front", front, BEST),
    ):
        traces.append(_dots([trial.latency_ms for trial in kept], kept, search, names, colour=colour, name=name))
    x_axis = axis(title="p50 of one sentence, ms", showgrid=False, showline=True, ticks="outside", rangemode="normal")
    traces = [trace for trace in traces if trace["x"]]
    return {"data": traces, "layout": layout(xaxis=x_axis, yaxis=_score_axis(search), height=380, hovermode="closest")}


def tests_chart(search: Search) -> Figure | None:
    """Draw the scores of the chosen run by step: each test, and dev, by which it was chosen; None where there is no test."""
    tasks = list(dict.fromkeys(task for step in search.steps for task in step.scores))
    if not tasks:
        return None
    traces = []
    for number, task in enumerate(tasks):
        points = [(step.step, step.scores[task]) for step in search.steps if task in step.scores]
        traces.append(_line([x for x, _ in points], [y for _, y in points], task_title(task), SERIES[number % len(SERIES)]))
    traces.append(
        _line([step.step for step in search.steps], [step.dev for step in search.steps], f"{task_title(search.score)} (chose)", INK)
    )
    traces[-1]["line"] |= {"dash": "dot"}
    for trace in traces:
        trace |= {"mode": "lines+markers", "marker": {"size": 5}, "showlegend": True, "hovertemplate": "%{y:.2f}"}
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12, "color": INK}}
    y_axis = axis(title="score", nticks=6)
    return {
        "data": traces,
        "layout": layout(xaxis=_step_axis(), yaxis=y_axis, height=420, hovermode="x unified", showlegend=True, legend=legend),
    }


def _value(search: Search, trial: Trial, key: str) -> Any:
    """The value of a key in a trial; None where it is not known, or where the trial is about another key."""
    if key in trial.settings:
        return trial.settings[key]
    if trial.role == "single":
        return None
    own = search.base.get(key)
    listed = search.space["keys"][key]
    return own if own is not None and (not isinstance(listed, list) or own in listed or trial.role == "base") else None


def _value_axis(title: str, found: Sequence[Any], listed: bool) -> tuple[dict[str, Any], list[Any]]:
    """The axis of a key's values, and each value's place on it.

    Logarithmic where the values span WIDE. Values that are not all numbers get a place each.
    """
    shared = {"showgrid": False, "showline": True, "ticks": "outside", "title": title}
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        return axis(**shared, type="category"), [value_title(value) for value in found]
    order = sorted(set(found))
    if order[0] > 0 and order[-1] / order[0] >= WIDE:
        low, high = math.log10(order[0]), math.log10(order[-1])
        margin = 0.06 * (high - low)
        return axis(**shared, type="log", range=[low - margin, high + margin], **_ticks(order, listed)), list(found)
    return axis(**shared, **(_ticks(order, True) if listed else {})), list(found)


def _ticks(values: Sequence[float], listed: bool) -> dict[str, Any]:
    """Ticks of an axis: the values themselves where they are a list, else those of a logarithmic axis."""
    if listed:
        return {"tickvals": list(values), "ticktext": [value_title(value) for value in values]}
    return log_ticks(values[0] / 1.2, values[-1] * 1.2)


def _step_axis() -> dict[str, Any]:
    return axis(title="step", showgrid=False, showline=True, ticks="outside", tickformat=",d", rangemode="tozero")


def _score_axis(search: Search) -> dict[str, Any]:
    return axis(title=task_title(search.score), nticks=6)


def _hover(search: Search, trial: Trial, names: Mapping[str, str]) -> str:
    state = "" if trial.state == "complete" else f" ({trial.state})"
    # A percent sign before a brace would be a template's.
    return f"trial {trial.number}{state}: {plain(settings_title(search, trial, names)).replace('%{', '% {')}"


def _line(xs: Sequence[Any], ys: Sequence[Any], name: str, colour: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(xs),
        "y": list(ys),
        "name": plain(name),
        "line": {"color": colour, "width": 1.4},
        "showlegend": False,
        "hoverinfo": "skip",
    }


def _dots(
    xs: Sequence[Any],
    trials: Sequence[Trial],
    search: Search,
    names: Mapping[str, str],
    colour: str,
    name: str,
    symbol: str = "circle",
    size: int = 9,
) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": list(xs),
        "y": [trial.score for trial in trials],
        "name": name,
        "marker": {"color": colour, "size": size, "symbol": symbol, "line": {"width": 1, "color": colour if "open" in symbol else PAPER}},
        "customdata": [[_hover(search, trial, names) + _cost(trial)] for trial in trials],
        "hovertemplate": "<b>%{y:.2f}</b><br>%{customdata[0]}<extra></extra>",
        "cliponaxis": False,
    }


def _cost(trial: Trial) -> str:
    return "" if trial.latency_ms is None else f"<br>{significant(trial.latency_ms)} ms"
