"""Charts as SVG within a page: drawn once for a phone and once for anything wider; the style sheet shows the one that fits.

Two drawings, because letters in one that is scaled would be too small on a phone or too large on a screen. Nothing is computed in the
browser: a page without scripts shows its charts too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise

from potstill.report.figure import Axis, Chart, Dot, Line, Points, Rule, Ticks
from potstill.report.labels import LINE, Box, Placed, place_labels, text_width, too_many

SIZES = {"narrow": (354.0, 330.0), "wide": (584.0, 380.0)}
"""Width and height in pixels. The style sheet takes the wide one from 500 pixels on."""
SMALL = 12.0
"""Size of the letters at axes, in pixels."""
BEND = 0.4
"""A point of a curve is left out where the line without it is nearer than so many pixels."""
TOLD = 12
"""So many points are read out; of more only their number and range."""
BUCKETS = {"narrow": 60, "wide": 110}
"""A curve keeps its lowest and highest value within each of so many parts of its length."""
CUT = 24
"""Letters of a name at an axis or a rule."""
SLANT = 40
"""Degrees by which names at an axis turn where they do not fit side by side."""

# Half a mark's size is r; paths begin at the mark's middle.
_PATHS = {
    "square": "m-{r} -{r}h{d}v{d}h-{d}z",
    "diamond": "m0 -{q}l{q} {q}l-{q} {q}l-{q} -{q}z",
    "triangle": "m0 -{q}l{q} {d}h-{qq}z",
}


def draw(chart: Chart) -> str:
    """Draw a chart as HTML: a figure with its title, its keys, and both drawings.

    Args:
        chart: what to draw.

    Returns:
        A `figure` element. Every text in it is escaped.
    """
    hint = f" <small>{escape(chart.hint)}</small>" if chart.hint else ""
    drawn = "".join(_drawing(chart, name) for name in SIZES)
    return f'<figure class="chart"><figcaption>{escape(chart.title)}{hint}</figcaption>{drawn}{_legend(chart.lines)}</figure>'


@dataclass(frozen=True)
class Frame:
    """Where the plot lies within a drawing, in pixels, and what maps values to it."""

    left: float
    top: float
    width: float
    height: float
    x: Axis
    y: Axis

    def across(self, value: float) -> float:
        """A value of the horizontal axis, in pixels from the plot's left edge."""
        return self.x.part(value) * self.width

    def down(self, value: float) -> float:
        """A value of the vertical axis, in pixels from the plot's upper edge."""
        return (1 - self.y.part(value)) * self.height


def _drawing(chart: Chart, name: str) -> str:
    """One of the drawings, with its key where numbers stand for names."""
    width, height = SIZES[name]
    height = round(height * chart.height)
    rows = _rows([rule for rule in chart.rules if rule.name], chart.x, width - 80)
    left = 8 + max((text_width(text, SMALL) for _, text in chart.y.ticks), default=0.0)
    right = 16.0
    slanted = chart.x.named and not _fit(chart.x, width - left - right)
    below = 40.0 + (max(text_width(_cut(text), SMALL) for _, text in chart.x.ticks) * math.sin(math.radians(SLANT)) if slanted else 0.0)
    above = 28.0 + 15 * (1 + max(rows.values()) if rows else 0)
    frame = Frame(left, above, width - left - right, height - above - (below if chart.x.title else below - 18), chart.x, chart.y)
    labels, numbers = _labels(chart, frame)
    parts = [
        _axes(frame, height, slanted),
        *(_rule(rule, frame, rows.get(rule.name)) for rule in chart.rules),
        *(_line(line, frame, BUCKETS[name]) for line in chart.lines),
        *_dots(chart.dots, frame),
        *(_label(dot, label, frame) for dot, label in zip(chart.dots, labels) if label.text),
    ]
    svg = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(_told(chart))}">'
    inner = f'<g transform="translate({_n(frame.left)} {_n(frame.top)})">{"".join(parts)}</g>'
    return f'<div class="drawing {name}">{svg}{inner}</svg>{_key(numbers)}</div>'


def _n(value: float) -> str:
    """A number of pixels, to a tenth."""
    text = f"{value:.1f}"
    return text[:-2].replace("-0", "0") if text.endswith(".0") else text


def _cut(text: str) -> str:
    return text if len(text) <= CUT else f"{text[: CUT - 1]}…"


def _told(chart: Chart) -> str:
    """The chart in words, for those who do not see it."""
    said = [f"{chart.title}: {chart.y.title} against {chart.x.title}"]
    if chart.dots and len(chart.dots) <= TOLD:
        said += [dot.said.replace("\n", ", ") for dot in chart.dots]
    elif chart.dots:
        scores = [dot.y for dot in chart.dots]
        said.append(f"{len(scores)} points from {min(scores):.4g} to {max(scores):.4g}")
    said += [name for line in chart.lines if (name := _range(line))]
    return ". ".join(said)


def _range(line: Line) -> str:
    """A line's name with its first and last value."""
    known = [y for _, y in line.points if y is not None]
    return f"{line.name}: {known[0]:.4g} → {known[-1]:.4g}" if line.name and known else line.name


# Axes


def _fit(axis: Axis, width: float) -> bool:
    return all(text_width(_cut(text), SMALL) + 8 <= width / max(len(axis.ticks), 1) for _, text in axis.ticks)


def _thinned_ticks(ticks: Ticks, frame: Frame) -> Iterator[tuple[float, str]]:
    """The ticks of the horizontal axis whose texts do not cover each other: the first, and those that leave room for the last."""
    spans = [(frame.across(value), text_width(text, SMALL) / 2 + 4) for value, text in ticks]
    end = -math.inf
    for number, ((at, half), (value, text)) in enumerate(zip(spans, ticks)):
        last = number == len(ticks) - 1
        if at - half >= end and (last or at + half <= spans[-1][0] - spans[-1][1] or len(ticks) < 4):
            yield value, text
            end = at + half


def _axes(frame: Frame, height: float, slanted: bool) -> str:
    parts = [f'<text class="title" x="{_n(-frame.left)}" y="{_n(12 - frame.top)}">{escape(frame.y.title)}</text>']
    for value, text in frame.y.ticks:
        at = _n(frame.down(value))
        parts.append(
            f'<path class="grid" d="M0 {at}h{_n(frame.width)}"/><text class="end" x="-7" y="{at}" dy=".35em">{escape(text)}</text>'
        )
    parts.append(f'<path class="axis" d="M0 {_n(frame.height)}h{_n(frame.width)}"/>')
    for value, text in frame.x.ticks if frame.x.named else _thinned_ticks(frame.x.ticks, frame):
        at, shown = _n(frame.across(value)), escape(_cut(text))
        whole = f"<title>{escape(text)}</title>" if len(text) > CUT else ""
        parts.append(f'<path class="axis" d="M{at} {_n(frame.height)}v5"/>')
        if slanted:
            turn = f'transform="translate({at} {_n(frame.height + 14)}) rotate(-{SLANT})"'
            parts.append(f'<text class="end" {turn}>{shown}{whole}</text>')
        else:
            parts.append(f'<text class="middle" x="{at}" y="{_n(frame.height + 18)}">{shown}{whole}</text>')
    if frame.x.title:
        parts.append(
            f'<text class="middle title" x="{_n(frame.width / 2)}" y="{_n(height - frame.top - 4)}">{escape(frame.x.title)}</text>'
        )
    return "".join(parts)


def _rows(rules: Sequence[Rule], axis: Axis, width: float) -> dict[str, int]:
    """Name of a rule → the line of text above the plot on which it stands: neighbours are on lines of their own."""
    ends: list[float] = []
    rows: dict[str, int] = {}
    for rule in sorted(rules, key=lambda rule: rule.at):
        start = axis.part(rule.at) * width
        row = next((row for row, end in enumerate(ends) if end <= start), len(ends))
        ends[row : row + 1] = [start + text_width(_cut(rule.name), SMALL) + 10]
        rows.setdefault(rule.name, row)
    return rows


def _rule(rule: Rule, frame: Frame, row: int | None) -> str:
    if not rule.upright:
        return f'<path class="rule" style="color:{rule.colour}" d="M0 {_n(frame.down(rule.at))}h{_n(frame.width)}"/>'
    at, top = frame.across(rule.at), -15.0 * (row or 0) - 4
    name = f'<text style="fill:{rule.colour}" x="{_n(at)}" y="{_n(top)}">{escape(_cut(rule.name))}</text>' if row is not None else ""
    # At the left edge stands the axis already: only the name is wanted there.
    path = f'<path class="rule" style="color:{rule.colour}" d="M{_n(at)} {_n(top)}V{_n(frame.height)}"/>' if at > 0 else ""
    return f"<g>{path}{name}<title>{escape(rule.name)}</title></g>"


# Lines and points


def _line(line: Line, frame: Frame, buckets: int) -> str:
    paths = []
    for gap, stretch in groupby(line.points, key=lambda point: point[1] is None):
        if gap:
            continue
        pixels = [(round(frame.across(x), 1), round(frame.down(y), 1)) for x, y in thinned(list(stretch), buckets) if y is not None]
        pieces = [f"M{_n(pixels[0][0])} {_n(pixels[0][1])}"]
        if line.stepped:
            pieces += [f"H{_n(x)}V{_n(y)}" for x, y in pixels[1:]]
        else:
            pixels = _straightened(pixels)
            pieces.append("l" + " ".join(f"{_n(x - before)} {_n(y - above)}" for (before, above), (x, y) in pairwise(pixels)))
        # A stretch of one point is a dot: round ends make it one.
        paths.append("".join(pieces) if len(pixels) > 1 else f"{pieces[0]}h.1")
    series = f' data-series="{escape(line.series)}"' if line.series else ""
    style = f"color:{line.colour};stroke-width:{line.width:g}"
    title = f"<title>{escape(said)}</title>" if (said := _range(line)) else ""
    return f'<g{series}><path class="line {line.dash}" style="{style}" d="{"".join(paths)}"/>{title}</g>' if paths else ""


def thinned(points: Points, buckets: int) -> Points:
    """Leave out points of a curve that has more than the drawing can show; peaks stay.

    Args:
        points: without gaps.
        buckets: into how many parts the curve is divided; each keeps its lowest and its highest point.

    Returns:
        The points that are left, in order, the first and the last among them.
    """
    if len(points) <= 2 * buckets:
        return points
    kept = {0, len(points) - 1}
    for number in range(buckets):
        part = range(number * len(points) // buckets, (number + 1) * len(points) // buckets)
        kept |= {min(part, key=lambda place: points[place][1] or 0.0), max(part, key=lambda place: points[place][1] or 0.0)}
    return [points[place] for place in sorted(kept)]


def _straightened(pixels: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of a line without those that do not bend it (Douglas and Peucker, 1973)."""
    kept, open_stretches = {0, len(pixels) - 1}, [(0, len(pixels) - 1)]
    while open_stretches:
        first, last = open_stretches.pop()
        (left, top), (right, bottom) = pixels[first], pixels[last]
        length = math.dist(pixels[first], pixels[last]) or 1.0
        off = [abs((right - left) * (top - y) - (left - x) * (bottom - top)) / length for x, y in pixels[first + 1 : last]]
        if off and max(off) > BEND:
            middle = first + 1 + off.index(max(off))
            kept.add(middle)
            open_stretches += [(first, middle), (middle, last)]
    return [pixels[place] for place in sorted(kept)]


def _dots(dots: Sequence[Dot], frame: Frame) -> Iterator[str]:
    """Points of one look are one group."""
    for (mark, colour, size, series), own in groupby(dots, key=lambda dot: (dot.mark, dot.colour, dot.size, dot.series)):
        shape, _, hollow = mark.partition("-")
        data = f' data-series="{escape(series)}"' if series else ""
        drawn = "".join(_dot(dot, shape, size, frame) for dot in own)
        yield f'<g class="dots{" open" if hollow else ""}{" small" if size < 8 else ""}"{data} style="color:{colour}">{drawn}</g>'


def _dot(dot: Dot, shape: str, size: float, frame: Frame) -> str:
    x, y, r = _n(frame.across(dot.x)), _n(frame.down(dot.y)), size / 2
    bar = ""
    if dot.low is not None and dot.high is not None and dot.low < dot.high:
        top, bottom = frame.down(dot.high), frame.down(dot.low)
        bar = f'<path class="bar" d="M{x} {_n(top)}V{_n(bottom)}m-3 0h6M{x} {_n(top)}m-3 0h6"/>'
    title = f"<title>{escape(dot.said)}</title>"
    if shape == "circle":
        return f'{bar}<circle cx="{x}" cy="{y}" r="{r:g}">{title}</circle>'
    path = _PATHS[shape].format(r=_n(r * 0.9), d=_n(r * 1.8), q=_n(r * 1.2), qq=_n(r * 2.4))
    return f'{bar}<path d="M{x} {y}{path}">{title}</path>'


# Names


def _labels(chart: Chart, frame: Frame) -> tuple[list[Placed], list[tuple[int, str]]]:
    """The place of each point's label, and (number, name) of all names where numbers stand for them."""
    points = [(frame.across(dot.x), frame.down(dot.y)) for dot in chart.dots]
    lines = [*_crossing(chart, frame)]
    texts = [_cut(dot.label) for dot in chart.dots]
    if not chart.numbered and not too_many(texts, frame.width, frame.height):
        labels = place_labels(points, texts, frame.width, frame.height, lines)
        if all(label.clear for label in labels):
            return labels, []
    counted: dict[tuple[str, int | None], int] = {}
    for dot in chart.dots:
        if dot.label:
            counted.setdefault((dot.label, dot.number), len(counted) + 1 if dot.number is None else dot.number)
    texts = [str(counted[dot.label, dot.number]) if dot.label else "" for dot in chart.dots]
    names = sorted((number, name) for (name, _), number in counted.items())
    return place_labels(points, texts, frame.width, frame.height, lines), names


def _crossing(chart: Chart, frame: Frame) -> Iterator[Box]:
    """Thin lines that labels should leave free: level rules, fronts and error bars."""
    for rule in chart.rules:
        if not rule.upright:
            y = frame.down(rule.at)
            yield 0.0, y - 1, frame.width, y + 1
    for line in chart.lines:
        known = [(frame.across(x), frame.down(y)) for x, y in line.points if y is not None]
        for (left, before), (right, after) in pairwise(known) if line.stepped else ():
            yield left, before - 1, right, before + 1
            yield right - 1, min(before, after), right + 1, max(before, after)
    for dot in chart.dots:
        if dot.low is not None and dot.high is not None and dot.low < dot.high:
            x = frame.across(dot.x)
            yield x - 4, frame.down(dot.high), x + 4, frame.down(dot.low)


def _label(dot: Dot, label: Placed, frame: Frame) -> str:
    left, top, right, bottom = label.box
    series = f' data-series="{escape(dot.series)}"' if dot.series else ""
    leader = ""
    if label.leader is not None:
        x, y = frame.across(dot.x), frame.down(dot.y)
        leader = f'<path class="leader" d="M{_n(x)} {_n(y)}L{_n(label.leader[0])} {_n(label.leader[1])}"/>'
    middle = _n((left + right) / 2), _n((top + bottom) / 2 + LINE * 0.28)
    text = f'<text class="label" style="fill:{dot.label_colour or dot.colour}" x="{middle[0]}" y="{middle[1]}">{escape(label.text)}</text>'
    return f"<g{series}>{leader}{text}</g>"


def _legend(lines: Sequence[Line]) -> str:
    """The lines' names below the chart; none where no line has one."""
    names = {line.name: line for line in reversed(lines) if line.name}
    swatch = '<li><i class="{dash}" style="color:{colour};border-width:{width:g}px" aria-hidden="true"></i>{name}</li>'
    shown = "".join(
        swatch.format(dash=line.dash, colour=line.colour, width=max(2, line.width), name=escape(name))
        for name, line in reversed(names.items())
    )
    return f'<ul class="legend">{shown}</ul>' if shown else ""


def _key(names: Sequence[tuple[int, str]]) -> str:
    """The names that the numbers of a drawing stand for."""
    shown = "".join(f'<li value="{number}">{escape(name)}</li>' for number, name in names)
    return f'<ol class="numbers">{shown}</ol>' if shown else ""
