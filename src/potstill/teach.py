"""A recipe's student: taught, and judged while it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.dual import mixed_texts
from potstill.errors import PotstillError
from potstill.evaluation.evaluate import load_tasks
from potstill.files import require_space
from potstill.material import augmented
from potstill.preflight import AGREEMENT, LAST, Facts
from potstill.processes import is_main
from potstill.runtime.folder import STUDENT
from potstill.stages import Prepared, plans_of, prepare_stages
from potstill.student import make_student
from potstill.tasks.base import NoScore, Predictor, Task
from potstill.teacher import held_out_vectors, load_teacher, make_teacher, training_length

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel
    from potstill.training.trainer import Dev
    from potstill.training.training_set import TrainingSet

CHECKPOINTS = "checkpoints"
Watch = Callable[[str, "EncoderModel", int, float], None]
"""Looks on while a student learns: the stage, the student, the step and the score, each time that dev scored it. It may raise."""


def teach(recipe: recipes.Recipe, facts: Facts, folder: Path, resume: bool, watch: Watch | None = None) -> Dev | None:
    """Teach the student, stage by stage, and save it. Returns what chose its checkpoints."""
    from potstill.training.cases import write_cases

    student = make_student(recipe, facts)  # before the teacher: what cannot be cut is told at once
    stages, dev = train(recipe, facts, student, folder, resume, watch)
    if is_main():
        objectives = [stage.objective for stage in stages]
        write_cases(folder, student, objectives, partial(load_teacher, recipe, facts), facts.material.held_out, facts.material.gold)
        student.save(folder / STUDENT)
    return dev


def train(
    recipe: recipes.Recipe,
    facts: Facts,
    student: EncoderModel,
    folder: Path,
    resume: bool,
    watch: Watch | None = None,
) -> tuple[list[Prepared], Dev | None]:
    """Take `student` through the recipe's stages. Returns them, and what chose its checkpoints."""
    from potstill.training.precision import choose_device, choose_precision
    from potstill.training.processes import main_first
    from potstill.training.trainer import Settings, train_stage
    from potstill.training.unfreezing import training_only

    training = recipe.training
    device = choose_device(training.device)
    precision = choose_precision(training.precision, device)
    if training.dropout is not None:
        student.set_dropout(training.dropout)
    model = load_teacher(recipe, facts)
    taught = [student, model] if model is not None and recipe.stages[0].dual is not None else [student]
    require_space(folder, 40 * sum(sum(each.parameter_counts()) for each in taught), "the checkpoints")
    if model is not None:
        model.to(device)
    if recipe.data.augment is not None and model is not None and facts.teacher_folder is not None:
        with main_first():
            facts = replace(facts, material=augmented(facts.material, recipe.data.augment, model, facts.teacher_folder, training.seed))
    # Everything that can go wrong with a stage is told before the first one is trained.
    stages = prepare_stages(recipe, facts, student, model)
    data = training_set(recipe, facts, student)
    if stages[0].dual is not None:
        data = replace(data, mixed=mixed_texts(recipe, recipe.stages[0], facts.material, stages[0].dual))
    plans = plans_of(recipe, data, facts.material.given)
    reads = [stage.objective.teacher_reads for stage in stages]
    teacher = None
    if model and any(reads):
        teacher, segments = make_teacher(recipe, facts, model, student, data.texts, reads, device, precision)
        data = replace(data, segments=segments)
    del model  # with a cache nobody needs it any more
    dev = dev_score(recipe, facts)
    for each in stages:
        stage, chosen, number = each.stage, each.objective, each.number
        read = {field.name for field in chosen.student_reads}
        judged = dev if ("embedding" if recipe.task == recipes.EMBED else "logits") in read else None
        if judged is not None and watch is not None:
            judged = replace(judged, watch=partial(watch, stage.name))
        settings = Settings(
            learning_rate=stage.learning_rate or training.learning_rate,
            warmup=training.warmup,
            schedule=stage.schedule or training.schedule,
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            seed=training.seed + number,
            precision=precision,
            device=device,
            evaluations=training.evaluations,
            accumulate=training.accumulate,
            cached_tokens=training.batch_tokens if data.groups is not None else None,
        )
        with training_only(student, stage.train):
            train_stage(
                student,
                chosen,
                data,
                teacher.giving(chosen.teacher_reads) if teacher and chosen.teacher_reads else None,
                plans[number],
                judged,
                settings,
                name=stage.name,
                folder=folder / CHECKPOINTS / f"{number}-{stage.name}",
                run=folder,
                resume=resume,
                perturbation=each.perturbation,
                dual=each.dual,
            )
    return stages, dev


def training_set(recipe: recipes.Recipe, facts: Facts, student: EncoderModel) -> TrainingSet:
    """The texts in the student's pieces, with their labels, or with the way to mask them."""
    import numpy as np

    from potstill.data.batches import tokenize
    from potstill.training.training_set import TrainingSet

    tokens = tokenize(student.tokenizer, facts.material.texts, training_length(recipe, student), "tokenize")
    groups = None if facts.material.groups is None else np.asarray(facts.material.groups, dtype=np.int64)
    if recipe.masks:
        from potstill.data.masking import mask_tokens

        special, mask_id = student.hf_tokenizer.all_special_ids, student.hf_tokenizer.mask_token_id
        if mask_id is None:
            raise PotstillError("student.model", "its tokenizer has no mask token", "choose a BERT-like encoder")
        vocabulary = int(student.network.config.vocab_size)
        return TrainingSet(
            tokens,
            masking=lambda ids, rng: mask_tokens(ids, special, mask_id, vocabulary, rng),
            beside=recipe.task == recipes.EMBED,
            groups=groups,
        )
    labels = facts.material.labels
    if tokens.words is not None and labels is not None:
        found = []
        for row, tags in enumerate(labels):
            words = tokens.words[tokens.offsets[row] : tokens.offsets[row + 1]]
            found.append(np.where(words >= 0, np.asarray(tags)[np.maximum(words, 0)], -100))
        labels = found
    return TrainingSet(tokens, labels, groups=groups)


def dev_score(recipe: recipes.Recipe, facts: Facts) -> Dev | None:
    """What chooses the best checkpoint, and what int8 must not lose: a dev task, or agreement with the teacher; None for the last one."""
    from potstill.training.trainer import Dev

    name = recipe.select
    if name == LAST:
        return None
    if not is_main():
        return Dev(name, _scored_elsewhere)
    if name != AGREEMENT:
        task = load_tasks([name], recipe.data.dir)[0]
        if task.needs == "logits":
            return Dev(name, lambda model: _chosen_by(task, Predictor(model.labels, model.kind, model.predict)))
        return Dev(name, lambda model: task.choice(task.evaluate(model.encode)))
    return _agreement(recipe, facts)


def _scored_elsewhere(model: Any) -> float:
    """The score of a process that never scores: the main one does and tells it."""
    raise AssertionError("only the main process scores")


def _chosen_by(task: Task, model: Predictor) -> float:
    """The number that a checkpoint is chosen by; 0 for a regression that still says the same of every text."""
    try:
        return task.choice(task.evaluate(model))
    except NoScore:
        return 0.0


def _agreement(recipe: recipes.Recipe, facts: Facts) -> Dev:
    from potstill.training.agreement import Agreement
    from potstill.training.trainer import Dev

    agreement = Agreement(facts.material.held_out, held_out_vectors(recipe, facts))
    return Dev(AGREEMENT, lambda model: agreement(model.encode))
