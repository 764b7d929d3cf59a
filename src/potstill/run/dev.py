"""What chooses the best checkpoint, and what int8 must not lose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from potstill.check.plan import RunPlan
from potstill.machine.processes import is_main
from potstill.recipe.recipe import AGREEMENT, LAST, Recipe
from potstill.tasks.base import NoScore, Predictor, Task
from potstill.teacher.make import LoadedTeacher, held_out_vectors

if TYPE_CHECKING:
    from potstill.training.trainer import CheckpointScore


def dev_score(recipe: Recipe, plan: RunPlan, teacher: LoadedTeacher | None) -> CheckpointScore | None:
    """What chooses the best checkpoint, and what int8 must not lose: a dev task, or agreement with the teacher; None for the last one."""
    from potstill.training.trainer import CheckpointScore

    name = recipe.select
    if name == LAST:
        return None
    if not is_main():
        return CheckpointScore(name, _scored_elsewhere)
    if name != AGREEMENT:
        task = plan.tasks[name]
        if task.needs == "logits":
            return CheckpointScore(name, lambda model: _chosen_by(task, Predictor(model.labels, model.head, model.predict)))
        return CheckpointScore(name, lambda model: task.choice(task.evaluate(model.encode)))
    assert teacher is not None  # as the recipe's check saw
    return _agreement(plan, teacher)


def _scored_elsewhere(model: Any) -> float:
    """The score of a process that never scores: the main one does and tells it.

    Raises:
        AssertionError: always.
    """
    raise AssertionError("only the main process scores")


def _chosen_by(task: Task, model: Predictor) -> float:
    """The number that a checkpoint is chosen by; 0 for a regression that still says the same of every text."""
    try:
        return task.choice(task.evaluate(model))
    except NoScore:
        return 0.0


def _agreement(plan: RunPlan, teacher: LoadedTeacher) -> CheckpointScore:
    from potstill.training.agreement import Agreement
    from potstill.training.trainer import CheckpointScore

    agreement = Agreement(plan.corpus.held_out, held_out_vectors(teacher, plan.corpus.held_out, plan.device, plan.precision))
    return CheckpointScore(AGREEMENT, lambda model: agreement(model.encode))
