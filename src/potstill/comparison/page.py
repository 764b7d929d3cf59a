"""One self-contained HTML page of several runs, and of a publication's table beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from potstill.comparison.against import Comparison, compare_groups
from potstill.comparison.charts import series_key, shown_scores, trade_charts
from potstill.comparison.comparable import require_one_task
from potstill.comparison.published import LikeTable
from potstill.comparison.sheet import sheet_columns
from potstill.comparison.summary import summary
from potstill.errors import PotstillError
from potstill.machine.files import kind_of_place, write_text
from potstill.report.charts import all_level
from potstill.report.grouped import group_runs
from potstill.report.page import render, spans
from potstill.results import read_metrics, read_run

TEMPLATE = Path(__file__).parent / "comparison.html.j2"


def write_comparison(folders: Sequence[Path], html: Path, like: LikeTable | None = None, comparison: Comparison | None = None) -> None:
    """Write the comparison of runs to the file `html`; one run alone is shown as in its report.

    Args:
        folders: of finished runs.
        html: the file to write.
        like: a publication's table; with it no run need be named.
        comparison: of the runs in `folders`; default: made here where there are several.

    Raises:
        PotstillError: nothing is named, a folder has no record, the runs are of different tasks, `html` cannot
            be written, or jinja2 is not installed.
    """
    if not folders and like is None:
        raise PotstillError("compare", "no run is named", "name at least one run folder")
    if kind_of_place(html) == "a folder":
        raise PotstillError(html, "is a folder", f"name a file, for example {html / 'report.html'}")
    if comparison is None:
        runs = [read_run(folder) for folder in folders]
        require_one_task(runs, folders)
        groups = group_runs(runs, folders)
        comparison = compare_groups(groups) if len(runs) > 1 else None
    else:
        groups = comparison.groups
    # Of runs that differ only in the seed the first shows its curves; of runs of several tasks no curve stands for all.
    curves = [None if comparison is not None and comparison.over_tasks else group.folders[0] for group in groups]
    metrics = [read_metrics(folder) if folder is not None else [] for folder in curves]
    write_text(html, render(groups, metrics, TEMPLATE, like=like, **_compared(comparison)))


def _compared(comparison: Comparison | None) -> dict[str, Any]:
    """What the template shows of a comparison."""
    if comparison is None:
        return {"comparison": None}
    columns = sheet_columns(comparison)
    charts = trade_charts(comparison)
    return {
        "comparison": comparison,
        "summary": summary(comparison),
        "sheet": columns,
        "sheet_groups": spans([column.group for column in columns]),
        "sheet_best": [column.best(comparison.entries) for column in columns],
        "key": series_key(charts.values()),
        "figures": charts,
        "level": all_level(shown_scores(comparison), comparison.score),
    }
