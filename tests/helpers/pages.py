"""Looking at pages and figures: what stands in a document, and whether plotly takes a figure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from potstill.report.figure import Figure

VOID = {"meta", "br", "hr", "img", "input", "link", "base", "source"}
Save = Callable[..., Path]


class Reader(HTMLParser):
    """The cells of the table of models by row, the marks inside each chart, and whatever points outside the page."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.path: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.charts: dict[str, Counter[str]] = {}
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
        chart = next((attributes["data-figure"] for _, attributes in self.path if "data-figure" in attributes), None)
        if chart is not None:
            self.charts.setdefault(chart, Counter()).update([f"{tag}.{name}" for name in own.get("class", "").split()])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.path and tag in [name for name, _ in self.path]:
            if self.path.pop()[0] == tag:
                break

    def handle_data(self, data: str) -> None:
        if any(tag in ("td", "th") for tag, _ in self.path):
            self.rows[-1][-1] += data


def without_plotly(document: str) -> str:
    """The document without its first script, which is plotly's own 5 MB."""
    return re.sub(r"<script>.*?</script>", "", document, count=1, flags=re.DOTALL)


def coloured(value: Any) -> Any:
    """A figure as the page's script makes it: a colour in place of each CSS variable."""
    if isinstance(value, str) and value.startswith("var("):
        return "#123456"
    if isinstance(value, dict):
        return {key: coloured(item) for key, item in value.items()}
    return [coloured(item) for item in value] if isinstance(value, list) else value


def validate(figure: Figure | None) -> Figure:
    """plotly's own check of every key and value; JSON without NaN."""
    assert figure is not None
    go.Figure(coloured(figure))
    json.dumps(figure, allow_nan=False)
    return figure
