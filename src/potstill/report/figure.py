"""What a chart shows: its axes, points and lines. `svg` draws it.

Colours are CSS variables (`var(--int8)`), so that one drawing serves the light page, the dark one and paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

INK, MUTED = "var(--ink)", "var(--muted)"
SERIES = [f"var(--series-{number})" for number in range(1, 9)]
"""Colours of curves that stand for no role: loss terms, runs, tests."""
FEWEST, GOOD = 3, 5
"""Ticks that an axis has at least, and about."""
FULL = 100.0
"""The highest value of a score in per cent: where no score is above it, neither is the axis."""

Ticks = tuple[tuple[float, str], ...]
Points = list[tuple[float, float | None]]
"""(across, up) in the axes' units; None breaks a line."""


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        title: what the values are.
        low: the value at the left or at the bottom.
        high: the value at the right or at the top.
        ticks: (value, text) of each tick.
        log: whether it is logarithmic; `low` is then above 0.
        named: whether the ticks are names, each of which must be seen.
    """

    title: str
    low: float
    high: float
    ticks: Ticks
    log: bool = False
    named: bool = False

    def part(self, value: float) -> float:
        """Where a value stands: 0 at the low end, 1 at the high one."""
        low, high, value = (math.log10(each) for each in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return (value - low) / (high - low)


@dataclass(frozen=True)
class Dot:
    """One point.

    Attributes:
        x: in the horizontal axis' units.
        y: in the vertical axis' units.
        said: what is shown when it is pointed at; lines are divided by line ends.
        colour: a CSS colour.
        mark: circle, square, diamond or triangle; with `-open` behind it only its outline is drawn.
        size: from edge to edge, in pixels.
        label: its name beside it; "" for none.
        label_colour: of the name; "" for the point's own.
        number: what stands for the name where names do not fit; None: counted.
        low: lower end of its error bar; None for none.
        high: upper end of its error bar.
        series: the series that shows and hides with it.
    """

    x: float
    y: float
    said: str
    colour: str
    mark: str = "circle"
    size: float = 10
    label: str = ""
    label_colour: str = ""
    number: int | None = None
    low: float | None = None
    high: float | None = None
    series: str = ""


@dataclass(frozen=True)
class Line:
    """One line through points.

    Attributes:
        points: in order.
        colour: a CSS colour.
        name: in the key below the chart, and shown when it is pointed at; "" for none.
        dash: solid, dot or dash.
        width: in pixels.
        stepped: whether it goes across first and then up, as a front does.
        series: the series that shows and hides with it.
    """

    points: Points
    colour: str
    name: str = ""
    dash: str = "solid"
    width: float = 1.4
    stepped: bool = False
    series: str = ""


@dataclass(frozen=True)
class Rule:
    """A dotted line through the whole chart, upright or level, with a name at its upper end.

    Attributes:
        at: its value on the axis that it crosses.
        upright: whether it stands on the horizontal axis.
        name: beside its upper end; "" for none.
        colour: a CSS colour.
    """

    at: float
    upright: bool = False
    name: str = ""
    colour: str = MUTED


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        title: above it, and what it is called where it cannot be seen.
        hint: beside the title.
        x: the horizontal axis.
        y: the vertical axis.
        dots: the points.
        lines: below the points.
        rules: below the lines.
        numbered: whether numbers stand for names even where names would fit.
        height: of the drawing, as a share of the usual one.
    """

    title: str
    x: Axis
    y: Axis
    dots: list[Dot] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    hint: str = ""
    numbered: bool = False
    height: float = 1.0


def tick_texts(values: Sequence[float]) -> list[str]:
    """Write the ticks of one axis alike: plain numbers with commas; small ones as 3e-4 where any is below 0.001."""
    small = any(0 < abs(value) < 0.9995e-3 for value in values)
    texts: list[str] = []
    for digits in range(2, 16):
        texts = [_tick_text(value, small, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def _tick_text(value: float, small: bool, digits: int) -> str:
    if value and (abs(value) >= 0.9995e7 or (small and abs(value) < 0.9995e-2)):
        mantissa, _, power = f"{value:.{digits}e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    return f"{value:,.12f}".rstrip("0").rstrip(".")


def ticks_between(low: float, high: float) -> Ticks:
    """Choose round values between two ends: about `GOOD` of them, and never fewer than `FEWEST`."""
    power = math.floor(math.log10((high - low) / GOOD))
    for step in (step * 10.0**place for place in (power + 1, power, power - 1) for step in (5.0, 2.5, 2.0, 1.0)):
        if step > (high - low) / (FEWEST - 1):
            continue
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 >= GOOD - 1 or (last - first + 1 >= FEWEST and step <= (high - low) / GOOD):
            break
    values = [number * step for number in range(first, last + 1)]
    digits = max(0, -math.floor(math.log10(step)) + (f"{step:e}"[2] == "5" and f"{step:e}"[0] == "2"))
    texts = tick_texts([round(value, digits + 1) for value in values])
    if not any("e" in text for text in texts):
        texts = [f"{value:,.{digits}f}" for value in values]
    return tuple(zip(values, texts))


def log_ticks(low: float, high: float) -> Ticks:
    """Choose the ticks of a logarithmic axis from `low` to `high`, both above 0.

    They stand at 1, 10, 100 …; where these are too few also at 3, or at 2 and 5, or at every digit; within a part of a decade at
    round values.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5, 7)):
        values = [value for power in decades for step in steps if low <= (value := float(f"{step}e{power}")) <= high]
        if len(values) >= GOOD - 1:
            return tuple(zip(values, tick_texts(values)))
    return ticks_between(low, high)


def linear_axis(title: str, low: float, high: float) -> Axis:
    """An axis between two ends with round ticks."""
    return Axis(title, low, high, ticks_between(low, high))


def value_axis(title: str, values: Sequence[float], log: bool = False) -> Axis:
    """An axis that holds all values, with some room on both sides. `log` needs values above 0."""
    low, high = min(values), max(values)
    if log:
        least, most = math.log10(low), math.log10(high)
        room = (most - least) * 0.12 or 0.3
        low, high = 10 ** (least - room), 10 ** (most + room)
        return Axis(title, low, high, log_ticks(low, high), log=True)
    room = max((high - low) * 0.12, max(abs(low), abs(high)) * 1e-6) if high > low else abs(high) * 0.2 or 1.0
    return linear_axis(title, max(0.0, low - room) if low >= 0 else low - room, high + room)


def score_axis(title: str, values: Sequence[float], room: float = 0.14) -> Axis:
    """An axis of scores in per cent. It ends at 100 where no score is above that, and at 0 where none is below.

    Args:
        title: of the axis.
        values: all scores that it is to hold, those of the chart beside it too where both are to have one scale.
        room: above and below, as a share of their range.
    """
    low, high = min(values), max(values)
    room = max((high - low) * room, 0.5, max(abs(low), abs(high)) * 1e-3)
    top, bottom = high + room, low - room
    return linear_axis(title, max(0.0, bottom) if low >= 0 else bottom, min(FULL, top) if high <= FULL else top)


def step_axis(last: float) -> Axis:
    """An axis of steps, from 0."""
    return linear_axis("step", 0.0, max(last, 1.0))


def named_axis(title: str, names: Sequence[str]) -> Axis:
    """An axis on which the k-th name has the place k."""
    return Axis(title, -0.5, len(names) - 0.5, tuple((float(place), name) for place, name in enumerate(names)), named=True)


def level(scores: Sequence[float]) -> bool:
    """Whether two or more scores are equal as they are written, so that a chart would show a line and no more."""
    return len(scores) > 1 and len({f"{score:.2f}" for score in scores}) == 1
