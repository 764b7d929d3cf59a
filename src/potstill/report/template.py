"""Filling a page's template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.errors import PotstillError, install
from potstill.report.svg import draw


def fill(template: Path, **values: Any) -> str:
    """Fill a jinja2 template and return the page as text. Values are escaped as HTML.

    Args:
        template: a file. It may extend and include files beside it, and those of this folder.
        values: what the template shows. Its filter `draw` draws a chart.

    Raises:
        PotstillError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
    except ModuleNotFoundError as error:
        raise PotstillError("report", f"needs {error.name}, which is not installed", install("train")) from error
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["draw"] = lambda chart: Markup(draw(chart))  # which escapes every text
    return environment.get_template(template.name).render(**values)
