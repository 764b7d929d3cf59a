"""A recipe's stages made ready: what each optimises."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.check.plan import RunPlan
from potstill.recipe.recipe import Recipe, Stage
from potstill.registry import EMBED, MLM
from potstill.run.dual import dual_training
from potstill.runtime.architecture import inside_of
from potstill.teacher.make import LoadedTeacher
from potstill.training.plans import seed_of

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel
    from potstill.objective.objective import Objective
    from potstill.objective.sizes import Sizes
    from potstill.training.distillation import Distillation
    from potstill.training.dual import DualTraining
    from potstill.training.perturbation import Perturbation


@dataclass(frozen=True)
class Prepared:
    """A stage of a recipe, the `number`-th from 0, and what it optimises."""

    number: int
    stage: Stage
    objective: Objective
    perturbation: Perturbation | None
    dual: DualTraining | None

    def model(self, student: EncoderModel, cached_tokens: int | None) -> Distillation | DualTraining:
        """The student and what it minimises, in one module.

        Args:
            cached_tokens: as Distillation has it.
        """
        from potstill.training.distillation import Distillation

        return self.dual or Distillation(student, self.objective, self.perturbation, cached_tokens)


def prepare_stages(recipe: Recipe, plan: RunPlan, student: EncoderModel, teacher: LoadedTeacher | None) -> list[Prepared]:
    """Every stage that has something to learn, with the terms that the check made; one that an ablation emptied is left out.

    Raises:
        PotstillError: something is wrong with one of them; it is told before the first one is trained.
    """
    from transformers import set_seed

    from potstill.models.recording import prepare_inside
    from potstill.objective.objective import Objective
    from potstill.training.perturbation import Perturbation, embedding_module

    stages: list[Prepared] = []
    theirs = _sizes(teacher.model) if teacher is not None else None
    for number, (stage, terms) in enumerate((each.stage, each.terms) for each in plan.stages):
        set_seed(seed_of(recipe.training, number))  # of the projections; each stage its own, else all would draw the same dropout
        if not terms or stage.share == 0:
            continue
        objective = Objective(terms, _sizes(student), theirs, rows=len(plan.corpus.texts), dimensions=recipe.student.dimensions)
        for earlier in stages:  # the nearest one that has the row comes last
            objective.inherit(earlier.objective)
        prepare_inside(student.network, objective.student_reads)
        dual = dual_training(stage, student, objective, copy.deepcopy(teacher.model)) if stage.dual and teacher is not None else None
        perturb = stage.perturbation
        if perturb is not None:
            embedding_module(student, f"stages.{stage.name}.perturb")
        perturbation = Perturbation(perturb.epsilon, perturb.normalize) if perturb else None
        stages.append(Prepared(number, stage, objective, perturbation, dual))
    return stages


def _sizes(model: EncoderModel) -> Sizes:
    from potstill.models.heads import kind_of, output_layer
    from potstill.objective.sizes import Sizes

    logits = max(1, len(model.labels))
    if kind_of(model.network) in (EMBED, MLM):
        logits = int(model.network.config.vocab_size) if kind_of(model.network) == MLM else 0
    pooled = 0 if model.head in (EMBED, MLM) else output_layer(model.network).in_features
    return Sizes(model.dimension if model.head == EMBED else 0, model.width, logits, pooled, inside_of(model.backbone.config.to_dict()))
