"""The first step of a run alone: what its teacher says of the training texts, on disk, where `train` finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.check.check import check_recipe
from potstill.check.plan import first_student
from potstill.errors import PotstillError
from potstill.recipe.file import open_recipe
from potstill.run.train import Elsewhere, make_ready

if TYPE_CHECKING:
    from potstill.teacher.answers import Teacher
    from potstill.teacher.cached import CachedTeacher


@dataclass(frozen=True)
class Kept:
    """What lies on disk of one teacher.

    Attributes:
        place: the folder.
        texts: how many.
        fields: their names.
    """

    place: Path
    texts: int
    fields: list[str]


def cache_teacher(recipe: str | Path, overrides: Sequence[str] = (), elsewhere: Elsewhere | None = None) -> list[Kept]:
    """Do the teacher's pass of a recipe, as `distil` does it before the first step; nothing is trained.

    Args:
        recipe: a path, or a shipped name.
        overrides: `a.b=c`, as --set takes them.
        elsewhere: computes what is missing in place of this process.

    Returns:
        What is kept of each teacher.

    Raises:
        PotstillError: something from outside is wrong, or nothing of the recipe's teacher is to be kept.
    """
    content = open_recipe(recipe, overrides)
    plan = check_recipe(content, str(recipe))
    if plan.teacher is None:
        raise PotstillError(recipe, "has no teacher", "there is nothing to keep: train it")
    answers = make_ready(content, plan, first_student(content, plan), plan.teacher, elsewhere)[-1]
    found = _cached(answers) if answers is not None else []
    if not found:
        raise PotstillError(
            recipe, "keeps nothing of its teacher on disk", "train it; or see teacher.cache and teacher.cache_gb, and what its terms read"
        )
    return [Kept(each.place, len(each.tokens), [str(field) for field in sorted(each.reads)]) for each in found]


def _cached(teacher: Teacher) -> list[CachedTeacher]:
    """Those of the teachers in a teacher that read from disk."""
    from potstill.teacher.aligned import AlignedTeacher
    from potstill.teacher.answers import AveragedTeacher, MergedTeacher, OrderedTeacher
    from potstill.teacher.cached import CachedTeacher

    if isinstance(teacher, CachedTeacher):
        return [teacher]
    inside: Sequence[Teacher] = ()
    if isinstance(teacher, (OrderedTeacher, AlignedTeacher)):
        inside = [teacher.teacher]
    elif isinstance(teacher, MergedTeacher):
        inside = teacher.parts
    elif isinstance(teacher, AveragedTeacher):
        inside = teacher.teachers
    return [found for each in inside for found in _cached(each)]
