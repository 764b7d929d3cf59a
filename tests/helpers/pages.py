"""Looking at pages and charts: what stands in a document, and whether a chart is drawn whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

from potstill.report.figure import Chart, Line
from potstill.report.svg import SIZES, draw

VOID = {"meta", "br", "hr", "img", "input", "link", "base", "source"}
Save = Callable[..., Path]


class Reader(HTMLParser):
    """The cells of tables by row, the marks inside each chart's wide drawing by the chart's title, and what points outside the page."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.path: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.charts: dict[str, Counter[str]] = {}
        self.caption = ""
        self.outside: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        links = [value for name, value in own.items() if name in ("src", "href", "data", "xlink:href")]
        self.outside += [link for link in links if not link.startswith(("#", "data:"))]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.path.append((tag, own))
        above = [attributes.get("class", "") for _, attributes in self.path]
        if tag == "figcaption":
            self.caption = ""
        if "drawing wide" in above:
            dot = above[-2].startswith("dots") and own.get("class") != "bar" and tag != "title"
            self.charts.setdefault(self.caption, Counter()).update(
                ["dot"] * dot + [f"{tag}.{name}" for name in own.get("class", "").split()]
            )

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.path and tag in [name for name, _ in self.path]:
            if self.path.pop()[0] == tag:
                break

    def handle_data(self, data: str) -> None:
        if self.path and self.path[-1][0] == "figcaption":
            self.caption = (self.caption + data).strip()
        if any(tag in ("td", "th") for tag, _ in self.path):
            self.rows[-1][-1] += data


def lines_of(chart: Chart) -> dict[str, Line]:
    """A chart's lines by name."""
    return {line.name: line for line in chart.lines}


def validate(chart: Chart | None) -> Chart:
    """Both drawings of a chart hold every point and every line; no number is missing in them, and no label covers another."""
    assert chart is not None
    root = ElementTree.fromstring(draw(chart))
    numbers = " ".join(each.get(name, "") for each in root.iter() for name in ("d", "x", "y", "cx", "cy", "transform"))
    assert not re.search("nan|inf|None", numbers), "a number is missing"
    assert (chart.x.named or len(chart.x.ticks) >= 3) and len(chart.y.ticks) >= 3, "too few ticks"
    for name, (width, _) in SIZES.items():
        (drawing,) = [each for each in root.iter("div") if each.get("class") == f"drawing {name}"]
        groups = [group for group in drawing.iter("g") if (group.get("class") or "").startswith("dots")]
        assert sum(mark.get("class") != "bar" for group in groups for mark in group) == len(chart.dots)
        known = [line for line in chart.lines if any(y is not None for _, y in line.points)]
        assert sum((path.get("class") or "").startswith("line ") for path in drawing.iter("path")) == len(known)
        boxes = [_box(text) for text in drawing.iter("text") if text.get("class") == "label"]
        for a, b in combinations(boxes, 2):
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], f"labels cover each other in the {name} drawing"
        assert all(-60 <= left and right <= width for left, _, right, _ in boxes)
    return chart


def _box(text: ElementTree.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a label, with letters of 7 and lines of 13 pixels."""
    x, y, width = float(text.get("x", "")), float(text.get("y", "")), 7 * len(text.text or "")
    return x - width / 2, y - 10, x + width / 2, y + 3
