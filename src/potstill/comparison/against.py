"""Methods side by side: for each recipe its size, speed and score, and whether it beats the same student without distillation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from potstill.comparison.verdict import verdict
from potstill.errors import PotstillError
from potstill.report.grouped import Group, place_of
from potstill.report.headline import shipped_row
from potstill.report.majority import majority_score
from potstill.report.rows import ModelRow
from potstill.report.scores import mean_over, summed_up, task_metrics
from potstill.results import ROLES, SHIPPED

TEACHER, PLAIN, DISTILLED, PUBLISHED = "teacher", "without distillation", "distilled", "published"
MAJORITY = "one answer"
"""Kind of the row of a model that gives the most frequent label to everything."""
MAJORITY_CLASS = "majority class"
FILES = {"student": "torch model", "onnx": "ONNX file in fp32", "int8": "ONNX file in int8"}


@dataclass(frozen=True)
class Entry:
    """One row of the comparison: a teacher, a recipe's runs, or a published model. None stands for what is not known.

    Attributes:
        kind: TEACHER, MAJORITY, PLAIN, DISTILLED or PUBLISHED.
        runs: how many; 0 of a teacher or a published model.
        parameters: in millions.
        compress: the teacher's parameters divided by the model's.
        fp32, int8: megabytes of the weights.
        speed_up: sentences a second divided by the teacher's.
        score: median over the seeds; `low` and `high` are the lowest and the highest.
        measures: the other measures of a task that was scored alone.
        of_teacher: share of the teacher's score, in per cent.
        gain: median score minus that of `baseline`.
        verdict: see `potstill.comparison.verdict`; "" where there is no baseline.
        baseline: name of the same student without distillation.
        at_majority: whether it is known to be no better than the majority class, beyond what chance explains.
        teacher_at_majority: whether its teacher is.
    """

    name: str
    kind: str
    runs: int = 0
    seeds: str = ""
    width: float | None = None
    layers: float | None = None
    parameters: float | None = None
    compress: float | None = None
    fp32: float | None = None
    int8: float | None = None
    speed_up: float | None = None
    p50_ms: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    measures: dict[str, float | None] = field(default_factory=dict)
    of_teacher: float | None = None
    gain: float | None = None
    verdict: str = ""
    baseline: str = ""
    at_majority: bool = False
    teacher_at_majority: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is a model of ours that may be the best of a column: no teacher, no published row, not the majority class."""
        return self.kind in (PLAIN, DISTILLED)


@dataclass(frozen=True)
class Comparison:
    """Everything that the table and the charts of a comparison show.

    Attributes:
        groups: the runs, those of one recipe together.
        entries: the rows: teachers first, then what the majority class scores, then a row for each group.
        score: what the score is: "MRPC F1", "STS mean".
        tasks: those that the score is the mean of.
        notes: sentences below the table.
        over_tasks: whether each run stands for several, one a task.
    """

    groups: list[Group]
    entries: list[Entry]
    score: str
    tasks: list[str]
    notes: list[str]
    over_tasks: bool = False


def compare_groups(groups: Sequence[Group], baseline: Sequence[Path] = ()) -> Comparison:
    """Every teacher once, then every group, compared with the same student without distillation.

    That student is the run that `baseline` names. Else it is the one among the groups that had no teacher and has the
    same shape. Else, of embeddings, it is the student before its training.

    Args:
        groups: the runs, those of one recipe together.
        baseline: folders of runs, each among the groups'.

    Raises:
        PotstillError: a folder of `baseline` holds none of the runs.
    """
    for folder in baseline:
        if not any(group.at(folder) for group in groups):
            raise PotstillError("--baseline", f"{folder} is not among the runs", "name the folder of a run")
    title, tasks = summed_up(task_metrics(record for group in groups for run in group.runs for record in run.records))
    named = [group for group in groups if any(group.at(folder) for folder in baseline)]
    teachers = _teachers(groups)
    taught = [group for group in groups if not any(group.at(Path(place)) for place in teachers)]
    role = _judged(taught)
    notes = [_what_is_scored(role, taught)] if taught else []
    notes += _other_students(named, taught)
    entries = [_teacher(row, groups, place) for place, row in teachers.items()]
    entries += _majority(groups, list(teachers.values()), tasks)
    for group in taught:
        found, note = ([group for group in named], "") if named else _same_student(group, groups)
        notes += [note] if note and note not in notes else []
        only = next(iter(teachers.values())) if len(teachers) == 1 else None
        entries.append(_entry(group, role, [plain for plain in found if plain is not group], group.teacher or only))
    return Comparison(list(groups), entries, "mean score" if title == "mean" else title, tasks, notes)


def _teachers(groups: Sequence[Group]) -> dict[str, ModelRow]:
    """Where each teacher lies → its figures, the fullest that a group has."""
    found: dict[str, ModelRow] = {}
    for group in groups:
        if group.teacher is not None and _known(group.teacher) > _known(found.get(group.taught_by)):
            found[group.taught_by] = group.teacher
    return found


def majority_scores(groups: Sequence[Group], task: str, measure: str | None = None) -> float | None:
    """What the most frequent label alone scores on a task; None where no record says.

    Args:
        groups: the runs.
        task: its name.
        measure: default the primary one.
    """
    scores = (record.scores.get(task, {}) for group in groups for run in group.runs for record in run.records)
    return next((found for own in scores if (found := majority_score(own, measure)) is not None), None)


def _majority(groups: Sequence[Group], teachers: Sequence[ModelRow], tasks: list[str]) -> list[Entry]:
    """The row of the majority class; none where it is not known of every task."""
    score = mean_over(tasks, {task: majority_scores(groups, task) for task in tasks})
    if score is None:
        return []
    named = dict.fromkeys(name for group in groups for row in group.rows for name in row.measures) if len(tasks) == 1 else {}
    measures = {name: majority_scores(groups, tasks[0], name) for name in named}
    best = teachers[0].score if len(teachers) == 1 else None
    share = 100 * score / best if best else None
    return [Entry(MAJORITY_CLASS, MAJORITY, score=score, low=score, high=score, measures=measures, of_teacher=share)]


def _known(row: ModelRow | None) -> int:
    """How many figures a row has."""
    return 0 if row is None else sum(value is not None for value in vars(row).values())


def _judged(groups: Sequence[Group]) -> str | None:
    """The first of `SHIPPED` whose score every run has: a score of int8 beside one of torch would compare the files."""
    ours = [group for group in groups if any(folder is not None for folder in group.folders)] or list(groups)
    scored = [{row.role for row, scores in zip(group.rows, group.scores) if len(scores) == len(group.runs)} for group in ours]
    return next((role for role in SHIPPED if scored and all(role in roles for roles in scored)), None)


def _what_is_scored(role: str | None, groups: Sequence[Group]) -> str:
    if role is None:
        return "Scores are of the file that each run ships: no kind of file was scored in all of them."
    spread = " The score is the median over seeds." if any(len(group.runs) > 1 for group in groups) else ""
    return f"Score and speed are those of every run’s {FILES.get(role, ROLES[role])}.{spread}"


def _row(group: Group, role: str | None) -> int | None:
    """Which of the group's rows speaks for it."""
    own = next((place for place, row in enumerate(group.rows) if row.role == role), None)
    if own is not None:
        return own
    shipped = shipped_row(group.rows)
    return None if shipped is None else next(place for place, row in enumerate(group.rows) if row is shipped)


def _same_student(group: Group, groups: Sequence[Group]) -> tuple[list[Group], str]:
    """Groups without distillation whose student has the group's shape; of several the one with the same layers, then the same start."""
    if not group.distilled:
        return [], ""
    found = [plain for plain in groups if not plain.distilled and _shape(plain) is not None and _shape(plain) == _shape(group)]
    for told in (_layers, _start):
        if len(found) > 1:
            found = [plain for plain in found if told(plain) == told(group)] or found
    if len(found) > 1:
        several = " and ".join(plain.name for plain in found)
        return [], f"{group.name} has no verdict: {several} are students of its shape without distillation; name one with --baseline."
    return found, ""


def _other_students(named: Sequence[Group], groups: Sequence[Group]) -> list[str]:
    """What keeps the baselines that were named from being the same student without distillation."""
    notes = []
    for plain in named:
        if plain.distilled:
            notes.append(f"{plain.name}, named as baseline, was distilled itself.")
        shape = _shape(plain)
        others = [group.name for group in groups if group not in named and shape and _shape(group) not in (None, shape)]
        if others:
            notes.append(f"{plain.name}, named as baseline, is of another shape than {', '.join(others)}.")
    return notes


def _shape(group: Group) -> Any:
    place = _row(group, "student")
    if place is None:
        return None
    row = group.rows[place]
    return None if row.width is None or row.layers is None else (_said(group, "student", "kind"), row.width, row.layers, row.parameters)


def _layers(group: Group) -> Any:
    return _said(group, "student", "layers")


def _start(group: Group) -> Path | None:
    """What the student is cut from, its teacher where nothing else is named."""
    named = _said(group, "student", "model") or _said(group, "teacher", "model")
    return place_of(named) if isinstance(named, str) else None


def _said(group: Group, part: str, key: str) -> Any:
    said = group.runs[0].recipe.get(part)
    return said.get(key) if isinstance(said, dict) else None


def _entry(group: Group, role: str | None, plain: Sequence[Group], teacher: ModelRow | None) -> Entry:
    place = _row(group, role)
    if place is None:
        return Entry(group.name, DISTILLED if group.distilled else PLAIN, len(group.runs), group.seeds)
    row, scores = group.rows[place], group.scores[place]
    sizes = {each.role: each.megabytes for each in group.rows}
    others = [score for other in plain if (at := _row(other, role)) is not None for score in other.scores[at]]
    against = " and ".join(other.name for other in plain)
    if not plain and group.distilled:  # of embeddings: what the student was before it was taught
        at = next((at for at, each in enumerate(group.rows) if each.role == "undistilled"), None)
        others, against = (group.scores[at], f"{group.name}, before training") if at is not None else ([], "")
    return Entry(
        name=group.name,
        kind=DISTILLED if group.distilled else PLAIN,
        runs=len(group.runs),
        seeds=group.seeds,
        width=row.width,
        layers=row.layers,
        parameters=row.parameters,
        compress=row.compress,
        fp32=next((sizes[each] for each in ("student", "onnx", "model") if sizes.get(each) is not None), None),
        int8=sizes.get("int8"),
        speed_up=row.speed_up,
        p50_ms=row.p50_ms,
        score=row.score,
        low=min(scores, default=None),
        high=max(scores, default=None),
        measures=row.measures,
        of_teacher=row.of_teacher,
        gain=median(scores) - median(others) if scores and others else None,
        verdict=verdict(scores, others) if scores and others else "",
        baseline=against if scores and others else "",
        at_majority=row.at_majority,
        teacher_at_majority=teacher is not None and teacher.at_majority,
    )


def _teacher(row: ModelRow, groups: Sequence[Group], place: str) -> Entry:
    itself = next((group for group in groups if group.at(Path(place))), None)
    sizes = {} if itself is None else {each.role: each.megabytes for each in itself.rows}
    return Entry(
        name=row.name if row.name != row.title else "teacher",
        kind=TEACHER,
        width=row.width,
        layers=row.layers,
        parameters=row.parameters,
        compress=None if row.parameters is None else 1.0,
        fp32=row.megabytes,
        int8=sizes.get("int8"),
        speed_up=None if row.sentences_per_second is None else 1.0,
        p50_ms=row.p50_ms,
        score=row.score,
        low=row.score,
        high=row.score,
        measures=row.measures,
        of_teacher=None if row.score is None else 100.0,
        at_majority=row.at_majority,
    )
