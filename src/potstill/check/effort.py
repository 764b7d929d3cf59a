"""How much a run will take: steps, time, the student's size and the disk, told by `potstill check` before any work."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from potstill.check.cache import CHARACTERS_A_TOKEN, CacheEstimate, shown_bytes
from potstill.check.plan import RunPlan, first_student
from potstill.errors import PotstillError
from potstill.recipe.recipe import MLM, Recipe
from potstill.recipe.student import StaticStudent
from potstill.runtime.architecture import width_of

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel
    from potstill.training.training_set import TrainingSet

COUNTED = 1 << 17  # texts whose lengths are looked at: 20 MB
TIMED = 8  # texts of the step that is timed
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def effort_rows(recipe: Recipe, plan: RunPlan, cache: CacheEstimate | None, source: dict[str, Any]) -> list[tuple[str, str]]:
    """The student's size, the disk that the run folder takes, the steps and the time, in rows (title, text).

    Args:
        recipe: checked.
        plan: of the check.
        cache: what will be kept of the teacher; None: nothing.
        source: configuration of the student's source.
    """
    # A static one takes the source's answer for each piece to make.
    student = None if isinstance(recipe.student, StaticStudent) else first_student(recipe, plan)
    rows = []
    if student is not None:
        count = sum(student.parameter_counts())
    elif isinstance(recipe.student, StaticStudent):
        count = int(source.get("vocab_size") or 0) * (recipe.student.width or width_of(source))
        count = len(plan.pieces) * (recipe.student.width or width_of(source)) if plan.pieces else count
    else:
        count = 0
    if count:
        int8 = f", about {count / 1e6:,.1f} in int8" if recipe.export.onnx and recipe.export.limits is not None else ""
        rows.append(("student's size", f"{count / 1e6:,.1f} million parameters: {4 * count / 1e6:,.1f} MB in fp32{int8}"))
        rows.append(("run folder", _disk_row(recipe, plan, count)))
    found = _steps(recipe, plan)
    if found is None:
        return rows
    steps, texts, epoch = found
    total = sum(steps)
    names = [each.stage.name for each in plan.stages]
    parts = ", ".join(f"{name} {number:,}" for name, number in zip(names, steps)) if len(steps) > 1 else ""
    passes = texts / max(1, epoch)
    rows.append(("steps", f"about {total:,}{f' ({parts})' if parts else ''}: {texts:,} texts, {passes:,.3g} epochs"))
    if student is not None and recipe.task != MLM and total:
        rows.append(("time", _time_row(recipe, plan, cache, student, texts, epoch)))
    return rows


def _disk_row(recipe: Recipe, plan: RunPlan, count: int) -> str:
    """What the files of a student of `count` parameters take in the run folder, and what its checkpoints do meanwhile."""
    from potstill.training.checkpoints import room_for

    files = {"student": 4 * count}
    if recipe.export.onnx:
        files["ONNX"] = 4 * count
        files |= {"int8": count} if recipe.export.limits is not None else {}
    dual = plan.teacher is not None and any(each.stage.dual for each in plan.stages)
    taught = count + (sum(plan.teacher.model.parameter_counts()) if plan.teacher is not None and dual else 0)
    parts = ", ".join(f"{name} {shown_bytes(size)}" for name, size in files.items())
    meanwhile = shown_bytes(room_for(taught, len(plan.stages)))
    return f"about {shown_bytes(sum(files.values()))}: {parts}; while it trains up to {meanwhile} of checkpoints more"


def _steps(recipe: Recipe, plan: RunPlan) -> tuple[list[int], int, int] | None:
    """Steps of each stage, the texts that they read in all, and those of an epoch, by the plan of batches that the run makes.

    Of more than COUNTED texts some are planned, and stand for all. None where the run makes no plan.
    """
    from potstill.training.plans import plans_of

    corpus = plan.corpus
    copies = 1 + (recipe.data.augment.copies if recipe.data.augment is not None and recipe.teacher is not None else 0)
    longest = recipe.training.max_length or recipe.student.max_length
    every = -(-len(corpus.texts) // COUNTED)  # one text in so many
    some = corpus.texts[::every] if every > 1 else corpus.texts
    characters = np.fromiter((len(text) if isinstance(text, str) else sum(map(len, text)) for text in some), np.int64, len(some))
    lengths = np.tile(np.minimum(longest, 3 + (characters / CHARACTERS_A_TOKEN).astype(np.int64)), copies)
    has_label = None if corpus.has_label is None else corpus.has_label[::every]
    groups = None if corpus.groups is None else np.asarray(corpus.groups, dtype=np.int64)[::every]
    if copies > 1:  # whose labels only the teacher knows
        known = np.ones(len(some), dtype=bool) if has_label is None else has_label
        has_label = np.concatenate([known, np.zeros(len(lengths) - len(known), dtype=bool)])
    try:
        plans = plans_of(recipe, cast("TrainingSet", SimpleNamespace(lengths=lengths, groups=groups, texts=None)), has_label)
    except PotstillError:  # the run tells it, knowing the tokens
        return None
    accumulate, all_texts = recipe.training.accumulate, len(corpus.texts) * copies
    steps, read = [], 0.0
    for stage, batches in zip(recipe.stages, plans):
        times = 1.0 if stage.steps is not None else all_texts / max(1, len(lengths))
        steps.append(round(times * -(-len(batches) // accumulate)))
        read += times * int(batches.sizes.sum())
    return steps, round(read), all_texts


def _time_row(recipe: Recipe, plan: RunPlan, cache: CacheEstimate | None, student: EncoderModel, texts: int, epoch: int) -> str:
    """The time of the steps on `texts`, by one step of the student and one answer of the teacher on TIMED texts, taken now."""
    count = len(plan.corpus.texts)
    sample = [plan.corpus.texts[number * count // TIMED] for number in range(min(TIMED, count))]
    step = _seconds(student, plan, sample, backward=True)
    parts = [texts * step]
    if plan.teacher is not None:
        answer = sum(_seconds(each.model, plan, sample, backward=False) for each in plan.teacher.all)
        kept = cache is not None and not cache.live
        parts.append(answer * (min(texts, epoch) if kept else texts))
    how = "the teacher's answers and the steps" if len(parts) > 1 else "the steps"
    return f"roughly {_told(sum(parts))} for {how}, by {len(sample)} texts timed now on {plan.device}; export and scores come on top"


def _seconds(model: EncoderModel, plan: RunPlan, texts: list[Any], backward: bool) -> float:
    """Seconds a text, of the second of two passes: the first one allocates."""
    import torch

    from potstill.machine.precision import autocast
    from potstill.training.training_set import TrainingSet

    rows = np.arange(len(texts))
    batch = TrainingSet(model.tokenize(texts)).batch(rows, model.pad_id, 0, 0)
    inputs = {key: torch.from_numpy(batch[key]).to(plan.device) for key in INPUTS if key in batch}
    model = model.to(plan.device)
    took = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.set_grad_enabled(backward), autocast(plan.device, plan.precision):
            output = next(iter(model(**inputs).values.values())).float()
        if backward:
            output.square().mean().backward()
        float(output.detach().sum())  # waits for a GPU
        took = (time.perf_counter() - started) / len(texts)
    model.to("cpu")
    return took


def _told(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
