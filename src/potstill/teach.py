"""A recipe's student: made, taught, and judged while it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.errors import PotstillError
from potstill.evaluation.evaluate import load_tasks
from potstill.files import require_space
from potstill.preflight import AGREEMENT, Facts
from potstill.runtime.folder import STUDENT

if TYPE_CHECKING:
    import numpy as np

    from potstill.models.encoder import EncoderModel
    from potstill.training.teacher import CachedTeacher
    from potstill.training.trainer import Dev

CHECKPOINTS = "checkpoints"


def teach(recipe: recipes.Recipe, facts: Facts, folder: Path, resume: bool) -> Dev:
    """Teach the student, stage by stage, and save it. Returns what chose its checkpoints."""
    from transformers import set_seed

    from potstill.data.batches import tokenize, training_plan
    from potstill.losses.base import make_loss
    from potstill.models.encoder import load_encoder
    from potstill.training.objective import Objective, TermSpec
    from potstill.training.precision import choose_device, use_bf16
    from potstill.training.teacher import LiveTeacher, Teacher
    from potstill.training.trainer import Settings, train_stage

    training = recipe.training
    device = choose_device(training.device)
    bf16 = use_bf16(training.precision, device)
    student = make_student(recipe, facts)  # before the teacher: what cannot be cut is told at once
    if training.dropout is not None:
        student.set_dropout(training.dropout)
    require_space(folder, 40 * sum(student.parameter_counts()), "the checkpoints")
    tokens = tokenize(student.tokenizer, facts.texts, student.max_length, "tokenize")
    plan = training_plan(
        tokens.lengths, batch_size=training.batch_size, batch_tokens=training.batch_tokens, epochs=training.epochs, seed=training.seed
    )
    stages = _divide(recipe, plan)
    cached = cached_teacher(recipe, facts, device, bf16) if recipe.teacher.cache else None
    teacher: Teacher
    if cached is not None:
        teacher, teacher_width = cached, cached.dimension
    else:
        model = load_encoder(facts.teacher_folder, pooling=recipe.teacher.pooling, max_length=recipe.teacher.max_length).to(device)
        teacher, teacher_width = (
            LiveTeacher(model, tokenize(model.tokenizer, facts.texts, model.max_length, "tokenize"), bf16=bf16),
            model.dimension,
        )
    dev = dev_score(recipe, facts, cached)
    settings = Settings(
        learning_rate=training.learning_rate,
        warmup=training.warmup,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        bf16=bf16,
        device=device,
        evaluations=training.evaluations,
    )
    for number, (stage, steps) in enumerate(stages):
        own = replace(settings, seed=training.seed + number)  # else every stage would draw the same dropout
        set_seed(own.seed)  # of the projections
        terms = [
            TermSpec(term.loss, make_loss(term.loss, term.model_extra or {}), term.weight, term.project == "linear") for term in stage.terms
        ]
        objective = Objective(terms, student.dimension, teacher_width)
        train_stage(
            student,
            objective,
            tokens,
            teacher,
            steps,
            dev,
            own,
            name=stage.name,
            folder=folder / CHECKPOINTS / f"{number}-{stage.name}",
            run=folder,
            resume=resume,
        )
    student.save(folder / STUDENT)
    return dev


def _divide(recipe: recipes.Recipe, plan: list[np.ndarray]) -> list[tuple[recipes.Stage, list[np.ndarray]]]:
    """The batches of each stage, by its share."""
    divided, start = [], 0.0
    for stage in recipe.stages:
        end = start + stage.share
        steps = plan[round(start * len(plan)) : round(end * len(plan))]
        if not steps:
            raise PotstillError(
                f"stages.{stage.name}.share", f"{stage.share:g} of {len(plan)} steps is none", "give more texts, epochs or share"
            )
        divided.append((stage, steps))
        start = end
    return divided


def make_student(recipe: recipes.Recipe, facts: Facts) -> EncoderModel:
    """The student as it is before training: the same for the same recipe and seed."""
    from potstill.models.encoder import load_encoder
    from potstill.models.transformer import build_student, cut_student

    wanted = recipe.student
    source = load_encoder(facts.student_folder)
    pooling = wanted.pooling or (recipe.teacher.pooling if wanted.model is None else None) or source.pooling
    if wanted.width is not None:
        return build_student(
            source,
            layers=facts.layers[0],
            width=wanted.width,
            heads=wanted.heads,  # type: ignore[arg-type]  # the recipe's check saw that all four are there
            ffn=wanted.ffn,  # type: ignore[arg-type]
            pooling=pooling,
            normalize=wanted.normalize,
            max_length=wanted.max_length,
            seed=recipe.training.seed,
        )
    return cut_student(source, facts.layers, pooling=pooling, normalize=wanted.normalize, max_length=wanted.max_length)


def cached_teacher(recipe: recipes.Recipe, facts: Facts, device: Any, bf16: bool) -> CachedTeacher:
    """The teacher's vectors of the training texts, then of the held-out ones; computed only where no cache holds them."""
    from potstill.models.encoder import load_encoder
    from potstill.training.teacher import MANIFEST, CachedTeacher, build_cache, cache_place

    texts = [*facts.texts, *facts.held_out]
    settings = {"pooling": recipe.teacher.pooling, "max_length": recipe.teacher.max_length, "bf16": bf16}
    place = cache_place(facts.teacher_folder, texts, settings)
    if (place / MANIFEST).is_file():
        return CachedTeacher(place)
    model = load_encoder(facts.teacher_folder, pooling=recipe.teacher.pooling, max_length=recipe.teacher.max_length)
    return build_cache(place, model.to(device), texts, bf16)


def dev_score(recipe: recipes.Recipe, facts: Facts, cached: CachedTeacher | None = None) -> Dev:
    """What chooses the best checkpoint, and what int8 must not lose: a dev task, or agreement with the teacher."""
    import numpy as np

    from potstill.models.encoder import load_encoder
    from potstill.training.agreement import Agreement
    from potstill.training.precision import choose_device, use_bf16
    from potstill.training.trainer import Dev

    name = recipe.training.select
    if name != AGREEMENT:
        task = load_tasks([name], recipe.data.dir)[0]
        return Dev(name, lambda encode: float(task.evaluate(encode)[task.primary]))
    if cached is None and recipe.teacher.cache:
        device = choose_device(recipe.training.device)
        cached = cached_teacher(recipe, facts, device, use_bf16(recipe.training.precision, device))
    if cached is not None:
        vectors = cached.vectors(np.arange(len(facts.texts), len(facts.texts) + len(facts.held_out)))
    else:
        vectors = load_encoder(facts.teacher_folder, pooling=recipe.teacher.pooling, max_length=recipe.teacher.max_length).encode(
            facts.held_out
        )
    return Dev(name, Agreement(facts.held_out, vectors))
