"""What the teacher would find: its vectors of a page's texts and questions, kept in the cache that training uses too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.errors import PotstillError, install
from potstill.recipe.recipe import EMBED, Recipe, Teacher, Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from potstill.teacher.make import LoadedTeacher


@dataclass(frozen=True)
class Taught:
    """A teacher's side of a page.

    Attributes:
        name: of the teacher; never a path.
        texts: (n, d) float32, its vectors.
        questions: (q, d) float32.
    """

    name: str
    texts: NDArray
    questions: NDArray


def find_teacher(recipe: Recipe | None, named: str | None) -> LoadedTeacher | str | None:
    """A run's teacher, where its model is at hand.

    Args:
        recipe: of the run; None of a model that was exported outside of one.
        named: a model folder or a hub name that the user gives as the teacher; it is read as the recipe reads its own.

    Returns:
        The teacher, which is loaded when it is first asked for. Where nobody named it and it is not at hand, why. None:
        the student has none.

    Raises:
        PotstillError: `named` is no model.
    """
    if named is not None:
        own = recipe.teacher if recipe and recipe.teacher else Teacher(model=named)
        own = own.model_copy(update={"model": named, "models": [], "name": None})
    elif recipe is None or recipe.teacher is None:
        return None
    else:
        own = recipe.teacher
    # A model from elsewhere has no recipe of its own: this one says of it no more than who teaches.
    read_as = recipe.model_copy(update={"teacher": own}) if recipe else Recipe.model_construct(task=EMBED, teacher=own, training=Training())
    try:
        return _loaded(read_as, [own.model, *own.others])
    except PotstillError as error:
        if named is not None:
            raise
        return f"{error.place}: {error.problem}"


def _loaded(recipe: Recipe, models: Sequence[str]) -> LoadedTeacher:
    """A teacher whose folders are there.

    Raises:
        PotstillError: one is not, or torch is not installed.
    """
    from potstill.models.source import model_folder

    folders: list[Path] = [model_folder(model) for model in models]
    try:
        from potstill.teacher.make import LoadedTeacher
    except ImportError as error:
        raise PotstillError(models[0], f"the teacher needs {error.name}, which is not installed", install("train")) from error
    return LoadedTeacher(recipe, folders[0], (), folders[1:])


def teach(teacher: LoadedTeacher, texts: Sequence[str], questions: Sequence[str]) -> Taught:
    """Encode a page's texts and questions with the teacher, or read their vectors where it has encoded them before.

    A PotstillError of the cache, or of a model that cannot be loaded, comes through.

    Args:
        teacher: of `find_teacher`.
        texts: n texts.
        questions: q texts.
    """
    from potstill.check.models import Models, choose_machine
    from potstill.teacher.make import teacher_vectors

    # As most runs choose it, so that what they have kept is found; a run's own device need not be on this machine.
    device, precision = choose_machine(Training(), Models(teacher))
    found = [teacher_vectors(teacher, list(part), device, precision) for part in (texts, questions) if part]
    return Taught(teacher.name, found[0], found[1] if questions else found[0][:0])
