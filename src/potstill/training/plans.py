"""The batches of a recipe's stages, made before the run for all of its epochs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from potstill.errors import PotstillError
from potstill.recipe.recipe import Recipe, Stage, Training

if TYPE_CHECKING:
    import numpy as np

    from potstill.data.batches import Plan
    from potstill.data.neighbours import Neighbours
    from potstill.training.training_set import TrainingSet

MOST_TEXTS = 2 * 10**9  # that a stage reads, counted again in each epoch: each one's row is looked at before the first step


def plans_of(recipe: Recipe, data: TrainingSet, has_label: np.ndarray | None = None, neighbours: Neighbours | None = None) -> list[Plan]:
    """The batches of each stage: of its own epochs or steps, or by its share of the run's.

    A step is `training.accumulate` batches. Every stage begins with a step of its own; what is left
    of its last epoch for its last step may be fewer.

    Args:
        has_label: (n,) bool, of which rows the data knows the label; a stage that reads labels alone has no others.
        neighbours: of the rows, for batches of them.

    Raises:
        PotstillError: a stage's share is less than a step.
    """
    training = recipe.training
    read = [_labelled_rows(stage, has_label) for stage in recipe.stages]
    if recipe.stages[0].epochs is not None or recipe.stages[0].steps is not None:
        plans = []
        for number, (stage, rows) in enumerate(zip(recipe.stages, read)):
            needed = None if stage.steps is None else stage.steps * training.accumulate
            plans.append(_plan(training, data, seed_of(training, number), stage.epochs or 1, needed, rows, neighbours))
        return plans
    plan = _plan(training, data, training.seed, training.epochs, neighbours=neighbours)
    steps = -(-len(plan) // training.accumulate)
    divided, start = [], 0.0
    for number, (stage, rows) in enumerate(zip(recipe.stages, read)):
        share = 1.0 if stage.share is None else stage.share
        end = start + share
        batches = plan[round(start * steps) * training.accumulate : round(end * steps) * training.accumulate]
        if share and not batches:
            raise PotstillError(f"stages.{stage.name}.share", f"{share:g} of {steps} steps is none", "give more texts, epochs or share")
        divided.append(batches if rows is None else _plan(training, data, seed_of(training, number), 1, len(batches), rows))
        start = end
    return divided


def seed_of(training: Training, number: int) -> int:
    """The seed of the `number`-th stage, from 0: each has its own, and the one after the greatest that numpy takes is 0."""
    return (training.seed + number) % 2**32


def _plan(
    training: Training,
    data: TrainingSet,
    seed: int,
    epochs: float,
    batches: int | None = None,
    rows: np.ndarray | None = None,
    neighbours: Neighbours | None = None,
) -> Plan:
    """Batches of `rows` (default all): of so many epochs, or so many of them.

    Raises:
        PotstillError: they are more than any training takes, and than the memory holds.
    """
    from potstill.data.batches import training_plan
    from potstill.data.stored_tokens import StoredTokens
    from potstill.machine.distributed import main_first

    lengths = data.lengths if rows is None else data.lengths[rows]
    seen = len(lengths) * epochs if batches is None else batches * min(training.batch_size, len(lengths))
    if seen > MOST_TEXTS:
        key = "training.epochs" if batches is None else "training: batch_size times steps"
        raise PotstillError(key, f"{seen:,.0f} texts are to be read in all, and {MOST_TEXTS:,} is the most", "give fewer epochs or steps")
    size = max(1, min(training.batch_size, len(lengths)))  # more is the same, and the plan counts to it
    sizes: dict[str, Any] = {"batch_size": size, "batch_tokens": training.batch_tokens if data.groups is None else None}
    sizes["neighbours"] = neighbours
    sizes["place"] = data.texts.place / "plans" if isinstance(data.texts, StoredTokens) and rows is None and neighbours is None else None
    with main_first():
        plan = training_plan(lengths, **sizes, epochs=math.inf if batches is not None else epochs, seed=seed, batches=batches)
    return plan if rows is None else plan.of(rows)


def _labelled_rows(stage: Stage, has_label: np.ndarray | None) -> np.ndarray | None:
    """The rows whose label is known, of a stage that reads labels alone; None: all rows."""
    import numpy as np

    from potstill.losses.base import loss_class

    if has_label is None or any(loss_class(term.loss).needs_teacher for term in stage.terms if term.active):
        return None
    return np.flatnonzero(has_label)
