"""What all charts have in common: axes, layout, colours by name.

A chart is a plain dict in plotly's own form. Its colours are CSS variables (`var(--int8)`), which plotly cannot read:
the page puts the colours in just before drawing, so that one chart serves the light and the dark page.
"""

from __future__ import annotations

import html
import math
from typing import Any

Figure = dict[str, Any]

INK, MUTED, RULE, PAPER = "var(--ink)", "var(--muted)", "var(--rule)", "var(--paper)"
SERIES = [f"var(--series-{number})" for number in range(1, 9)]
"""Colours of curves that stand for no role: loss terms, runs."""


def plain(text: str) -> str:
    """Text from a record, escaped: plotly reads tags in labels."""
    return html.escape(text, quote=False)


def axis(**more: Any) -> dict[str, Any]:
    """An axis with a hairline grid and no box. Drag and zoom are off, so that a finger scrolls the page.

    Args:
        more: plotly's own settings, which win over these. `title` is plain text.
    """
    base = {
        "gridcolor": RULE,
        "linecolor": MUTED,
        "showline": False,
        "zeroline": False,
        "fixedrange": True,
        "automargin": True,
        "tickfont": {"size": 12, "color": MUTED},
        "title": {"font": {"size": 12, "color": MUTED}, "standoff": 8},
    }
    title = more.pop("title", None)
    if title:
        base["title"] = {**base["title"], "text": title}  # type: ignore[dict-item]
    return {**base, **more}


def layout(**more: Any) -> dict[str, Any]:
    """A layout with transparent background in the document's own font.

    Args:
        more: plotly's own settings, which win over these.
    """
    base = {
        "font": {"family": "inherit", "size": 12, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": RULE, "font": {"color": INK, "size": 12}, "align": "left"},
        "dragmode": False,
        "showlegend": False,
    }
    return {**base, **more}


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Tick settings of a logarithmic axis from `low` to `high`, both positive.

    Ticks stand at 1, 2, 5, 10 …; over two decades or more at 1, 3, 10 …, over four or more at 1, 10, 100 …. plotly's
    own would write 0.05 as a bare 5.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    width = math.log10(high / low)
    steps = (1, 2, 5) if width < 2 else (1, 3) if width < 4 else (1,)
    values = [value for power in decades for step in steps if low <= (value := float(f"{step}e{power}")) <= high]
    return {"tickvals": values, "ticktext": [f"{value:,.12f}".rstrip("0").rstrip(".") for value in values]}
