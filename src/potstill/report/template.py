"""Filling a page's template, with plotly inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.errors import PotstillError, install


def fill(template: Path, **values: Any) -> str:
    """Fill a jinja2 template and return the page as text. Values are escaped as HTML.

    Args:
        template: a file. It may extend and include files beside it, and those of this folder.
        values: what the template shows; `plotly`, the script, is given to it beside them.

    Raises:
        PotstillError: jinja2 or plotly is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise PotstillError("report", f"needs {error.name}, which is not installed", install("train")) from error
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    # A browser's JSON.parse knows no NaN: better to fail here than to show a page without charts.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "sort_keys": False}
    return environment.get_template(template.name).render(**values, plotly=get_plotlyjs())
