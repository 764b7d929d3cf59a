"""Everything that can be known to be wrong with a run before any work: `potstill check`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from potstill import recipe as recipes
from potstill.data.readers import read_texts
from potstill.errors import PotstillError, PotstillErrors
from potstill.evaluation.evaluate import load_tasks
from potstill.files import cache_folder, require_space

AGREEMENT = "agreement"
MINIMUM_TEXTS = 16  # fewer cannot be split into training and held-out texts that mean anything


@dataclass
class Facts:
    """What a checked run will do, for people and for the pipeline."""

    texts: list[str]
    held_out: list[str]
    teacher_folder: Path
    student_folder: Path
    layers: list[int]
    table: list[tuple[str, str]] = field(default_factory=list)


def preflight(recipe: recipes.Recipe, place: str = "recipe") -> Facts:
    """Check a recipe against the parts, the files and the disk; read the texts.

    Raises:
        PotstillErrors: everything wrong, at once.
    """
    from potstill.losses.base import make_loss
    from potstill.models.pooling import pooling_function
    from potstill.models.source import model_folder
    from potstill.models.transformer import choose_layers
    from potstill.training.objective import TermSpec, check_widths
    from potstill.training.precision import choose_device
    from potstill.training.teacher import cache_bytes

    errors: list[PotstillError] = []

    def attempt(step: Callable[[], Any]) -> Any:
        try:
            return step()
        except PotstillErrors as several:
            errors.extend(several.errors)
        except PotstillError as error:
            errors.append(error)
        return None

    terms = []
    for stage in recipe.stages:
        for number, term in enumerate(stage.terms):
            where = f"{place}: stages.{stage.name}.terms.{number}"
            terms.append((where, term, attempt(partial(make_loss, term.loss, term.model_extra or {}, where))))
    for pooling, side in ((recipe.teacher.pooling, "teacher"), (recipe.student.pooling, "student")):
        if pooling is not None:
            attempt(partial(pooling_function, pooling, f"{place}: {side}.pooling"))
    select = [] if recipe.training.select == AGREEMENT else [recipe.training.select]
    attempt(partial(load_tasks, [*recipe.evaluate, *select], recipe.data.dir))
    texts = attempt(partial(gather_texts, recipe)) or []
    teacher_folder = attempt(partial(model_folder, recipe.teacher.model))
    student_folder = attempt(partial(model_folder, recipe.student.model)) if recipe.student.model else teacher_folder
    teacher, source = _config(teacher_folder), _config(student_folder)
    built = recipe.student.width is not None
    total, layers = _layers(source), [int(recipe.student.layers)] if built else []  # type: ignore[arg-type]
    if not built and total:
        layers = attempt(partial(choose_layers, recipe.student.layers, recipe.student.rule, total, f"{place}: student.layers")) or []
    student_width, teacher_width = recipe.student.width or _width(source), _width(teacher)
    if student_width and teacher_width:
        for where, term, loss in terms:
            if loss is not None:
                spec = TermSpec(term.loss, loss, term.weight, term.project == "linear")
                attempt(partial(check_widths, spec, student_width, teacher_width, where))
    attempt(partial(choose_device, recipe.training.device))
    needed = cache_bytes(len(texts), teacher_width) if recipe.teacher.cache else 0
    attempt(partial(require_space, cache_folder(), needed, "the cache of the teacher's vectors"))
    if errors:
        raise errors[0] if len(errors) == 1 else PotstillErrors(errors)

    train, held_out = split_texts(texts, recipe.data.held_out, recipe.training.seed)
    kept = "built small" if built else f"layers {', '.join(map(str, layers))} of {total}"
    table = [
        ("texts", f"{len(train):,} to train on, {len(held_out):,} held out"),
        ("teacher", f"{recipe.teacher.model}: {_layers(teacher)} layers, width {teacher_width}"),
        ("teacher cache", f"{needed / 1e6:,.0f} MB in {cache_folder()}" if needed else "none: the teacher runs in every step"),
        ("student", f"{recipe.student.model or 'cut from the teacher'}: {kept}, width {student_width}"),
        ("best checkpoint by", recipe.training.select),
        ("evaluate", ", ".join(recipe.evaluate)),
    ]
    for stage in recipe.stages:
        rows = [f"{term.weight:g} × {term.loss}" + (" (projected)" if term.project == "linear" else "") for term in stage.terms]
        table.append((f"stage {stage.name}", f"{stage.share:.0%}: " + " + ".join(rows)))
    return Facts(train, held_out, teacher_folder, student_folder, layers, table)


def gather_texts(recipe: recipes.Recipe) -> list[str]:
    """Texts of every source of the recipe, each once.

    Raises:
        PotstillErrors: what is wrong with the sources, all at once.
    """
    found: dict[str, None] = {}
    errors = []
    for entry in recipe.data.texts:
        source = recipes.TextSource(path=entry) if isinstance(entry, str) else entry
        local = Path(recipe.data.dir) / source.path
        # A data set's hub name is no path under `dir`.
        path = source.path if source.format == "dataset" and not local.exists() else local
        try:
            found.update(
                dict.fromkeys(
                    read_texts(
                        path,
                        format=source.format,
                        columns=source.columns,
                        split=source.split,
                        limit=source.limit,
                        seed=recipe.training.seed,
                    )
                )
            )
        except PotstillError as error:
            errors.append(error)
    if errors:
        raise errors[0] if len(errors) == 1 else PotstillErrors(errors)
    if len(found) < MINIMUM_TEXTS:
        raise PotstillError("data.texts", f"{len(found)} different texts", f"name sources with at least {MINIMUM_TEXTS}")
    return list(found)


def split_texts(texts: Sequence[str], held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """(training texts, held-out texts), in the files' order; at most a tenth is held out, at least 8."""
    import numpy as np

    count = max(8, min(held_out, len(texts) // 10))
    chosen = np.zeros(len(texts), dtype=bool)
    chosen[np.random.default_rng(seed).choice(len(texts), count, replace=False)] = True
    return [text for text, out in zip(texts, chosen, strict=True) if not out], [
        text for text, out in zip(texts, chosen, strict=True) if out
    ]


def _config(folder: Path | None) -> dict[str, Any]:
    """A model's config.json, read without loading anything; empty when the model was not found."""
    if folder is None:
        return {}
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PotstillError(folder / "config.json", f"cannot be read ({error})", "fetch or save the model again") from error
    return content if isinstance(content, dict) else {}


def _layers(config: dict[str, Any]) -> int:
    return int(config.get("num_hidden_layers") or config.get("n_layers") or 0)


def _width(config: dict[str, Any]) -> int:
    return int(config.get("hidden_size") or config.get("dim") or 0)
