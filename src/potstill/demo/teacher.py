"""What the teacher would find: its vectors of a page's texts and questions, kept in the cache that training uses too."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from potstill.check.models import Models, choose_machine
from potstill.errors import PotstillError, install
from potstill.models.source import model_folder
from potstill.recipe.recipe import Recipe, Teacher, Training
from potstill.teacher.make import LoadedTeacher, teacher_vectors


@dataclass(frozen=True)
class Taught:
    """A teacher's side of a page.

    Attributes:
        name: of the teacher; never a path.
        texts: (n, d) float32, its vectors.
        questions: (q, d) float32.
    """

    name: str
    texts: NDArray[np.float32]
    questions: NDArray[np.float32]


def find_teacher(recipe: Recipe | None, named: str | None) -> tuple[LoadedTeacher | None, str]:
    """A run's teacher, where its model is at hand.

    Args:
        recipe: of the run; None of a model that was exported outside of one.
        named: a model folder or a hub name that the user gives as the teacher; it is read as the recipe reads its own.

    Returns:
        The teacher, which is loaded when it is first asked for, and "". Where nobody named it and it is not at hand, None
        and why. None and "" where the student has none.

    Raises:
        PotstillError: `named` is no model, or torch is not installed.
    """
    if named is not None:
        own = recipe.teacher if recipe and recipe.teacher else Teacher(model=named)
        own = own.model_copy(update={"model": named, "models": [], "name": None})
    elif recipe is None or recipe.teacher is None:
        return None, ""
    else:
        own = recipe.teacher
    try:
        if importlib.util.find_spec("torch") is None:
            raise PotstillError(own.model, "is a torch model, and torch is not installed", install("train"))
        folders = [model_folder(model) for model in (own.model, *own.others)]
    except PotstillError as error:
        if named is not None:
            raise
        return None, f"{error.place}: {error.problem}"
    return LoadedTeacher(own, folders[0], (), folders[1:]), ""


def teach(teacher: LoadedTeacher, texts: Sequence[str], questions: Sequence[str]) -> Taught:
    """Encode a page's texts and questions with the teacher, or read their vectors where it has encoded them before.

    A PotstillError of the cache, or of a model that cannot be loaded, comes through.

    Args:
        teacher: of `find_teacher`.
        texts: n texts.
        questions: q texts.
    """
    # As most runs choose it, so that what they have kept is found; a run's own device need not be on this machine.
    device, precision = choose_machine(Training(), Models(teacher))
    found = [teacher_vectors(teacher, list(part), device, precision) for part in (texts, questions) if part]
    return Taught(teacher.name, found[0], found[1] if questions else found[0][:0])
