"""The table of models: its columns, and how the terminal shows it.

The HTML page draws the same rows and columns, so the two never disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from potstill.report.numbers import fixed, shown_number, significant
from potstill.report.rows import ModelRow, majority_row, model_rows
from potstill.report.scores import better, further_measures, metric_title, summed_up, task_metrics, task_title
from potstill.results import Run

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Column:
    """One column of the table of models.

    Attributes:
        group: heading of the neighbouring columns that belong together.
        title: the column's own heading.
        unit: below the heading; may be "".
        value: the figure of a row.
        form: how the figure is written.
        better: 1 where more is better, -1 where less is, 0 where neither is.
        key: whether the column is among the few that a terminal has room for.
    """

    group: str
    title: str
    unit: str
    value: Callable[[ModelRow], float | None]
    form: Callable[[float], str]
    better: int = 0
    key: bool = False

    def text(self, row: ModelRow) -> str:
        """The row's figure as text; a dash where it has none."""
        return shown_number(self.value(row), self.form)

    def best(self, rows: Sequence[ModelRow]) -> str | None:
        """The best value as text; None with fewer than two that differ. Teachers do not count: they are the mark to reach."""
        values = [value for row in rows if row.may_be_best and (value := self.value(row)) is not None]
        if not self.better or len(set(map(self.form, values))) < 2:
            return None
        return self.form(max(values) if self.better > 0 else min(values))


def columns(runs: Sequence[Run], rows: Sequence[ModelRow]) -> list[Column]:
    """The columns that at least one row fills."""
    records = [record for run in runs for record in run.records]
    tasks, further = task_metrics(records), further_measures(records)
    title, summary = summed_up(tasks)
    several = len(summary) > 1
    speed = _speed_title(rows)
    metrics = sorted({metric_title(metric) for metric in tasks.values()})
    # What all columns share is said once, above them: a lone task, or the one metric of all tasks.
    alone, alike = len(tasks) == 1, len(metrics) == 1
    score = f"{task_title(next(iter(tasks)))} × 100" if alone else f"Score × 100, {metrics[0]}" if alike else "Score × 100"
    by_task = [
        Column(
            score,
            metric_title(metric) if alone else task_title(task),
            "" if alike else metric_title(metric),
            lambda row, task=task: row.scores[task],  # type: ignore[misc]
            fixed(2),
            better=1,
            key=not several,
        )
        for task, metric in tasks.items()
    ]
    mean = Column("Score × 100" if several else score, title, f"of {len(summary)}", lambda row: row.score, fixed(2), better=1, key=True)
    # First what a narrow screen is to show without scrolling: score, size, speed.
    found = [
        *([mean] if several else by_task[:1]),
        Column("Size", "weights", "MB", lambda row: row.megabytes, fixed(1), better=-1, key=True),
        Column(speed, "sentences", "per s", lambda row: row.sentences_per_second, significant, better=1, key=True),
        Column(speed, "p50", "ms", lambda row: row.p50_ms, significant, better=-1, key=True),
        Column(speed, "p95", "ms", lambda row: row.p95_ms, significant, better=-1),
        Column("Kept", "of teacher", "%", lambda row: row.of_teacher, fixed(1), better=1),
        Column("Kept", "of gain", "%", lambda row: row.of_gain, fixed(1), better=1),
        *(by_task if several else by_task[1:]),
        *(
            Column(score, metric_title(name), "", lambda row, name=name: row.measures[name], fixed(2), better(name), key=True)  # type: ignore[misc]
            for name in further
        ),
        Column("Parameters", "embedding", "M", lambda row: row.embedding_parameters, fixed(1)),
        Column("Parameters", "encoder", "M", lambda row: row.encoder_parameters, fixed(1)),
        Column("Parameters", "total", "M", lambda row: row.parameters, fixed(1), key=True),
        Column("Memory", "peak", "MB", lambda row: row.memory_mb, fixed(0), better=-1),
    ]
    if len({row.threads for row in rows if row.threads is not None}) > 1:
        found.append(Column(speed, "threads", "", lambda row: row.threads, fixed(0)))
    return [column for column in found if any(column.value(row) is not None for row in rows)]


def _speed_title(rows: Sequence[ModelRow]) -> str:
    threads = {row.threads for row in rows if row.threads is not None}
    if len(threads) != 1:
        return "Speed"
    count = threads.pop()
    return f"Speed, {count} thread{'s' if count != 1 else ''}"


def print_table(runs: Sequence[Run], console: Console) -> None:
    """Print the table's key columns; they fit a terminal of 80 columns.

    Below the models of labelled tasks stands what one answer to everything scores; of several runs once, at the end.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    rows = model_rows(runs)
    shown = [column for column in columns(runs, rows) if column.key]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    if len(runs) > 1:
        table.add_column("run", overflow="ellipsis", no_wrap=True, max_width=24)
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=26)
    for column in shown:
        # Where room is short names give way, never figures.
        width = max(len(text) for text in (column.title, column.unit, *(column.text(row) for row in rows)))
        table.add_column(escape(f"{column.title}\n{column.unit}"), justify="right", no_wrap=True, min_width=width)
    best = [column.best(rows) if len(runs) == 1 else None for column in shown]  # between runs it may be chance
    constant = majority_row(rows, [record for run in runs for record in run.records])
    if constant is not None:
        rows.append(constant if len(runs) == 1 else replace(constant, run=""))
    for number, row in enumerate(rows):
        cells = [column.text(row) for column in shown]
        marked = [f"[bold]{cell}[/]" if cell == top and row.may_be_best else cell for cell, top in zip(cells, best)]
        new_run = number == 0 or rows[number - 1].run != row.run
        run = [escape(row.run) if new_run else ""] if len(runs) > 1 else []
        last = number + 1 == len(rows) or rows[number + 1].run != row.run
        table.add_row(*run, escape(row.title), *marked, end_section=len(runs) > 1 and last)
    console.print(table)
