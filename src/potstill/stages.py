"""A recipe's stages made ready: what each optimises, and its batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.dual import dual_training
from potstill.errors import PotstillError
from potstill.preflight import Facts

if TYPE_CHECKING:
    import numpy as np

    from potstill.models.encoder import EncoderModel
    from potstill.training.dual import DualTraining
    from potstill.training.objective import Objective, Sizes
    from potstill.training.perturbation import Perturbation
    from potstill.training.training_set import TrainingSet


@dataclass(frozen=True)
class Prepared:
    """A stage of a recipe, the `number`-th from 0, and what it optimises."""

    number: int
    stage: recipes.Stage
    objective: Objective
    perturbation: Perturbation | None
    dual: DualTraining | None


def prepare_stages(recipe: recipes.Recipe, facts: Facts, student: EncoderModel, teacher: EncoderModel | None) -> list[Prepared]:
    """Every stage that has something to learn; one that an ablation emptied is left out.

    Raises:
        PotstillError: something is wrong with one of them; it is told before the first one is trained.
    """
    from transformers import set_seed

    from potstill.training.objective import Objective
    from potstill.training.perturbation import Perturbation, embedding_module
    from potstill.training.teacher import prepare_inside
    from potstill.training.terms import stage_terms

    stages: list[Prepared] = []
    for number, stage in enumerate(recipe.stages):
        set_seed(recipe.training.seed + number)  # of the projections; each stage its own, else all would draw the same dropout
        terms = stage_terms(stage, len(student.layers), len(teacher.layers) if teacher else 0)
        if not terms or stage.share == 0:
            continue
        objective = Objective(terms, _sizes(student), _sizes(teacher) if teacher else None, rows=len(facts.material.texts))
        for earlier in stages:  # the nearest one that has the row comes last
            objective.inherit(earlier.objective)
        prepare_inside(student, objective.student_reads)
        dual = dual_training(stage, student, objective, teacher) if stage.dual and teacher is not None else None
        perturb = stage.perturbation
        if perturb is not None:
            embedding_module(student, f"stages.{stage.name}.perturb")
        perturbation = Perturbation(perturb.epsilon, perturb.normalize) if perturb else None
        stages.append(Prepared(number, stage, objective, perturbation, dual))
    return stages


def _sizes(model: EncoderModel) -> Sizes:
    from potstill.models.heads import kind_of, output_layer
    from potstill.training.objective import Sizes

    logits = max(1, len(model.labels))
    if kind_of(model.network) in ("embed", "mlm"):
        logits = int(model.network.config.vocab_size) if kind_of(model.network) == "mlm" else 0
    pooled = 0 if model.kind in ("embed", "mlm") else output_layer(model.network).in_features
    head_size = getattr(model.backbone.config, "head_size", 0)  # of pruned heads, which no longer fill the width
    inside = head_size * model.heads if head_size else 0
    return Sizes(model.dimension if model.kind == "embed" else 0, model.width, logits, pooled, inside)


def plans_of(recipe: recipes.Recipe, data: TrainingSet, given: np.ndarray | None = None) -> list[list[np.ndarray]]:
    """The batches of each stage: of its own epochs or steps, or by its share of the run's.

    A step is `training.accumulate` batches. Every stage begins with a step of its own; what is left
    of its last epoch for its last step may be fewer.

    Args:
        given: (n,) bool, of which rows the data knows the label; a stage that reads labels alone has no others.
    """
    training = recipe.training
    read = [_rows_of(stage, given) for stage in recipe.stages]
    if recipe.stages[0].epochs is not None or recipe.stages[0].steps is not None:
        plans = []
        for number, (stage, rows) in enumerate(zip(recipe.stages, read)):
            needed = None if stage.steps is None else stage.steps * training.accumulate
            plans.append(_plan(training, data, training.seed + number, stage.epochs or 1, needed, rows))
        return plans
    plan = _plan(training, data, training.seed, training.epochs)
    steps = -(-len(plan) // training.accumulate)
    divided, start = [], 0.0
    for number, (stage, rows) in enumerate(zip(recipe.stages, read)):
        share = 1.0 if stage.share is None else stage.share
        end = start + share
        batches = plan[round(start * steps) * training.accumulate : round(end * steps) * training.accumulate]
        if share and not batches:
            raise PotstillError(f"stages.{stage.name}.share", f"{share:g} of {steps} steps is none", "give more texts, epochs or share")
        divided.append(batches if rows is None else _plan(training, data, training.seed + number, 1, len(batches), rows))
        start = end
    return divided


def _plan(
    training: recipes.Training, data: TrainingSet, seed: int, epochs: float, batches: int | None = None, rows: np.ndarray | None = None
) -> list[np.ndarray]:
    """Batches of `rows` (default all): of so many epochs, or so many of them."""
    from potstill.data.batches import training_plan

    lengths = data.lengths if rows is None else data.lengths[rows]
    sizes: dict[str, Any] = {"batch_size": training.batch_size, "batch_tokens": training.batch_tokens if data.groups is None else None}
    plan = training_plan(lengths, **sizes, epochs=epochs, seed=seed)
    if batches is not None:
        plan = training_plan(lengths, **sizes, epochs=-(-batches // max(1, len(plan))) + 1, seed=seed)[:batches]
    return plan if rows is None else [rows[batch] for batch in plan]


def _rows_of(stage: recipes.Stage, given: np.ndarray | None) -> np.ndarray | None:
    """The rows whose label is known, of a stage that reads labels alone; None: all rows."""
    import numpy as np

    from potstill.losses.base import loss_class

    if given is None or any(loss_class(term.loss).needs_teacher for term in stage.terms if term.weight != 0):
        return None
    return np.flatnonzero(given)
