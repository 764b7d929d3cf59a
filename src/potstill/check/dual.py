"""What is known to be wrong with a stage of dual training."""

from __future__ import annotations

from potstill.errors import PotstillError
from potstill.recipe.recipe import MLM, Recipe


def check_dual(recipe: Recipe, student: int, teacher: int, place: str) -> None:
    """Check that a stage of dual training has what it needs and stands beside nothing that it does not go with.

    Args:
        student, teacher: layers, 0 where unknown.

    Raises:
        PotstillError: what is missing, or must go.
    """
    from potstill.losses.base import loss_class
    from potstill.registry import names

    stages = [stage for stage in recipe.stages if stage.dual is not None]
    if not stages:
        return
    where = f"{place}: stages.{stages[0].name}.dual"
    if len(recipe.stages) > 1:
        raise PotstillError(where, "stands beside other stages", "make it a recipe of its own, and go on from its student")
    if recipe.task != MLM or recipe.teacher is None:
        raise PotstillError(where, "teaches a language model along", "set task: mlm, and name the language model as teacher")
    if recipe.student.vocabulary is None or recipe.student.model is not None or not recipe.student.built:
        raise PotstillError(where, "is for a student built small from its teacher, with a vocabulary of its own", "give student.vocabulary")
    if stages[0].perturb:
        raise PotstillError(where, "does not go with perturb", "drop one of them")
    known = [term for term in stages[0].terms if term.active and term.loss in names("losses")]
    if reading := [term.loss for term in known if loss_class(term.loss).needs_teacher]:
        raise PotstillError(where, f"does not go with {reading[0]}: what it compares with is itself being taught", "drop the term")
    if stages[0].dual.project != "none" and student and teacher and student != teacher:  # type: ignore[union-attr]
        raise PotstillError(
            f"{where}.project",
            f"the student has {student} layers and the teacher {teacher}, and weights are projected layer by layer",
            "give the student as many, or set project: none",
        )
