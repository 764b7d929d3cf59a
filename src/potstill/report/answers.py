"""What stands behind the scores of labelled tasks: who takes what for what, scores by label or entity type, calibration, mistakes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError, shown
from potstill.machine.files import kind_of_place
from potstill.report.cases import SIDES, cut
from potstill.report.headline import shipped_role
from potstill.report.majority import class_scores
from potstill.report.numbers import MISSING, fixed, shown_number
from potstill.report.rows import shortened
from potstill.report.scores import finite, summed_up, task_metrics, task_title
from potstill.results import ROLES, Record, Run

MISTAKES_FILE = "mistakes.json"
"""In a run folder: wrong answers of its student, as training.case_study.mistakes makes them."""
MOST_LABELS = 30
"""Rows of the table of labels; of more the most frequent ones are shown."""
NAMED = 8
"""Columns of a confusion matrix that have room for a name."""
MEASURES = {"f1": "F1", "precision": "precision", "recall": "recall"}
"""Of a label, by heading."""


@dataclass(frozen=True)
class Confusion:
    """What one model takes for what: a row for each label of the data, a column for each answer."""

    model: str
    labels: list[tuple[str, str]]
    """Each label, cut and whole."""
    rows: list[list[tuple[int, float]]]
    """Counts, and their share of the row."""

    @property
    def numbered(self) -> bool:
        """Whether there is no room for names above the columns, which are then called by the numbers of the rows."""
        return len(self.labels) > NAMED


@dataclass(frozen=True)
class Labels:
    """Scores by label, or by type of entity: of the teacher and of what ships, side by side."""

    title: str
    models: list[str]
    rows: list[tuple[str, str, str, list[str]]]
    """The label cut and whole, how many the data has of it, and MEASURES of each of `models`."""
    left_out: int
    """Labels that the table has no room for."""

    @property
    def measures(self) -> list[str]:
        """Headings of the columns of each model."""
        return list(MEASURES.values())


@dataclass(frozen=True)
class TaskAnswers:
    """What one labelled task tells beside its scores; parts that no record has are empty."""

    title: str
    confusions: list[Confusion]
    labels: Labels | None
    calibration: list[tuple[str, str]]
    """Each model, and its expected calibration error."""


@dataclass(frozen=True)
class Mistake:
    """A text that the student answers wrongly: cut and whole, and what the data and each side say of it."""

    text: str
    whole: str
    answers: list[list[tuple[str, str]]]
    """For the data, the teacher and the student: labels, each with its probability, "" for the data's."""


def task_answers(run: Run) -> list[TaskAnswers]:
    """What each labelled task of a run tells, in the order of the table; tasks that tell nothing are left out.

    Args:
        run: its record. One of other making may hold anything: what has not the form of LabelledTask.evaluate is left out.
    """
    records = run.records
    role = shipped_role(record.role for record in records)
    sides = [record for kind in ("teacher", role) for record in records if record.role == kind]
    found = []
    for task in summed_up(task_metrics(records))[1]:
        scored = [record for record in records if task in record.scores]
        own = TaskAnswers(
            task_title(task),
            [matrix for record in sides if (matrix := _confusion(_title(record), record.scores.get(task, {}))) is not None],
            _label_scores(sides, task),
            [(_title(record), fixed(2)(error)) for record in scored if (error := _calibration_error(record.scores[task])) is not None],
        )
        if own.confusions or own.labels or own.calibration:
            found.append(own)
    return found


def read_mistakes(folder: Path | None) -> list[dict[str, Any]]:
    """A run's mistakes.json; an empty list where there is none, or no folder.

    Raises:
        PotstillError: the file cannot be read, or is no list of mappings.
    """
    if folder is None or kind_of_place(folder / MISTAKES_FILE) != "a file":
        return []
    path = folder / MISTAKES_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise PotstillError(path, f"cannot be read ({error})", "delete it: the run is shown without it") from error
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise PotstillError(path, f"holds {shown(found)}, not a list of mistakes", "delete it: the run is shown without it")
    return found


def mistake_table(mistakes: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[Mistake]]:
    """The headings of the sides that answered, and the student's wrong answers, each side's likeliest label first.

    Args:
        mistakes: as `read_mistakes` gives them; of one of other making a side that has not the form is a dash.
    """
    sides = [side for side in SIDES if side != "teacher" or any(own.get(side) for own in mistakes)]
    told = [(str(own.get("text", "")), [_side(own.get(side)) for side in sides]) for own in mistakes]
    return [SIDES[side] for side in sides], [Mistake(cut(text), text, answers) for text, answers in told]


def _side(value: object) -> list[tuple[str, str]]:
    """Labels with their probabilities, or labels alone."""
    found = []
    for each in value if isinstance(value, list) else []:
        if isinstance(each, str):
            found.append((cut(each), ""))
        elif isinstance(each, list) and len(each) == 2 and isinstance(each[0], str):
            found.append((cut(each[0]), shown_number(finite(each[1]), fixed(2))))
    return found or [(MISSING, "")]


def _title(record: Record) -> str:
    return ROLES[record.role]


def _calibration_error(scores: Mapping[str, Any]) -> float | None:
    calibration = scores.get("calibration")
    return finite(calibration.get("ece")) if isinstance(calibration, dict) else None


def _confusion(model: str, scores: Mapping[str, Any]) -> Confusion | None:
    labels, rows = list(class_scores(scores)), scores.get("confusion")
    if not labels or not isinstance(rows, list) or len(rows) != len(labels):
        return None
    for row in rows:
        if not isinstance(row, list) or len(row) != len(labels):
            return None
        if not all(type(count) is int and count >= 0 and finite(count) is not None for count in row):
            return None
    shares = [[(count, count / max(1, sum(row))) for count in row] for row in rows]
    return Confusion(model, [(shortened(label), label) for label in labels], shares)


def _label_scores(sides: Sequence[Record], task: str) -> Labels | None:
    scores = [(record, own) for record in sides if (own := class_scores(record.scores.get(task, {})))]
    if not scores:
        return None
    gold: dict[str, float] = {}
    for _, own in scores:
        for label, values in own.items():
            gold.setdefault(label, values["gold"])
    often = set(sorted(gold, key=lambda label: -gold[label])[:MOST_LABELS])  # shown in the order of the data's labels
    rows = []
    for label in gold:
        if label in often:
            cells = [shown_number(own.get(label, {}).get(name), fixed(1)) for _, own in scores for name in MEASURES]
            rows.append((shortened(label, 40), label, fixed(0)(gold[label]), cells))
    tagged = any("words" in record.scores[task] for record, _ in scores)
    return Labels("Entity type" if tagged else "Label", [_title(record) for record, _ in scores], rows, len(gold) - len(rows))
