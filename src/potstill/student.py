"""A recipe's student as it is before training: cut from an encoder, or built small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill import recipe as recipes
from potstill.preflight import Facts

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel


def make_student(recipe: recipes.Recipe, facts: Facts) -> EncoderModel:
    """The student as it is before training: the same for the same recipe and seed."""
    from potstill.models.loading import load_encoder
    from potstill.models.transformer import build_student, cut_student

    wanted = recipe.student
    source = load_encoder(
        facts.student_folder,
        kind=facts.material.kind,
        labels=facts.material.names,
        seed=recipe.training.seed,
        lm_head=recipe.masks and recipe.task == recipes.EMBED,
    )
    taught = recipe.teacher.pooling if recipe.teacher and wanted.model is None else None
    pooling = wanted.pooling or taught
    if wanted.width is not None:
        return build_student(
            source,
            layers=facts.layers[0],
            width=wanted.width,
            heads=wanted.heads,  # type: ignore[arg-type]  # the recipe's check saw that all four are there
            ffn=wanted.ffn,  # type: ignore[arg-type]
            pooling=pooling or source.pooling,
            normalize=wanted.normalize,
            max_length=wanted.max_length,
            seed=recipe.training.seed,
        )
    return cut_student(source, facts.layers, pooling=pooling, normalize=wanted.normalize, max_length=wanted.max_length)
