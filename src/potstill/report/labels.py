"""Where the labels of points go so that they cover neither each other nor a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SIZE, LINE = 13.0, 16.0
"""Of a label, in pixels: its letters, and the height of its line."""
GAP = 9.0
"""Between the middle of a point and its label, in pixels."""
TOGETHER = 9.0
"""Points nearer than this in pixels are one spot and share a label."""
FAR = (24.0, 34.0, 46.0, 60.0, 76.0, 95.0, 120.0, 150.0, 190.0, 240.0)
"""Lengths of leader lines that are tried, in pixels."""
PASSES = 3
FULL = 0.3
"""Share of a plot from which labels are too many for it."""
NARROW, BROAD = "iljtfrI.,:;|'’()[] -", "mwMWQGO@%—"

Box = tuple[float, float, float, float]  # left, top, right, bottom
Spot = tuple[float, float]

# Of leader lines, as (right, down). Slanting ones first: a level one looks like a part of an axis.
DIRECTIONS = [
    (math.cos(turn * math.pi / 8), math.sin(turn * math.pi / 8)) for turn in (1, 15, 3, 13, 5, 11, 7, 9, 2, 14, 6, 10, 0, 8, 4, 12)
]
COVERED = 10.0
"""What a covered square pixel costs, where a pixel of a leader line costs a quarter."""

# From the point to the label, in half sizes of the label: (across, down). The first ones are the best.
NEAR = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))


@dataclass(frozen=True)
class Placed:
    """Where a label goes.

    Attributes:
        text: "" where another point of the same spot carries it.
        box: left, top, right and bottom of the text, in pixels.
        leader: the end of the line from the point to the label; None where it stands beside the point.
        clear: whether it covers nothing.
    """

    text: str
    box: Box = (0.0, 0.0, 0.0, 0.0)
    leader: Spot | None = None
    clear: bool = True


def text_width(text: str, size: float = SIZE) -> float:
    """About how wide a text is in pixels, rather more than less, at a size of its letters in pixels."""
    parts = (
        0.36 if each in NARROW else 0.9 if each in BROAD else 1.0 if ord(each) > 0x2E7F else 0.7 if each.isupper() else 0.58
        for each in text
    )
    return size * sum(parts)


def place_labels(points: Sequence[Spot], texts: Sequence[str], width: float, height: float, lines: Sequence[Box] = ()) -> list[Placed]:
    """Choose a place for the label of each point.

    Points on one spot share one label, "student, ONNX fp32". Each label takes the place at which it covers least: beside its point, else
    further off at the end of a leader line. Then labels are placed anew until none has a better place.

    Args:
        points: in pixels, from the upper left.
        texts: the points' labels; "" for none.
        width: of the plot, in pixels; labels stay inside.
        height: of the plot, in pixels.
        lines: boxes of thin lines and error bars, in pixels, that labels leave free where that costs little.

    Returns:
        A place for each point.
    """
    shared = _share(points, texts)
    marks: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    placed = [Placed(text) for text in shared]
    own = [number for number, text in enumerate(shared) if text]
    for turn in range(PASSES):
        moved = False
        for number in own:
            # In the first pass those that come later have no place yet.
            others = [other for other in own if other != number and (turn or other < number)]
            names, spots = [placed[other].box for other in others], marks[:number] + marks[number + 1 :]
            leaders = [(points[other], end) for other in others if (end := placed[other].leader) is not None]
            best = _best(points[number], shared[number], (width, height), names, spots, leaders, lines)
            moved = moved or best != placed[number]
            placed[number] = best
        if not moved:
            break
    return placed


def _best(
    point: Spot,
    text: str,
    limits: Spot,
    names: Sequence[Box],
    spots: Sequence[Box],
    leaders: Sequence[tuple[Spot, Spot]],
    lines: Sequence[Box],
) -> Placed:
    """The place of a label that costs least: what it covers counts most, then lines in its way, then how far off it is."""
    least, best = math.inf, Placed(text)
    for cost, box, end in _places(point, text):
        if cost >= least:
            if end is not None:
                break  # those that follow are further off
            continue
        covered = _outside(box, limits)
        for other in (*names, *spots):
            covered += _overlap(box, other)
        if cost + COVERED * covered >= least:
            continue
        for start, stop in leaders:
            covered += 40.0 * _crosses(start, stop, box)
        for other in lines:
            cost += 0.25 * _overlap(box, other)
        if end is not None and cost + COVERED * covered < least:
            for other in names:
                covered += 30.0 * _crosses(point, end, other)
            for other in spots:
                cost += 6.0 * _crosses(point, end, other)
            for start, stop in leaders:
                cost += 15.0 * _meet(point, end, start, stop)
        if cost + COVERED * covered < least:
            least, best = cost + COVERED * covered, Placed(text, box, end, clear=covered == 0)
    return best


def _places(point: Spot, text: str) -> Iterator[tuple[float, Box, Spot | None]]:
    """The places at which a label is tried, the best ones first: how bad by itself, its box, and the end of its leader line."""
    half_width, half_height = text_width(text) / 2 + 3, LINE / 2
    for rank, (across, down) in enumerate(NEAR):
        x = point[0] + across * (half_width + (GAP if down == 0 else 7))
        y = point[1] + down * (half_height + (GAP if across == 0 else 4))
        yield rank * 0.1, (x - half_width, y - half_height, x + half_width, y + half_height), None
    for length in FAR:
        for right, below in DIRECTIONS:
            end = point[0] + right * length, point[1] + below * length
            side = (right > 0.3) - (right < -0.3)
            x = end[0] + side * (half_width + 2)
            y = end[1] + (0 if side else (1 if below > 0 else -1) * half_height)
            yield 8 + 0.25 * length, (x - half_width, y - half_height, x + half_width, y + half_height), end


def too_many(texts: Sequence[str], width: float, height: float) -> bool:
    """Whether labels would fill so much of a plot, of a size in pixels, that they need not be tried."""
    return sum(text_width(text) * LINE for text in texts) > FULL * width * height


def _share(points: Sequence[Spot], texts: Sequence[str]) -> list[str]:
    shared = list(texts)
    for later in range(len(points)):
        for earlier in range(later):
            near = all(abs(a - b) < TOGETHER for a, b in zip(points[later], points[earlier]))
            if near and shared[later] and shared[earlier]:
                if shared[later] not in shared[earlier].split(", "):
                    shared[earlier] += f", {shared[later]}"
                shared[later] = ""
    return [_ranges(text) for text in shared]


def _ranges(text: str) -> str:
    """Three or more numbers in a row as 16–18, so that a crowded spot's label stays short; any other text as it is."""
    parts = text.split(", ")
    if not all(part.isdecimal() for part in parts):
        return text
    rows: list[list[int]] = []
    for number in sorted(map(int, parts)):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(f"{row[0]}–{row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in rows)


def _overlap(a: Box, b: Box) -> float:
    across = min(a[2], b[2]) - max(a[0], b[0])
    return across * down if across > 0 and (down := min(a[3], b[3]) - max(a[1], b[1])) > 0 else 0.0


def _outside(box: Box, limits: Spot) -> float:
    beyond = max(0.0, -box[0]) + max(0.0, box[2] - limits[0]) + max(0.0, -box[1]) + max(0.0, box[3] - limits[1])
    return beyond * LINE


def _crosses(start: Spot, end: Spot, box: Box) -> bool:
    """Whether a line goes through a box (Liang and Barsky, 1984)."""
    if max(start[0], end[0]) <= box[0] or min(start[0], end[0]) >= box[2]:
        return False
    if max(start[1], end[1]) <= box[1] or min(start[1], end[1]) >= box[3]:
        return False
    first, last = 0.0, 1.0
    for from_, to, low, high in ((start[0], end[0], box[0], box[2]), (start[1], end[1], box[1], box[3])):
        if abs(to - from_) < 1e-9:
            continue
        near, far = sorted(((low - from_) / (to - from_), (high - from_) / (to - from_)))
        first, last = max(first, near), min(last, far)
    return first < last


def _meet(a: Spot, b: Spot, c: Spot, d: Spot) -> bool:
    """Whether the line from a to b crosses that from c to d."""
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False

    def side(start: Spot, end: Spot, spot: Spot) -> float:
        return (end[0] - start[0]) * (spot[1] - start[1]) - (end[1] - start[1]) * (spot[0] - start[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
