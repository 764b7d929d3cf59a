"""Charts of a search: score by each value, by step and against latency, and the test scores of the chosen run by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from potstill.report.charts import LATENCY, all_level
from potstill.report.figure import (
    INK,
    MUTED,
    SERIES,
    Axis,
    Chart,
    Dot,
    Line,
    named_axis,
    score_axis,
    step_axis,
    tick_texts,
    value_axis,
)
from potstill.report.names import key_names, value_title
from potstill.report.numbers import significant
from potstill.report.scores import task_title
from potstill.search.record import Search, Trial

BEST, TRIED = "var(--int8)", "var(--student)"
WIDE = 9.9
"""Ratio of the largest to the smallest listed value from which their axis is logarithmic."""


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


def search_level(search: Search) -> str:
    """The sentence in place of the charts of dev scores where all trials have the same; "" where they differ."""
    return all_level([trial.score for trial in search.trials], task_title(search.score))


def value_charts(search: Search) -> list[Chart]:
    """Draw the scores by the values of each key: on dev, and where each trial was scored on the tests, on these; each on one scale.

    Args:
        search: the search.

    Returns:
        A chart for each key of which a trial with a value was scored, then those of the tests.
    """
    if search_level(search):
        return []
    scores = [trial.score for trial in search.trials if trial.score is not None]
    tests = [score for trial in search.trials for score in trial.tests.values()]
    found = [value_chart(search, key, score_axis(task_title(search.score), scores)) for key in search.space["keys"] if scores]
    found += [factor_chart(search, key, score_axis("score", tests)) for key in search.space["keys"] if tests]
    return [chart for chart in found if chart is not None]


def value_chart(search: Search, key: str, y_axis: Axis) -> Chart | None:
    """Draw the dev scores by the values of one key: a dot for each trial, and for listed values a line through their medians.

    Args:
        search: the search.
        key: one of its keys.
        y_axis: of the scores.

    Returns:
        The chart; None where no trial with a value of the key was scored.
    """
    names = key_names(list(search.space["keys"]))
    found = _found(search, key, lambda trial: trial.score)
    if not found:
        return None
    x_axis, place = _value_axis(names[key], search, key, [value for value, _ in found])
    lines = []
    if search.sampler in ("one-factor", "grid"):
        lines = [Line(_medians([(place(value), trial.score) for value, trial in found if trial.state == "complete"]), MUTED)]
    ranked = sorted(found, key=lambda pair: (pair[1].number == search.best, pair[1].state != "pruned"))
    dots = [_dot(search, trial, place(value), f"{names[key]} {value_title(value)}") for value, trial in ranked]
    return Chart(_title(names[key]), x_axis, y_axis, dots, [line for line in lines if line.points], hint=key)


def factor_chart(search: Search, key: str, y_axis: Axis) -> Chart | None:
    """Draw each test's score by the values of one key: a dot for each trial, and for listed values a line through their medians.

    Args:
        search: the search.
        key: one of its keys.
        y_axis: of the scores.

    Returns:
        The chart; None where no trial with a value of the key was scored on the tests.
    """
    name = key_names(list(search.space["keys"]))[key]
    found = _found(search, key, lambda trial: next(iter(trial.tests.values()), None))
    if not found:
        return None
    x_axis, place = _value_axis(name, search, key, [value for value, _ in found])
    lines, dots = [], []
    for number, task in enumerate(dict.fromkeys(task for trial in search.trials for task in trial.tests)):
        colour = SERIES[number % len(SERIES)]
        own = [(place(value), trial.tests[task]) for value, trial in found if task in trial.tests]
        listed = isinstance(search.space["keys"][key], list)  # of a range each value is one trial's: no line is to be seen
        lines.append(Line(_medians(own) if listed else [], colour, task_title(task)))
        dots += [
            Dot(place(value), trial.tests[task], f"{task_title(task)} {trial.tests[task]:.2f}\n{_who(trial)}", colour, size=6)
            for value, trial in found
            if task in trial.tests
        ]
    return Chart(f"{_title(name)}, tests", x_axis, y_axis, dots, lines, hint="these chose nothing")


def steps_chart(search: Search) -> Chart | None:
    """Draw the dev score of every trial by step: the best trial in colour, pruned ones dotted; None where none has a score."""
    names = key_names(list(search.space["keys"]))
    curves = sorted((trial for trial in search.trials if trial.curve), key=lambda trial: trial.number == search.best)
    if not curves or search_level(search):
        return None
    lines, dots = [], []
    for trial in curves:
        best = trial.number == search.best
        dash = "dot" if trial.state == "pruned" else "solid"
        lines.append(Line([*trial.curve], BEST if best else MUTED, "", dash, 2.6 if best else 1))
        said = f"{_who(trial)}: {settings_title(search, trial, names)}"
        if best:
            dots += [Dot(step, value, f"{value:.2f} at step {step:,}\n{said}", BEST, size=6) for step, value in trial.curve]
        else:
            step, value = trial.curve[-1]
            dots.append(Dot(step, value, f"{value:.2f} at step {step:,}\n{said}", MUTED, size=5))
    values = [value for trial in curves for _, value in trial.curve]
    last = max(step for trial in curves for step, _ in trial.curve)
    hint = f"the best trial in colour{', pruned ones dotted' if any(trial.state == 'pruned' for trial in curves) else ''}"
    return Chart(task_title(search.score), step_axis(last), score_axis(task_title(search.score), values), dots, lines, hint=hint)


def front_chart(search: Search) -> Chart | None:
    """Draw quality against latency, with a line along the Pareto front; None where latency is no objective."""
    found = [trial for trial in search.trials if trial.latency_ms is not None and trial.score is not None]
    if not found:
        return None
    names = key_names(list(search.space["keys"]))
    front = sorted((trial for trial in found if trial.number in search.front), key=lambda trial: trial.latency_ms or 0)
    lines = [Line([(trial.latency_ms or 0.0, trial.score) for trial in front], BEST, stepped=True)] if front else []
    dots = [
        _dot(search, trial, trial.latency_ms or 0.0, settings_title(search, trial, names), BEST if trial.number in search.front else TRIED)
        for trial in sorted(found, key=lambda trial: trial.number in search.front)
    ]
    x_axis = value_axis(LATENCY.title, [trial.latency_ms or 0.0 for trial in found])
    y_axis = score_axis(task_title(search.score), [trial.score or 0.0 for trial in found])
    return Chart("Each trial", x_axis, y_axis, dots, lines, hint="up and left is better; the line joins what none beats in both")


def tests_chart(search: Search) -> Chart | None:
    """Draw the scores of the chosen run by step: each test, and dev, which chose it; None where there is no test, or nothing moved."""
    tasks = list(dict.fromkeys(task for step in search.steps for task in step.scores))
    if not tasks:
        return None
    lines = [
        Line([(step.step, step.scores[task]) for step in search.steps if task in step.scores], _colour(number), task_title(task))
        for number, task in enumerate(tasks)
    ]
    lines.append(Line([(step.step, step.dev) for step in search.steps], INK, f"{task_title(search.score)} (chose)", "dot"))
    if all(len({value for _, value in line.points}) < 2 for line in lines):
        return None
    dots = [
        Dot(step, value, f"{line.name} {value:.2f}\nstep {step:,.0f}", line.colour, size=5)
        for line in lines
        for step, value in line.points
        if value is not None
    ]
    axis = score_axis("score", [dot.y for dot in dots])
    return Chart("The chosen run", step_axis(max(dot.x for dot in dots)), axis, dots, lines)


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _title(name: str) -> str:
    return name[:1].upper() + name[1:]


def _found(search: Search, key: str, score: Callable[[Trial], float | None]) -> list[tuple[Any, Trial]]:
    """(value of the key, trial) of each trial that has both a value and a score."""
    # The best of each key together stands for no single value.
    scored = [trial for trial in search.trials if score(trial) is not None and trial.role != "combined"]
    return [(value, trial) for trial in scored if (value := _value(search, trial, key)) is not None]


def _value(search: Search, trial: Trial, key: str) -> Any:
    """The value of a key in a trial; None where it is not known, or where the trial is about another key."""
    if key in trial.settings:
        return trial.settings[key]
    if trial.role == "single":
        return None
    own = search.base.get(key)
    listed = search.space["keys"][key]
    return own if own is not None and (not isinstance(listed, list) or own in listed or trial.role == "base") else None


def _medians(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float | None]]:
    """(place, median of the scores there), by rising place."""
    places = sorted({x for x, _ in points})
    return [(place, median(y for x, y in points if x == place and y is not None)) for place in places]


def _value_axis(title: str, search: Search, key: str, found: Sequence[Any]) -> tuple[Axis, Callable[[Any], float]]:
    """The axis of a key's values, and what gives a value's place on it.

    Logarithmic where the values were drawn so, of listed ones where they span `WIDE`. Values that are not all numbers get a place each.
    """
    space = search.space["keys"][key]
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in found):
        said = list(dict.fromkeys(map(value_title, [*(space if isinstance(space, list) else []), *found])))
        shown = [name for name in said if name in {value_title(value) for value in found}]
        return named_axis(title, shown), lambda value: float(shown.index(value_title(value)))
    values = sorted({float(value) for value in found})
    if isinstance(space, dict):
        return value_axis(title, values, log=bool(space.get("log")) and values[0] > 0), float
    axis = value_axis(title, values, log=values[0] > 0 and values[-1] / values[0] >= WIDE)
    if len(values) < 3:  # too few ticks for an axis: round ones stand between them
        return axis, float
    return Axis(title, axis.low, axis.high, tuple(zip(values, tick_texts(values))), axis.log), float


def _who(trial: Trial) -> str:
    return f"trial {trial.number}{'' if trial.state == 'complete' else f' ({trial.state})'}"


def _dot(search: Search, trial: Trial, x: float, settings: str, colour: str = "") -> Dot:
    """A trial as a point: the best one large, pruned ones hollow."""
    best, pruned = trial.number == search.best, trial.state == "pruned"
    said = f"{trial.score:.2f}\n{_who(trial)}: {settings}" + ("" if trial.latency_ms is None else f"\n{significant(trial.latency_ms)} ms")
    colour = colour or (BEST if best else MUTED if pruned else TRIED)
    return Dot(x, trial.score or 0.0, said, colour, "circle-open" if pruned else "circle", 13 if best else 9)
