"""A recipe's student: taught, and judged while it learns."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.errors import PotstillError
from potstill.evaluation.evaluate import load_tasks
from potstill.files import require_space
from potstill.material import augmented
from potstill.preflight import AGREEMENT, LAST, Facts
from potstill.runtime.folder import STUDENT
from potstill.student import make_student
from potstill.tasks.base import NoScore, Predictor, Task
from potstill.teacher import held_out_vectors, load_teacher, make_teacher, training_length

if TYPE_CHECKING:
    import numpy as np

    from potstill.models.encoder import EncoderModel
    from potstill.training.objective import Sizes
    from potstill.training.trainer import Dev
    from potstill.training.training_set import TrainingSet

CHECKPOINTS = "checkpoints"
Watch = Callable[[str, "EncoderModel", int, float], None]
"""Looks on while a student learns: the stage, the student, the step and the score, each time that dev scored it. It may raise."""


def teach(recipe: recipes.Recipe, facts: Facts, folder: Path, resume: bool, watch: Watch | None = None) -> Dev | None:
    """Teach the student, stage by stage, and save it. Returns what chose its checkpoints."""
    from transformers import set_seed

    from potstill.training.cases import write_cases
    from potstill.training.objective import Objective
    from potstill.training.perturbation import Perturbation, embedding_module
    from potstill.training.precision import choose_device, choose_precision
    from potstill.training.teacher import prepare_inside
    from potstill.training.terms import stage_terms
    from potstill.training.trainer import Settings, train_stage

    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # every process would run the whole plan, and write the same folder
        raise PotstillError("WORLD_SIZE", "several processes cannot train one run yet", "start it once, without torchrun")
    training = recipe.training
    device = choose_device(training.device)
    precision = choose_precision(training.precision, device)
    student = make_student(recipe, facts)  # before the teacher: what cannot be cut is told at once
    if training.dropout is not None:
        student.set_dropout(training.dropout)
    require_space(folder, 40 * sum(student.parameter_counts()), "the checkpoints")
    model = load_teacher(recipe, facts)
    if model is not None:
        model.to(device)
    if recipe.data.augment is not None and model is not None and facts.teacher_folder is not None:
        facts = replace(facts, material=augmented(facts.material, recipe.data.augment, model, facts.teacher_folder, training.seed))
    # Everything that can go wrong with a stage is told before the first one is trained.
    stages: list[tuple[recipes.Stage, Objective | None, Perturbation | None]] = []
    for number, stage in enumerate(recipe.stages):
        set_seed(training.seed + number)  # of the projections; each stage its own, else all would draw the same dropout
        terms = stage_terms(stage, len(student.layers), len(model.layers) if model else 0)
        if not terms or stage.share == 0:  # an ablation took it out
            stages.append((stage, None, None))
            continue
        objective = Objective(terms, _sizes(student), _sizes(model) if model else None, rows=len(facts.material.texts))
        for _, earlier, _ in stages:  # the nearest one that has the row comes last
            if earlier is not None:
                objective.inherit(earlier)
        prepare_inside(student, objective.student_reads)
        perturb = stage.perturbation
        if perturb is not None:
            embedding_module(student, f"stages.{stage.name}.perturb")
        stages.append((stage, objective, Perturbation(perturb.epsilon, perturb.normalize) if perturb else None))
    data = training_set(recipe, facts, student)
    plans = _plans(recipe, data)
    reads = [objective.teacher_reads for _, objective, _ in stages if objective]
    teacher = make_teacher(recipe, facts, model, student, data.texts, reads, device, precision) if model and any(reads) else None
    del model  # with a cache nobody needs it any more
    dev = dev_score(recipe, facts)
    for number, ((stage, chosen, perturbation), plan) in enumerate(zip(stages, plans)):
        if chosen is None:
            continue
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
        train_stage(
            student,
            chosen,
            data,
            teacher.giving(chosen.teacher_reads) if teacher and chosen.teacher_reads else None,
            plan,
            judged,
            settings,
            name=stage.name,
            folder=folder / CHECKPOINTS / f"{number}-{stage.name}",
            run=folder,
            resume=resume,
            perturbation=perturbation,
        )
    objectives = [objective for _, objective, _ in stages if objective is not None]
    write_cases(folder, student, objectives, partial(load_teacher, recipe, facts), facts.material.held_out, facts.material.gold)
    student.save(folder / STUDENT)
    return dev


def _sizes(model: EncoderModel) -> Sizes:
    from potstill.models.heads import kind_of
    from potstill.training.objective import Sizes

    logits = max(1, len(model.labels))
    if kind_of(model.network) in ("embed", "mlm"):
        logits = int(model.network.config.vocab_size) if kind_of(model.network) == "mlm" else 0
    return Sizes(model.dimension if model.kind == "embed" else 0, model.width, logits)


def _plans(recipe: recipes.Recipe, data: TrainingSet) -> list[list[np.ndarray]]:
    """The batches of each stage: of its own epochs or steps, or by its share of the run's.

    A step is `training.accumulate` batches. Every stage begins with a step of its own; what is left
    of its last epoch for its last step may be fewer.
    """
    from potstill.data.batches import training_plan

    training, lengths = recipe.training, data.lengths
    sizes: dict[str, Any] = {"batch_size": training.batch_size, "batch_tokens": training.batch_tokens if data.groups is None else None}
    if recipe.stages[0].epochs is not None or recipe.stages[0].steps is not None:
        plans = []
        for number, stage in enumerate(recipe.stages):
            seed = training.seed + number
            plan = training_plan(lengths, **sizes, epochs=stage.epochs or 1, seed=seed)
            if stage.steps is not None:
                needed = stage.steps * training.accumulate
                epochs = -(-needed // max(1, len(plan)))
                plan = training_plan(lengths, **sizes, epochs=epochs + 1, seed=seed)[:needed]
            plans.append(plan)
        return plans
    plan = training_plan(lengths, **sizes, epochs=training.epochs, seed=training.seed)
    steps = -(-len(plan) // training.accumulate)
    divided, start = [], 0.0
    for stage in recipe.stages:
        share = 1.0 if stage.share is None else stage.share
        end = start + share
        batches = plan[round(start * steps) * training.accumulate : round(end * steps) * training.accumulate]
        if share and not batches:
            raise PotstillError(f"stages.{stage.name}.share", f"{share:g} of {steps} steps is none", "give more texts, epochs or share")
        divided.append(batches)
        start = end
    return divided


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
    if name != AGREEMENT:
        task = load_tasks([name], recipe.data.dir)[0]
        if task.needs == "logits":
            return Dev(name, lambda model: _chosen_by(task, Predictor(model.labels, model.kind, model.predict)))
        return Dev(name, lambda model: task.choice(task.evaluate(model.encode)))
    return _agreement(recipe, facts)


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
