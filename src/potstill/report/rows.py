"""One row a model: the plain numbers that the page and the terminal both show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from potstill.report.majority import all_at_majority, majority_answer, majority_score, share_of_gain
from potstill.report.names import told_apart
from potstill.report.scores import finite, further_measures, mean_over, primary_score, summed_up, task_metrics
from potstill.results import ROLES, Cost, Record, Role, Run


@dataclass(frozen=True)
class ModelRow:
    """One model in plain numbers; None where something was not measured."""

    run: str
    role: Role
    name: str
    scores: dict[str, float | None]
    """Primary score × 100 of every task that any row has; None for a task that this one was not scored on."""
    measures: dict[str, float | None]
    """The other measures of a task that stands alone, see `further_measures`."""
    score: float | None
    """The one number for quality: the mean over the tasks that `summed_up` names."""
    of_teacher: float | None
    """Share of the teacher's score in the same run, in per cent."""
    embedding_parameters: float | None = None
    encoder_parameters: float | None = None
    parameters: float | None = None
    """Parameters in millions."""
    megabytes: float | None = None
    sentences_per_second: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    memory_mb: float | None = None
    threads: int | None = None
    width: int | None = None
    layers: int | None = None
    compress: float | None = None
    """The teacher's parameters divided by the model's own."""
    speed_up: float | None = None
    """Sentences a second divided by the teacher's, measured with as many threads."""
    majority: float | None = None
    """What one answer to everything scores: the mean over the tasks of `score`."""
    majority_answer: str = ""
    """That answer; "" of several tasks."""
    at_majority: bool = False
    """Whether the model is known to be no better than that, beyond what chance explains (`beats_majority`)."""
    of_gain: float | None = None
    """Share of what the teacher gains over one answer to everything, in per cent; None where the teacher gains nothing."""
    constant: bool = False
    """Whether the row is no model but that one answer."""

    @property
    def title(self) -> str:
        """What a table calls the row: by its role, and a model of no run by its name."""
        return self.name if self.role == "model" else ROLES[self.role]

    @property
    def may_be_best(self) -> bool:
        """Whether its figures may be the best of a table: a teacher is the mark to reach, and one answer to everything no model."""
        return self.role != "teacher" and not self.constant


def run_names(runs: Sequence[Run]) -> list[str]:
    """The runs' names; where two are the same, the settings that differ are added."""
    return told_apart([run.name for run in runs], [run.recipe for run in runs])


def model_rows(runs: Sequence[Run]) -> list[ModelRow]:
    """One row for each record, in the order of the runs and of their records."""
    records = [record for run in runs for record in run.records]
    tasks, further = task_metrics(records), further_measures(records)
    _, summary = summed_up(tasks)
    rows = []
    for name, run in zip(run_names(runs), runs):
        scores = [{task: primary_score(record.scores.get(task, {})) for task in tasks} for record in run.records]
        means = [mean_over(summary, each) for each in scores]
        own = []
        for record, each, mean in zip(run.records, scores, means):
            measures = {measure: finite(record.scores.get(next(iter(tasks)), {}).get(measure)) for measure in further}
            own.append(_row(name, record, each, measures, mean, summary))
        teacher = next((row for row in own if row.role == "teacher"), None)
        rows += [row if teacher is None else held_against(row, teacher) for row in own]
    return rows


def held_against(row: ModelRow, teacher: ModelRow) -> ModelRow:
    """The row with its share of a teacher's score, and of what that teacher gains over one answer to everything."""
    share = 100 * row.score / teacher.score if row.score is not None and teacher.score else None
    gain = share_of_gain(row.score, teacher.score, teacher.majority, not teacher.at_majority)
    return replace(row, of_teacher=share, of_gain=gain)


def majority_row(rows: Sequence[ModelRow], records: Sequence[Record]) -> ModelRow | None:
    """The row of one answer to everything, below the models of a run; None where no record tells what it scores.

    Args:
        rows: of the models.
        records: of the run, or of all runs of the table.
    """
    known = next((row for row in rows if row.majority is not None), None)
    if known is None:
        return None
    scores, measures, tasks = {}, {}, list(known.scores)
    for task in tasks:
        own = [record.scores[task] for record in records if task in record.scores]
        scores[task] = next((score for each in own if (score := majority_score(each)) is not None), None)
    for measure in known.measures:
        own = [record.scores[tasks[0]] for record in records if tasks[0] in record.scores]
        measures[measure] = next((score for each in own if (score := majority_score(each, measure)) is not None), None)
    row = ModelRow(
        known.run, "model", always(known.majority_answer), scores, measures, known.majority, None, majority=known.majority, constant=True
    )
    teacher = next((row for row in rows if row.role == "teacher"), None)
    return row if teacher is None else held_against(row, teacher)


def always(answer: str) -> str:
    """What a table calls one answer to everything; "" is an answer that is not told, or one for each of several tasks."""
    return f"always “{shortened(answer)}”" if answer else "always the most frequent answer"


def shortened(text: str, length: int = 24) -> str:
    """A label on one line, cut to `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _row(
    run: str,
    record: Record,
    scores: dict[str, float | None],
    measures: dict[str, float | None],
    score: float | None,
    summary: Sequence[str],
) -> ModelRow:
    counted = [record.scores.get(task, {}) for task in summary]
    return ModelRow(
        run=run,
        role=record.role,
        name=_own_name(record),
        scores=scores,
        measures=measures,
        score=score,
        of_teacher=None,
        majority=mean_over(list(summary), {task: majority_score(own) for task, own in zip(summary, counted)}),
        majority_answer=majority_answer(counted[0]) if len(counted) == 1 else "",
        at_majority=all_at_majority(counted),
        **_costs(record.cost, record.files),
    )


def _costs(cost: Cost | None, files: Mapping[str, int]) -> dict[str, Any]:
    if cost is None:
        return {"megabytes": sum(files.values()) / 1e6} if files else {}
    return {
        "embedding_parameters": cost.embedding_parameters / 1e6,
        "encoder_parameters": cost.encoder_parameters / 1e6,
        "parameters": cost.parameters / 1e6,
        "megabytes": cost.bytes / 1e6,
        "sentences_per_second": finite(cost.sentences_per_second),
        "p50_ms": finite(cost.latency_p50_ms),
        "p95_ms": finite(cost.latency_p95_ms),
        "memory_mb": finite(cost.peak_memory_mb),
        "threads": cost.threads,
    }


def _own_name(record: Record) -> str:
    """The name that says more than the role: the record's, else the last part of where the model lies, else the role."""
    said = (record.role, ROLES[record.role])
    return next((name for name in (record.name, PurePath(record.model).name) if name and name not in said), ROLES[record.role])
