"""A stage of dual training: its teacher over both vocabularies, and its texts cut by both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill import recipe as recipes
from potstill.errors import PotstillError
from potstill.material import Material
from potstill.processes import require_one

if TYPE_CHECKING:
    from potstill.data.mixed import MaskedMix
    from potstill.models.encoder import EncoderModel
    from potstill.training.dual import DualTraining
    from potstill.training.objective import Objective


def check_dual(recipe: recipes.Recipe, student: int, teacher: int, place: str) -> None:
    """Raise a PotstillError where a stage of dual training asks for what the recipe does not give, or what it cannot go with.

    Args:
        student, teacher: layers, 0 where unknown.
    """
    from potstill.losses.base import loss_class
    from potstill.registry import names

    stages = [stage for stage in recipe.stages if stage.dual is not None]
    if not stages:
        return
    where = f"{place}: stages.{stages[0].name}.dual"
    if len(recipe.stages) > 1:
        raise PotstillError(where, "stands beside other stages", "make it a recipe of its own, and go on from its student")
    if recipe.task != recipes.MLM or recipe.teacher is None:
        raise PotstillError(where, "teaches a language model along", "set task: mlm, and name the language model as teacher")
    if recipe.student.vocabulary is None or recipe.student.model is not None or not recipe.student.built:
        raise PotstillError(where, "is for a student built small from its teacher, with a vocabulary of its own", "give student.vocabulary")
    if stages[0].perturb:
        raise PotstillError(where, "does not go with perturb", "drop one of them")
    known = [term for term in stages[0].terms if term.weight != 0 and term.loss in names("losses")]
    if reading := [term.loss for term in known if loss_class(term.loss).needs_teacher]:
        raise PotstillError(where, f"does not go with {reading[0]}: what it compares with is itself being taught", "drop the term")
    if stages[0].dual.project != "none" and student and teacher and student != teacher:  # type: ignore[union-attr]
        raise PotstillError(
            f"{where}.project",
            f"the student has {student} layers and the teacher {teacher}, and weights are projected layer by layer",
            "give the student as many, or set project: none",
        )


def dual_training(stage: recipes.Stage, student: EncoderModel, objective: Objective, teacher: EncoderModel) -> DualTraining:
    """Both sides in one module; the teacher's table gets the student's pieces behind its own."""
    from potstill.models.vocabulary import with_second_table
    from potstill.training.dual import DualTraining

    require_one("stages: dual")
    assert stage.dual is not None
    own = with_second_table(teacher, student.hf_tokenizer.convert_ids_to_tokens(list(range(len(student.hf_tokenizer)))))
    direction = None if stage.dual.project == "none" else stage.dual.project
    return DualTraining(student, objective, teacher.requires_grad_(True), own, direction, stage.dual.weight)


def mixed_texts(recipe: recipes.Recipe, stage: recipes.Stage, material: Material, model: DualTraining) -> MaskedMix:
    """The training texts as the teacher of `model` reads them."""
    from potstill.data.mixed import MaskedMix, MixedTexts

    assert stage.dual is not None
    student, teacher, own = model.student, model.teacher, model.own_pieces
    special, mask_id = teacher.hf_tokenizer.all_special_ids, teacher.hf_tokenizer.mask_token_id
    if mask_id is None:
        raise PotstillError("teacher.model", "its tokenizer has no mask token", "choose a BERT-like language model")
    texts = MixedTexts(
        teacher.tokenizer,
        student.tokenizer,
        material.texts,
        shift=own,
        probability=stage.dual.probability,
        max_length=min(teacher.max_length, student.max_length, recipe.training.max_length or student.max_length),
        pad_id=teacher.pad_id,
    )
    # The student's special tokens stand for nothing in the second table.
    unused = [own + number for number in student.hf_tokenizer.all_special_ids]
    return MaskedMix(texts, [*special, *unused], mask_id, own + len(student.hf_tokenizer))
