"""Filling a page's template, with plotly inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.errors import PotstillError


def fill(template: str, **values: Any) -> str:
    """The page as text; `plotly` is in it beside `values`.

    Raises:
        PotstillError: jinja2 or plotly is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from plotly.offline import get_plotlyjs
    except ModuleNotFoundError as error:
        raise PotstillError("report", f"needs {error.name}, which is not installed", "pip install 'potstill[train]'") from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    # A browser's JSON.parse knows no NaN: better to fail here than to show a page without charts.
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "sort_keys": False}
    return environment.get_template(template).render(**values, plotly=get_plotlyjs())
