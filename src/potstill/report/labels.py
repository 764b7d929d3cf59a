"""Where the labels of points go so that they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300.0, 290.0
"""Plot area in pixels on a phone. Points lie further apart on anything larger, so what fits here fits there."""
LETTER, LINE = 7.2, 16.0
"""About one letter's width and one line's height at the labels' font size, in pixels."""
GAP = 9.0
TOGETHER = 9.0
"""Points nearer than this in pixels are one spot and share a label."""

Box = tuple[float, float, float, float]

# plotly's textposition says where the text goes, seen from the point: (shift across, shift up) in box sizes.
POSITIONS = {
    "middle right": (0.5, 0.0),
    "middle left": (-0.5, 0.0),
    "top center": (0.0, 0.5),
    "bottom center": (0.0, -0.5),
    "top right": (0.5, 0.5),
    "bottom right": (0.5, -0.5),
    "top left": (-0.5, 0.5),
    "bottom left": (-0.5, -0.5),
}


@dataclass(frozen=True)
class Placed:
    """A label and plotly's textposition for it. The text is empty where another point of the same spot carries it."""

    text: str
    position: str


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    lines: Sequence[float] = (),
    bars: Sequence[tuple[float, float, float]] = (),
) -> list[Placed]:
    """Choose a position for the label of each point.

    Points on one spot share one label, "student, ONNX fp32". Each label takes the first position at which it covers
    nothing and stays inside the plot; where there is none, the one that covers least.

    Args:
        points: (across, up), each a fraction of the plot area.
        texts: the points' labels; "" for none.
        lines: heights at which a line crosses the whole plot, fractions of it.
        bars: error bars, (across, from, to), fractions of the plot.
    """
    pixels = [(x * WIDTH, y * HEIGHT) for x, y in points]
    shared = _share(pixels, texts)
    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in pixels]
    crossing: list[Box] = [(0.0, line * HEIGHT - 1, WIDTH, line * HEIGHT + 1) for line in lines]
    crossing += [(x * WIDTH - 4, low * HEIGHT, x * WIDTH + 4, high * HEIGHT) for x, low, high in bars]
    placed = []
    for own, ((x, y), text) in enumerate(zip(pixels, shared)):
        if not text:
            placed.append(Placed("", "middle right"))
            continue
        boxes = {name: _box(x, y, text, *shift) for name, shift in POSITIONS.items()}
        others = taken[:own] + taken[own + 1 :] + crossing
        best = min(boxes, key=lambda name: _outside(boxes[name]) + sum(_overlap(boxes[name], other) for other in others))
        taken.append(boxes[best])
        placed.append(Placed(text, best))
    return placed


def _share(pixels: Sequence[tuple[float, float]], texts: Sequence[str]) -> list[str]:
    shared = list(texts)
    for later in range(len(pixels)):
        for earlier in range(later):
            near = all(abs(a - b) < TOGETHER for a, b in zip(pixels[later], pixels[earlier]))
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


def _box(x: float, y: float, text: str, across: float, up: float) -> Box:
    width, height = LETTER * len(text), LINE
    middle_x = x + across * (width + 2 * GAP)
    middle_y = y + up * (height + (2 * GAP if across == 0 else GAP))
    return (middle_x - width / 2, middle_y - height / 2, middle_x + width / 2, middle_y + height / 2)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box) -> float:
    beyond = max(0.0, -box[0]) + max(0.0, box[2] - WIDTH) + max(0.0, -box[1]) + max(0.0, box[3] - HEIGHT)
    return beyond * LINE
