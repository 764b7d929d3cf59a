"""What a run made, in one sentence and a few figures: the file that ships against its teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from potstill.report.numbers import fixed, significant
from potstill.report.rows import ModelRow
from potstill.report.scores import metric_title, summed_up, task_metrics
from potstill.results import SHIPPED, Run


@dataclass(frozen=True)
class Fact:
    """One big figure: what it is, the number, its unit, and the comparison below it."""

    title: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True)
class Headline:
    """The top of a page: the run's name, what it made in a sentence, and its big figures."""

    run: str
    sentence: str
    facts: list[Fact]


def shipped_row(rows: Sequence[ModelRow]) -> ModelRow | None:
    """The row of the file that ships, the first of `SHIPPED` that there is; None where nothing was made."""
    return next((row for role in SHIPPED for row in rows if row.role == role), None)


def headline(run: Run, name: str, rows: Sequence[ModelRow]) -> Headline:
    """One run in a sentence and a few figures; what was not measured is left out.

    Args:
        run: its record.
        name: what the page calls it.
        rows: its own rows.
    """
    row = shipped_row(rows)
    teacher = next((row for row in rows if row.role == "teacher"), None)
    if row is None:
        return Headline(name, "Nothing was made yet." if teacher is None else "Only the teacher was scored.", [])
    tasks = task_metrics(run.records)
    title, summary = summed_up(tasks)
    score_name = metric_title(tasks[summary[0]]) if len(summary) == 1 else "mean score"
    parts = [_layers(run)] if row.role != "model" else [row.name]
    if row.megabytes is not None:
        parts.append(f"{row.megabytes:,.1f} MB")
    if teacher is not None:
        parts.append(_speed(row, teacher))
    if row.of_teacher is not None and row.role != "teacher":
        parts.append(f"{'keeps' if row.of_teacher <= 100 else 'reaches'} {row.of_teacher:.1f} % of the teacher’s {score_name}")
    elif row.score is not None:
        parts.append(f"{title} {row.score:.2f}")
    return Headline(name, ", ".join(part for part in parts if part) or row.title, _facts(row, teacher, title))


def _layers(run: Run) -> str:
    student = run.recipe.get("student")
    layers = student.get("layers") if isinstance(student, dict) else None
    count = len(layers) if isinstance(layers, list) else layers
    return f"{count} layer{'s' if count != 1 else ''}" if isinstance(count, int) else ""


def _speed(row: ModelRow, teacher: ModelRow) -> str:
    if not row.sentences_per_second or not teacher.sentences_per_second or row.threads != teacher.threads:
        return ""
    ratio = row.sentences_per_second / teacher.sentences_per_second
    return f"{ratio:.1f}× faster" if ratio >= 1.05 else f"{ratio:.2f}× the teacher’s speed"


def _facts(row: ModelRow, teacher: ModelRow | None, title: str) -> list[Fact]:
    rows: list[tuple[str, str, Callable[[ModelRow], float | None], Callable[[float], str]]] = [
        (title, "", lambda row: row.score, fixed(2)),
        ("Weights on disk", "MB", lambda row: row.megabytes, fixed(1)),
        ("Throughput", "sentences/s", lambda row: row.sentences_per_second, significant),
        ("Latency, p50", "ms", lambda row: row.p50_ms, significant),
        ("Peak memory", "MB", lambda row: row.memory_mb, fixed(0)),
    ]
    facts = []
    for name, unit, value, form in rows:
        own, other = value(row), value(teacher) if teacher is not None else None
        if own is not None:
            facts.append(Fact(name, form(own), unit, "" if other is None else f"teacher {form(other)}"))
    return facts
