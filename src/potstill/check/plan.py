"""What a checked run will do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.corpus.read import Corpus
from potstill.recipe.recipe import Recipe, Stage
from potstill.student.make import make_student

if TYPE_CHECKING:
    import torch

    from potstill.models.encoder import EncoderModel
    from potstill.objective.sizes import TermSpec
    from potstill.tasks.base import Task
    from potstill.teacher.make import LoadedTeacher


@dataclass(frozen=True)
class StagePlan:
    """A stage of a recipe, and the terms that it minimises: none of weight 0 is among them."""

    stage: Stage
    terms: list[TermSpec]


@dataclass(frozen=True)
class RunPlan:
    """All that a check found out and a run needs, so that nothing is looked up, chosen or read twice.

    Attributes:
        corpus: what is trained on.
        tasks: name → task, its data in memory, of those that the recipe evaluates and the one that chooses checkpoints.
        teacher_folder: None where the recipe has no teacher.
        student_folder: of the encoder that the student is cut from, or takes its pieces from.
        layers: of its source (from 1) that the student keeps; of a student built small their number.
        device: that training runs on.
        precision: to autocast to; float32 for not at all.
        stages: in the recipe's order.
        pieces: of the student's own vocabulary, in the order of their numbers; None where it keeps its source's.
        teacher: loaded; None where the recipe has none.
    """

    corpus: Corpus
    tasks: dict[str, Task]
    teacher_folder: Path | None
    student_folder: Path
    layers: list[int]
    device: torch.device
    precision: torch.dtype
    stages: list[StagePlan] = field(default_factory=list)
    pieces: list[str] | None = None
    teacher: LoadedTeacher | None = None


def first_student(recipe: Recipe, plan: RunPlan) -> EncoderModel:
    """The student before training.

    Raises:
        PotstillError: its source cannot be loaded or cut as the recipe says.
    """
    same = plan.student_folder == plan.teacher_folder
    aligned = plan.teacher if recipe.student.align is not None else None
    return make_student(
        recipe,
        plan.corpus,
        plan.student_folder,
        layers=plan.layers,
        pieces=plan.pieces,
        device=plan.device,
        precision=plan.precision,
        loaded=plan.teacher.model if plan.teacher is not None and same else None,
        space=aligned.model.dimension if aligned is not None else 0,
    )
