"""One self-contained HTML page out of run folders: plotly inlined once, nothing fetched, nothing from torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from potstill.errors import PotstillError
from potstill.files import write_text
from potstill.report.cases import case_table
from potstill.report.charts import SIZE, SPEED, quality_chart
from potstill.report.comparable import require_one_task
from potstill.report.curves import read_curves, training_chart
from potstill.report.fronts import LATENCY, NAMED, compress_chart, cost_chart, series_key
from potstill.report.fronts import SIZE as MEGABYTES
from potstill.report.gate import gate_table
from potstill.report.grouped import Group, group_runs
from potstill.report.headline import headline, shipped_row
from potstill.report.like import LikeTable
from potstill.report.numbers import MISSING, significant
from potstill.report.scores import finite, summed_up, task_metrics, task_title
from potstill.report.sheet import sheet_columns
from potstill.report.summary import summary
from potstill.report.table import columns
from potstill.report.template import fill
from potstill.report.versus import Comparison, compare_groups
from potstill.results import Record, read_metrics, read_run

TEMPLATE = "page.html.j2"


def write_report(folders: Sequence[Path], html: Path, like: LikeTable | None = None, comparison: Comparison | None = None) -> None:
    """Write the report of one run, or the comparison of several, to the file `html`.

    Args:
        like: a publication's table; with it no run need be named.
        comparison: of the runs in `folders`; made here where there are several and none is given.

    Raises:
        PotstillError: nothing named, a folder without a record, runs of different tasks, `html` cannot
            be written, or jinja2 and plotly are not installed.
    """
    if not folders and like is None:
        raise PotstillError("report", "no run is named", "name at least one run folder")
    html = Path(html)
    if html.is_dir():
        raise PotstillError(html, "is a folder", f"name a file, for example {html / 'report.html'}")
    runs = [read_run(folder) for folder in folders]
    require_one_task(runs, folders)
    if comparison is None and len(runs) > 1:
        comparison = compare_groups(group_runs(runs, folders))
    groups = comparison.groups if comparison is not None else group_runs(runs, folders)
    # Of runs that differ only in the seed the first shows its curves.
    metrics = [read_metrics(group.folders[0]) if group.folders[0] is not None else [] for group in groups]
    write_text(html, render(groups, metrics, like, comparison))


def render(
    groups: Sequence[Group],
    metrics: Sequence[Sequence[dict[str, Any]]],
    like: LikeTable | None = None,
    comparison: Comparison | None = None,
) -> str:
    """The page as text; `metrics` holds the lines of metrics.jsonl of each group's first run."""
    names = [group.name for group in groups]
    runs = [group.runs[0] for group in groups]
    rows = [row for group in groups for row in group.rows]
    shipped = [shipped_row(group.rows) for group in groups]
    shown = columns(runs, rows)
    score_title, _ = summed_up(task_metrics(record for run in runs for record in run.records))
    score_title = "mean score" if score_title == "mean" else score_title
    sheet = sheet_columns(comparison) if comparison is not None else []
    figures = {"training": training_chart({name: read_curves(lines) for name, lines in zip(names, metrics)})}
    if comparison is None:
        figures |= {"size": quality_chart(rows, SIZE, score_title), "speed": quality_chart(rows, SPEED, score_title)}
    else:
        figures |= {"size": cost_chart(comparison, MEGABYTES), "latency": cost_chart(comparison, LATENCY)}
        figures |= {"compress": compress_chart(comparison)}
    return fill(
        TEMPLATE,
        like=like,
        headlines=[headline(run, group.name, group.rows) for run, group in zip(runs, groups)],
        comparison=comparison,
        summary=summary(comparison) if comparison is not None else None,
        sheet=sheet,
        sheet_groups=_groups([column.group for column in sheet]),
        sheet_best=[column.best(comparison.entries) for column in sheet] if comparison is not None else [],
        named=NAMED,
        key=series_key([figures.get(name) for name in ("size", "latency", "compress")]) if comparison is not None else [],
        groups=_groups([column.group for column in shown]),
        columns=shown,
        best=[column.best(rows) for column in shown],
        tables=[(group.title, group.rows, file) for group, file in zip(groups, shipped)],
        score_title=score_title,
        figures={name: figure for name, figure in figures.items() if figure is not None},
        cases=case_table(runs, names),
        gates=[(name, gate_table(run.gate)) for name, run in zip(names, runs) if run.gate],
        making=[_making(group) for group in groups],
    )


def _groups(names: Sequence[str]) -> list[tuple[str, int]]:
    """Neighbours of one name → the name and how many: the upper row of a table's head."""
    groups: list[tuple[str, int]] = []
    for name in names:
        if groups and groups[-1][0] == name:
            groups[-1] = (name, groups[-1][1] + 1)
        else:
            groups.append((name, 1))
    return groups


def _making(group: Group) -> dict[str, Any]:
    """How a group's first run was made, as (title, value) pairs and the recipe's text."""
    run = group.runs[0]
    records = run.records
    machines = dict.fromkeys(_machine(record) for record in records)
    threads = dict.fromkeys(str(record.cost.threads) for record in records if record.cost)
    versions: dict[str, dict[str, None]] = {}
    for record in records:
        for library, version in record.versions.items():
            versions.setdefault(library, {})[version] = None
    facts = [("Seed" if len(group.runs) == 1 else "Seeds", group.seeds), ("Made", run.created)]
    facts += [_best(value) if key == "best" else _fact(key, value) for key, value in run.training.items() if value != {}]
    facts += [("Machine", machine) for machine in machines]
    facts += [("Threads", ", ".join(threads))] if threads else []
    facts += [("Versions", ", ".join(f"{library} {' / '.join(found)}" for library, found in versions.items()))] if versions else []
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True) if run.recipe else ""
    return {"name": group.name, "facts": facts, "recipe": recipe}


def _machine(record: Record) -> str:
    machine = record.machine
    cores = f"{machine.cores} core{'s' * (machine.cores != 1)}"
    return f"{machine.cpu}, {cores}, {machine.memory_gb:g} GB, {machine.system}, Python {machine.python}"


def _best(best: dict[str, Any]) -> tuple[str, str]:
    """The checkpoint that was kept, with its score in the digits of the curve above it."""
    return "Best", f"{task_title(best['name'])} {best['value']:.2f} at step {best['step']:,} of stage {best['stage']}"


def _fact(key: str, value: object) -> tuple[str, str]:
    number = finite(value)
    if key == "seconds" and number is not None:
        minutes, seconds = divmod(round(number), 60)
        return "Time", f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
    title = key.replace("_", " ").capitalize()
    if isinstance(value, dict):
        return title, ", ".join(" ".join(_fact(*pair)) for pair in value.items())
    if number is None:
        return title, MISSING if value is None else str(value)
    return title, f"{number:,.0f}" if isinstance(value, int) else significant(number)
