"""The run folder: claimed, resumed, and what in it depends on which part of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.machine.files import clear_half, halves, remove
from potstill.machine.held import LOCK
from potstill.recipe.file import read_recipe
from potstill.recipe.recipe import Recipe, Tune
from potstill.results import RECIPE_FILE
from potstill.run.given import GIVEN
from potstill.run.train import CHECKPOINTS
from potstill.run.tune import STAGE, TUNED
from potstill.runtime.folder import BUNDLE, ONNX

UNDISTILLED = ".undistilled"  # the student before training, until it is measured


def claim(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse a folder that holds something else.

    With `resume` only the export's limits and the tasks may differ from the recipe that the run was
    begun with: neither changes the student, and a gate that refused is widened this way. What was
    exported under other limits goes, what was tuned otherwise too, and so do the halves that a kill left.
    A folder with nothing but such halves is an empty one: the kill came before the first file.

    Args:
        folder: the run's, which this process holds.
        recipe: of the run.
        resume: whether a run that is there already is gone on with.

    Raises:
        PotstillError: it holds a run already (without `resume`), something that is no run, or a run of another recipe.
    """
    if not is_free(folder, resume):
        _require_same(folder / RECIPE_FILE, recipe)
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())):
        for half in halves(place):  # whatever their age: nobody else works here
            clear_half(half)


def is_free(folder: Path, resume: bool) -> bool:
    """Whether no run was begun in a folder. What `distil` was given in memory is written before that.

    Args:
        folder: of the run.
        resume: whether a run in it may be gone on with.

    Raises:
        PotstillError: there is one, and it is not to be gone on with; or there is something else.
    """
    if all(path.name in (LOCK, GIVEN) for path in set(folder.iterdir()) - set(halves(folder))):
        return True
    if not resume:
        raise PotstillError(folder, "holds a run already", "add --resume to go on with it, or choose another --out")
    if not (folder / RECIPE_FILE).is_file():
        raise PotstillError(folder, "holds something that is no run", "choose another --out")
    return False


def _require_same(mine: Path, recipe: Recipe) -> None:
    """Check that a run is gone on with by the recipe that it was begun with, and take away what depends on where they differ.

    Args:
        mine: the recipe's file in the run folder.
        recipe: that the run is to go on with.

    Raises:
        PotstillError: the two make different students.
    """
    folder, before = mine.parent, read_recipe(str(mine))
    if decides_student(before) != decides_student(recipe):
        raise PotstillError(
            mine,
            "this run was begun with another recipe",
            f"resume with that one (potstill train {mine} --out {folder} --resume), or choose another --out",
        )
    if (before.export.onnx, before.export.int8) != (recipe.export.onnx, recipe.export.int8):
        remove(folder / ONNX)
        remove(folder / BUNDLE)
    if _tune(before) != _tune(recipe):
        remove(folder / TUNED)
        remove(folder / CHECKPOINTS / f"0-{STAGE}")


def release(folder: Path) -> None:
    """Take back what a run that never began has written."""
    for part in (UNDISTILLED, RECIPE_FILE):  # a kill between the two leaves a run that can be gone on with
        remove(folder / part)


def _tune(recipe: Recipe) -> Tune | None:
    return recipe.export.limits.tuning if recipe.export.limits is not None else None


def decides_student(recipe: Recipe) -> dict[str, Any]:
    """All of a recipe but what comes after the student, its export's limits and the tasks, and what only looks on."""
    # Not smoke either: a search's database holds a digest of this, made before there was such a key, and the name has it.
    return recipe.model_dump(mode="json", exclude={"export": True, "evaluate": True, "smoke": True, "training": {"report_to"}})
