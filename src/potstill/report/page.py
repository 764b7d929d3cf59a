"""One self-contained HTML page out of run folders: nothing fetched, nothing from torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from potstill.machine.files import write_text
from potstill.report.answers import mistake_table, read_mistakes, task_answers
from potstill.report.cases import case_table
from potstill.report.charts import all_level, quality_charts
from potstill.report.curves import read_curves, training_charts
from potstill.report.gate import gate_table
from potstill.report.grouped import Group, group_runs
from potstill.report.headline import headline, shipped_row
from potstill.report.numbers import MISSING, significant
from potstill.report.rows import majority_row
from potstill.report.scores import finite, summed_up, task_metrics, task_title
from potstill.report.table import columns
from potstill.report.template import fill
from potstill.report.vectors import vector_table
from potstill.results import Record, read_metrics, read_run

TEMPLATE = Path(__file__).parent / "page.html.j2"


def write_report(folder: Path, html: Path) -> None:
    """Write the report of one run to the file `html`.

    Args:
        folder: the run's, with its results.json. Training curves are drawn where it has a metrics.jsonl too.
        html: the file to write.

    A PotstillError comes through where the folder has no record, `html` cannot be written, or jinja2 is not installed.
    """
    groups = group_runs([read_run(folder)], [folder])
    write_text(html, render(groups, [read_metrics(folder)]))


def render(groups: Sequence[Group], metrics: Sequence[Sequence[dict[str, Any]]], template: Path = TEMPLATE, **more: Any) -> str:
    """The page as text.

    Args:
        groups: runs, seeds as one; a page of one run has one.
        metrics: the lines of metrics.jsonl of each group's first run.
        template: one that extends this folder's page, or that page.
        more: values for `template`. `figures` (name → chart of quality against cost) and `level` (the sentence in their place) win
            over those of the runs' rows.

    A PotstillError of `fill` comes through where jinja2 is not installed.
    """
    names = [group.name for group in groups]
    runs = [group.runs[0] for group in groups]
    rows = [row for group in groups for row in group.rows]
    shown = columns(runs, rows)
    score_title, _ = summed_up(task_metrics(record for run in runs for record in run.records))
    score_title = "mean score" if score_title == "mean" else score_title
    more.setdefault("figures", quality_charts(rows, score_title))
    more.setdefault("level", all_level([row.score for row in rows], score_title))
    alone = runs[0] if len(groups) == 1 else None
    constant = majority_row(rows, [record for group in groups for run in group.runs for record in run.records])
    return fill(
        template,
        headlines=[headline(run, group.name, group.rows) for run, group in zip(runs, groups)],
        groups=spans([column.group for column in shown]),
        columns=shown,
        best=[column.best(rows) if alone is not None else None for column in shown],  # between runs it may be chance
        tables=[(group.title, group.rows, shipped_row(group.rows)) for group in groups],
        constant=constant,
        score_title=score_title,
        training=training_charts({name: read_curves(lines) for name, lines in zip(names, metrics)}),
        answers=task_answers(alone) if alone is not None else [],
        mistakes=mistake_table(read_mistakes(groups[0].folders[0]) if alone is not None else []),
        cases=case_table(runs, names),
        vectors=vector_table(alone.vectors, task_metrics(alone.records)) if alone is not None else None,
        gates=[(name, gate_table(run.gate)) for name, run in zip(names, runs) if run.gate],
        making=[_making(group) for group in groups],
        **more,
    )


def spans(names: Sequence[str]) -> list[tuple[str, int]]:
    """Runs of equal neighbours as (name, how many): the upper row of a table's head."""
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
