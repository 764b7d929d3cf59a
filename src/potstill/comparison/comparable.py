"""Whether runs can be compared: no number says which of two different tasks was done better."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.report.scores import task_metrics
from potstill.results import TEACHER_AGREEMENT, Record, Run

SHOWN = 3
"""Tasks of a run that the error names."""


def share_tasks(runs: Sequence[Run]) -> bool:
    """Whether any two of the runs have a task in common; see `require_one_task`.

    Args:
        runs: their records.
    """
    return all(_common(one, other) for one, other in combinations(runs, 2))


def _tasks(one: Run, other: Run) -> tuple[list[str], list[str]]:
    """What each of two runs was scored on; their recipes' tasks where one has no score."""
    mine, theirs = list(task_metrics(one.records)), list(task_metrics(other.records))
    if not mine or not theirs:
        return [str(one.recipe.get("task"))], [str(other.recipe.get("task"))]
    return mine, theirs


def _common(one: Run, other: Run) -> set[str]:
    mine, theirs = _tasks(one, other)
    return set(mine) & set(theirs)


def require_one_task(runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """Check that any two of the runs have a task in common.

    A run's tasks are those that it was scored on. Where one of two runs has no score, their recipes' tasks are compared.

    Args:
        runs: their records.
        folders: where each lies, for the error.

    Raises:
        PotstillError: two runs have none; it names the first such two, and what each was scored on.
    """
    for (one, place), (other, other_place) in combinations(zip(runs, folders, strict=True), 2):
        if not _common(one, other):
            mine, theirs = _tasks(one, other)
            raise PotstillError(
                "compare",
                f"runs of different tasks: {place} is of {_named(mine)}, {other_place} of {_named(theirs)}",
                "compare the runs of one task at a time, or put them into a publication's table with --like",
            )


def require_whole(runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """Check that no run is a trial of its steps alone.

    Args:
        runs: their records.
        folders: where each lies, for the error.

    Raises:
        PotstillError: one is.
    """
    for run, place in zip(runs, folders, strict=True):
        if run.recipe.get("smoke"):
            raise PotstillError(place, "is a smoke run, whose scores mean nothing", "compare runs without --smoke")


def with_like_agreement(runs: Sequence[Run]) -> list[Run]:
    """The runs without their agreement with the teacher, unless all have one, with the same teacher on the same texts.

    Args:
        runs: their records.
    """
    about = {
        next((scores[TEACHER_AGREEMENT].get("digest") for scores in _scores(run) if TEACHER_AGREEMENT in scores), None) for run in runs
    }
    if len(about) < 2:
        return list(runs)
    return [run.model_copy(update={"records": [_without_agreement(record) for record in run.records]}) for run in runs]


def _scores(run: Run) -> list[dict[str, dict[str, Any]]]:
    return [record.scores for record in run.records]


def _without_agreement(record: Record) -> Record:
    scores = {task: values for task, values in record.scores.items() if task != TEACHER_AGREEMENT}
    return record.model_copy(update={"scores": scores})


def _named(tasks: Sequence[str]) -> str:
    return ", ".join(tasks[:SHOWN]) + (f" and {len(tasks) - SHOWN} more" if len(tasks) > SHOWN else "")
