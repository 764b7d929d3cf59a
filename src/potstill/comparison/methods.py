"""Runs of one method on several tasks as one run, for the table of a publication that has a column a task."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.report.grouped import place_of
from potstill.report.scores import primary_score
from potstill.results import Record, Run

TEACHERS = "teacher of each task"
"""What the teachers of a method are called together."""


@dataclass(frozen=True)
class Methods:
    """Runs, those of one method and seed on several tasks together.

    Attributes:
        runs: one for each method and seed; its records have the scores of all of its tasks.
        folders: where the first of its runs lies; None for a model that belongs to none.
        places: where each run lies → where the first run of its method and seed lies.
        common: tasks of the publication that all methods have which have any of them.
    """

    runs: list[Run]
    folders: list[Path | None]
    places: dict[Path, Path]
    common: list[str]

    def over_common(self) -> list[Run]:
        """The runs, scored on the common tasks alone, so that their means compare; as they are where there are none."""
        if not self.common:
            return self.runs
        return [
            run.model_copy(
                update={
                    "records": [
                        record.model_copy(update={"scores": {task: record.scores[task] for task in self.common if task in record.scores}})
                        for record in run.records
                    ]
                }
            )
            for run in self.runs
        ]


def methods_of(runs: Sequence[Run], folders: Sequence[Path | None], tasks: Sequence[str]) -> Methods:
    """Put the runs of one method together.

    Runs are of one method where their names differ in nothing but the task (kd-mrpc and kd-rte), and their recipes' students
    in nothing but the model that they are made of. What a model costs is taken from its run of the publication's first task.

    Args:
        runs: their records.
        folders: where each lies; None for a model that belongs to no run, which stays alone.
        tasks: of the publication.

    Raises:
        PotstillError: two runs of one method have the same seed and the same task.
    """
    order = {task: place for place, task in enumerate(tasks)}
    numbers = sorted(range(len(runs)), key=lambda number: order.get(_task(runs[number]), len(order)))  # of one task in their order
    members: dict[str, list[int]] = {}
    for number in numbers:
        own = number if folders[number] is None else _method(runs[number], runs[number].name)
        key = json.dumps([own, _student(runs[number]), runs[number].recipe.get("teacher") is None, runs[number].seed], default=str)
        members.setdefault(key, []).append(number)
    found: list[Run] = []
    places: dict[Path, Path] = {}
    for own_numbers in members.values():
        _require_different([runs[number] for number in own_numbers], [folders[number] for number in own_numbers])
        found.append(_together([runs[number] for number in own_numbers]))
        for number in own_numbers:
            if (here := place_of(folders[number])) is not None and (first := folders[own_numbers[0]]) is not None:
                places[here] = first
    scored: dict[str, set[str]] = {}
    for run in found:
        scored.setdefault(_without_seed(run), set()).update(_scored(run) & set(tasks))
    common = [task for task in tasks if any(scored.values()) and all(task in own for own in scored.values() if own)]
    return Methods(found, [folders[own_numbers[0]] for own_numbers in members.values()], places, common)


def _task(run: Run) -> str:
    """The task of a run: its recipe's, else the first that it was scored on."""
    task = run.recipe.get("task")
    return task if isinstance(task, str) else next((task for record in run.records for task in record.scores), "")


def _method(run: Run, name: str) -> str:
    """A name without the run's task: kd-mrpc → kd, mrpc-teacher → teacher."""
    short = re.escape(_task(run).rpartition("/")[2])
    left = re.sub(rf"(?:^|[-_.]){short}(?=$|[-_.])", "", name, count=1).strip("-_.") if short else name
    return left or name


def _student(run: Run) -> Any:
    """What a recipe says of its student but for the model, which hangs on the task."""
    student = run.recipe.get("student")
    return {key: value for key, value in student.items() if key != "model"} if isinstance(student, dict) else student


def _scored(run: Run) -> set[str]:
    return {task for record in run.records for task, scores in record.scores.items() if primary_score(scores) is not None}


def _without_seed(run: Run) -> str:
    return json.dumps([run.name, run.recipe.get("student"), run.recipe.get("teacher") is None], default=str)


def _require_different(runs: Sequence[Run], folders: Sequence[Path | None]) -> None:
    """Check that each task of a method has one run.

    Raises:
        PotstillError: one has two.
    """
    seen: dict[str, Path | None] = {}
    for run, folder in zip(runs, folders, strict=True):
        task = _task(run)
        if task in seen:
            raise PotstillError(
                "compare",
                f"{seen[task]} and {folder} are both {_method(run, run.name)} on {task} with seed {run.seed}",
                "name one of them, or give each recipe a name of its own",
            )
        seen[task] = folder


def _together(runs: Sequence[Run]) -> Run:
    """Several runs as one, each model with the scores of all tasks; one run alone is called by its method, too."""
    first = runs[0]
    if not first.recipe:
        return first
    records: dict[tuple[str, int], Record] = {}
    for run in runs:
        seen: dict[str, int] = {}
        for record in run.records:
            seen[record.role] = seen.get(record.role, 0) + 1
            key = record.role, seen[record.role]
            same = records.get(key, record.model_copy(update={"scores": {}}))
            several = record.role == "teacher" and record.model != same.model
            records[key] = same.model_copy(update={"name": TEACHERS if several else same.name, "scores": same.scores | record.scores})
    teacher = first.recipe.get("teacher")
    recipe = {
        "student": _student(first),
        "teacher": {"model": teacher.get("model")} if isinstance(teacher, dict) else None,
        "training": {"seed": first.seed},
    }
    return Run(name=_method(first, first.name), seed=first.seed, created=first.created, recipe=recipe, records=list(records.values()))
