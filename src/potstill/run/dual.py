"""A stage of dual training: its teacher over both vocabularies, and its texts cut by both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from potstill.corpus.read import Corpus
from potstill.errors import PotstillError
from potstill.machine.processes import require_one
from potstill.recipe.recipe import Recipe, Stage

if TYPE_CHECKING:
    from potstill.data.mixed import MaskedMix
    from potstill.models.encoder import EncoderModel
    from potstill.objective.objective import Objective
    from potstill.training.dual import DualTraining


def dual_training(stage: Stage, student: EncoderModel, objective: Objective, teacher: EncoderModel) -> DualTraining:
    """Both sides in one module; the teacher's table gets the student's pieces behind its own.

    Args:
        teacher: it is taught along, and so is nobody else's.

    Raises:
        PotstillError: started as several processes, which this does not share.
    """
    from potstill.student.vocabulary import with_second_table
    from potstill.training.dual import DualTraining

    require_one("stages: dual")
    assert stage.dual is not None
    own = with_second_table(teacher, student.hf_tokenizer.convert_ids_to_tokens(list(range(len(student.hf_tokenizer)))))
    direction = None if stage.dual.project == "none" else stage.dual.project
    return DualTraining(student, objective, teacher.requires_grad_(True), own, direction, stage.dual.weight)


def mixed_texts(recipe: Recipe, stage: Stage, corpus: Corpus, model: DualTraining) -> MaskedMix:
    """The training texts as the teacher of `model` reads them.

    Raises:
        PotstillError: the teacher's tokenizer has no mask token.
    """
    from potstill.data.mixed import MaskedMix, MixedTexts

    assert stage.dual is not None
    student, teacher, own = model.student, model.teacher, model.own_pieces
    special, mask_id = teacher.hf_tokenizer.all_special_ids, teacher.hf_tokenizer.mask_token_id
    if mask_id is None:
        raise PotstillError("teacher.model", "its tokenizer has no mask token", "choose a BERT-like language model")
    texts = MixedTexts(
        teacher.tokenizer,
        student.tokenizer,
        corpus.texts,
        shift=own,
        probability=stage.dual.probability,
        max_length=min(teacher.max_length, student.max_length, recipe.training.max_length or student.max_length),
        pad_id=teacher.pad_id,
    )
    # The student's special tokens stand for nothing in the second table.
    unused = [own + number for number in student.hf_tokenizer.all_special_ids]
    return MaskedMix(texts, [*special, *unused], mask_id, own + len(student.hf_tokenizer))
