"""What a run made, in one sentence and a few figures: the file that ships against its teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from potstill.report.numbers import fixed, significant
from potstill.report.rows import ModelRow, shortened
from potstill.report.scores import metric_title, summed_up, task_metrics
from potstill.results import SHIPPED, Role, Run

SMOKE = "A smoke run: every step on a few dozen rows, so its scores mean nothing"


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


def shipped_role(roles: Iterable[Role]) -> Role | None:
    """The role of the file that ships, the first of `SHIPPED` that there is; None where nothing was made."""
    there = set(roles)
    return next((role for role in SHIPPED if role in there), None)


def shipped_row(rows: Sequence[ModelRow]) -> ModelRow | None:
    """The row of the file that ships; None where nothing was made."""
    role = shipped_role(row.role for row in rows)
    return next((row for row in rows if row.role == role), None)


def headline(run: Run, name: str, rows: Sequence[ModelRow]) -> Headline:
    """One run in a sentence and a few figures; what was not measured is left out.

    No share of the teacher's score is told where the file that ships, or the teacher, is no better than one answer to everything
    (`majority.beats_majority`): of F1 a model that learnt nothing keeps nearly all. Else the share of what the teacher gains over
    that answer stands beside it.

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
    if run.recipe.get("smoke"):
        return Headline(name, SMOKE, _facts(row, teacher, title))
    score_name = metric_title(tasks[summary[0]]) if len(summary) == 1 else "mean score"
    parts = [_layers(run)] if row.role != "model" else [row.name]
    if row.megabytes is not None:
        parts.append(f"{row.megabytes:,.1f} MB")
    if teacher is not None:
        parts.append(_speed(row, teacher))
    parts += _quality(row, teacher, title, score_name)
    return Headline(name, ", ".join(part for part in parts if part) or row.title, _facts(row, teacher, title))


def _quality(row: ModelRow, teacher: ModelRow | None, title: str, score_name: str) -> list[str]:
    """What is said of the score: beside the teacher's, or beside what one answer to everything scores."""
    if row.score is None:
        return []
    constant = f"answering “{shortened(row.majority_answer)}” to everything" if row.majority_answer else "one answer to everything"
    if row.at_majority:
        both = ""
        if teacher is not None and teacher.at_majority:
            both = f", and its teacher ({teacher.score:.2f}) is not clearly better either"
        return [f"{title} {row.score:.2f} is no better than {constant} ({row.majority:.2f}){both}"]
    if teacher is not None and teacher.at_majority and row is not teacher:
        return [f"{title} {row.score:.2f}, but its teacher is no better than {constant} ({row.majority:.2f})"]
    if row.of_teacher is None:
        return [f"{title} {row.score:.2f}"]
    kept = f"{'keeps' if row.of_teacher <= 100 else 'reaches'} {row.of_teacher:.1f} % of the teacher’s {score_name}"
    if row.of_gain is None or row.majority == 0:  # one answer gains nothing by Matthews: both shares are the same
        return [kept]
    return [f"{kept} and {row.of_gain:.1f} % of its gain over {constant}"]


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
            notes = ["" if other is None else f"teacher {form(other)}"]
            notes += [f"one answer {form(row.majority)}"] if name == title and row.majority is not None else []
            facts.append(Fact(name, form(own), unit, ", ".join(note for note in notes if note)))
    return facts
