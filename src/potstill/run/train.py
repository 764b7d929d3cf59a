"""A recipe's student: taught, and judged while it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.check.plan import RunPlan
from potstill.corpus.augment import augmented
from potstill.errors import PotstillError
from potstill.machine.files import require_space
from potstill.machine.processes import is_main
from potstill.recipe.recipe import EMBED, Recipe
from potstill.run.dev import dev_score, of_stage
from potstill.run.dual import mixed_texts
from potstill.run.stages import Prepared, prepare_stages
from potstill.runtime.folder import STUDENT
from potstill.teacher.make import Lesson, LoadedTeacher, make_teacher, training_length
from potstill.training.plans import plans_of, seed_of

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel
    from potstill.teacher.answers import Teacher
    from potstill.teacher.cached import Digests, Pass
    from potstill.training.trainer import CheckpointScore, Settings
    from potstill.training.training_set import TrainingSet

CHECKPOINTS = "checkpoints"
Elsewhere = Callable[[LoadedTeacher, "Pass"], "Digests"]
"""Computes what a teacher's cache lacks in place of this process."""
Watch = Callable[[str, "EncoderModel", int, float], None]
"""Looks on while a student learns: the stage, the student, the step and the score, each time that dev scored it. It may raise."""


def teach(
    recipe: Recipe,
    plan: RunPlan,
    student: EncoderModel,
    teacher: LoadedTeacher | None,
    folder: Path,
    resume: bool,
    watch: Watch | None = None,
) -> CheckpointScore | None:
    """Teach the student, stage by stage, and save it.

    Args:
        student: as `first_student` makes it.
        folder: the run's.
        resume: go on at the newest whole checkpoint.
        watch: looks on while the student learns.

    Returns:
        What chose its checkpoints; None where the last one was taken.

    Raises:
        PotstillError: something is wrong with a stage, or its loss became NaN or infinite.
    """
    from potstill.training.case_study import write_cases

    stages, dev = train(recipe, plan, student, teacher, folder, resume, watch)
    if is_main():
        if teacher is not None:
            objectives = [stage.objective for stage in stages]
            write_cases(folder, student, objectives, teacher.model.to("cpu"), plan.corpus.held_out, plan.corpus.gold)
        student.save(folder / STUDENT)
    return dev


def train(
    recipe: Recipe,
    plan: RunPlan,
    student: EncoderModel,
    teacher: LoadedTeacher | None,
    folder: Path,
    resume: bool,
    watch: Watch | None = None,
) -> tuple[list[Prepared], CheckpointScore | None]:
    """Take `student` through the recipe's stages.

    Returns:
        The stages, and what chose its checkpoints.

    Raises:
        PotstillError: as `teach`.
    """
    from potstill.run.neighbours import find_neighbours
    from potstill.training.checkpoints import checkpointing, room_for
    from potstill.training.trainer import StagePlace, train_stage
    from potstill.training.unfreezing import training_only

    training = recipe.training
    if training.dropout is not None:
        student.set_dropout(training.dropout)
    taught = [student, teacher.model] if teacher is not None and recipe.stages[0].dual is not None else [student]
    require_space(folder, room_for(sum(sum(each.parameter_counts()) for each in taught)), "the checkpoints")
    plan, stages, data, answers = make_ready(recipe, plan, student, teacher)
    neighbours = find_neighbours(training, data, answers, folder / CHECKPOINTS, plan.device) if answers is not None else None
    plans = plans_of(recipe, data, plan.corpus.has_label, neighbours)
    dev = dev_score(recipe, plan, teacher)
    for each in stages:
        stage, chosen = each.stage, each.objective
        place = StagePlace(stage.name, folder, folder / CHECKPOINTS / f"{each.number}-{stage.name}")
        with training_only(student, stage.train), checkpointing(place.folder):
            train_stage(
                each.model(student, training.batch_tokens if data.groups is not None else None),
                data,
                answers.giving(chosen.teacher_reads) if answers and chosen.teacher_reads else None,
                plans[each.number],
                _judge(recipe, each, dev, watch),
                _settings(recipe, plan, each),
                place,
                resume,
            )
    return stages, dev


def make_ready(
    recipe: Recipe, plan: RunPlan, student: EncoderModel, teacher: LoadedTeacher | None, elsewhere: Elsewhere | None = None
) -> tuple[RunPlan, list[Prepared], TrainingSet, Teacher | None]:
    """All that stands before the first step: more texts, the stages, their tokens, and the teacher's pass over them.

    Args:
        student: as `first_student` makes it; it is made ready for what the stages read of it.
        elsewhere: as Lesson has it.

    Returns:
        The plan with the texts that augmentation made, the stages, the training set, and what answers for it; None where
        neither a stage nor the batches read a teacher.

    Raises:
        PotstillError: something is wrong with a stage; all that can go wrong is told before the first one is trained.
    """
    from potstill.machine.distributed import main_first

    if recipe.data.augment is not None and teacher is not None:
        with main_first():
            more = augmented(plan.corpus, recipe.data.augment, teacher.model, teacher.folder, recipe.training.seed, plan.device)
        plan = replace(plan, corpus=more)
    stages = prepare_stages(recipe, plan, student, teacher)
    data, answers = _read_by_both(recipe, plan, student, teacher, stages, elsewhere)
    return plan, stages, data, answers


def _read_by_both(
    recipe: Recipe,
    plan: RunPlan,
    student: EncoderModel,
    teacher: LoadedTeacher | None,
    stages: Sequence[Prepared],
    elsewhere: Elsewhere | None,
) -> tuple[TrainingSet, Teacher | None]:
    """The training set, and what answers for it; None where neither a stage nor the batches read a teacher."""
    from potstill.models.output import EMBEDDING

    data = training_set(recipe, plan, student)
    if stages[0].dual is not None:
        data = replace(data, mixed=mixed_texts(recipe, recipe.stages[0], plan.corpus, stages[0].dual))
    reads = [stage.objective.teacher_reads for stage in stages]
    if recipe.training.neighbours is not None:  # they are read once, before the first stage, as a stage of their own would
        reads.append(frozenset({EMBEDDING}))
    if teacher is None or not any(reads):
        return data, None
    lesson = Lesson(recipe, plan.corpus, student, data.texts, reads, plan.device, plan.precision, elsewhere)
    answers, segments = make_teacher(teacher, lesson)
    return replace(data, segments=segments), answers


def _judge(recipe: Recipe, stage: Prepared, dev: CheckpointScore | None, watch: Watch | None) -> CheckpointScore | None:
    """What chooses the best checkpoint of a stage; None of a stage whose terms do not reach what the score reads."""
    read = {field.name for field in stage.objective.student_reads}
    if dev is None or ("embedding" if recipe.task == EMBED else "logits") not in read:
        return None
    dev = of_stage(dev)
    return dev if watch is None else replace(dev, watch=partial(watch, stage.stage.name))


def _settings(recipe: Recipe, plan: RunPlan, stage: Prepared) -> Settings:
    from potstill.training.trainer import Settings

    training, own = recipe.training, stage.stage
    return Settings(
        learning_rate=own.learning_rate or training.learning_rate,
        warmup=training.warmup,
        schedule=own.schedule or training.schedule,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=seed_of(training, stage.number),
        precision=plan.precision,
        device=plan.device,
        evaluations=training.evaluations,
        accumulate=training.accumulate,
        report_to=tuple(training.report_to),
    )


def training_set(recipe: Recipe, plan: RunPlan, student: EncoderModel) -> TrainingSet:
    """The texts in the student's pieces, with their labels, or with the way to mask them.

    Raises:
        PotstillError: words are to be masked and the tokenizer has no mask token.
    """
    import numpy as np

    from potstill.training.training_set import TrainingSet

    tokens = student.tokenize(plan.corpus.texts, training_length(recipe, student), "tokenize")
    groups = None if plan.corpus.groups is None else np.asarray(plan.corpus.groups, dtype=np.int64)
    if recipe.masks:
        from potstill.data.masking import mask_tokens

        special, mask_id = student.hf_tokenizer.all_special_ids, student.hf_tokenizer.mask_token_id
        if mask_id is None:
            raise PotstillError("student.model", "its tokenizer has no mask token", "choose a BERT-like encoder")
        vocabulary = int(student.network.config.vocab_size)
        return TrainingSet(
            tokens,
            masking=lambda ids, rng: mask_tokens(ids, special, mask_id, vocabulary, rng),
            masked_beside=recipe.task == EMBED,
            groups=groups,
        )
    labels = plan.corpus.labels
    if tokens.words is not None and labels is not None:
        found = []
        for row, tags in enumerate(labels):
            words = tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]
            found.append(np.where(words >= 0, np.asarray(tags)[np.maximum(words, 0)], -100))
        labels = found
    return TrainingSet(tokens, labels, groups=groups)
