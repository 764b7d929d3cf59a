"""What chooses the best checkpoint, and what int8 must not lose."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from potstill.check.plan import RunPlan
from potstill.errors import shown, warn
from potstill.machine.processes import is_main
from potstill.recipe.recipe import AGREEMENT, LAST, Recipe
from potstill.tasks.base import Embedder, NoScore, Predictor, Task
from potstill.tasks.labelled.diagnosis import collapsed
from potstill.teacher.make import LoadedTeacher, teacher_vectors

if TYPE_CHECKING:
    from potstill.training.agreement import Agreement
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
            return CheckpointScore(name, LabelledScore(task))
        if task.needs == "encoder":
            return CheckpointScore(name, lambda model: task.choice(task.evaluate(Embedder(model.encode, model.layout.similarity))))
        return CheckpointScore(name, lambda model: task.choice(task.evaluate(model.encode)))
    assert teacher is not None  # as the recipe's check saw
    agreement = agreement_with(plan, teacher)
    return CheckpointScore(AGREEMENT, lambda model: agreement(model.encode))


def _scored_elsewhere(model: Any) -> float:
    """The score of a process that never scores: the main one does and tells it.

    Raises:
        AssertionError: always.
    """
    raise AssertionError("only the main process scores")


class LabelledScore:
    """The number that a labelled task chooses a checkpoint by; a student that gives one answer to nearly everything is told.

    It is told in a PotstillWarning when it is first seen, once by each such score.

    Args:
        task: with labels.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.told = False

    def __call__(self, model: Any) -> float:
        """The score of a model with a head, torch or exported; 0 for a regression that still says the same of every text."""
        try:
            scores = self.task.evaluate(Predictor(model.labels, model.head, model.predict))
        except NoScore:
            return 0.0
        if not self.told and collapsed(scores):
            self.told = True
            given = scores["most_given"]
            problem = f"the student answers {shown(given['answer'])} to {100 * given['share']:.1f} % of the dev rows"
            usual = f"the data's most frequent answer has {100 * given['gold_share']:.1f} %"
            way_out = "if it stays so: more epochs, another learning_rate, or a student that was taught before (student.model)"
            warn(self.task.name, f"{problem}, and {usual}", way_out)
        return self.task.choice(scores)


def of_stage(dev: CheckpointScore) -> CheckpointScore:
    """The score for another stage, which tells anew of a student that gives one answer to nearly everything."""
    return replace(dev, score=LabelledScore(dev.score.task)) if isinstance(dev.score, LabelledScore) else dev


def agreement_with(plan: RunPlan, teacher: LoadedTeacher) -> Agreement:
    """What measures how much a model agrees with the teacher on the texts that the run holds out."""
    from potstill.training.agreement import Agreement

    return Agreement(plan.corpus.held_out, teacher_vectors(teacher, plan.corpus.held_out, plan.device, plan.precision))
