"""The run folder: claimed, resumed, and what in it depends on which part of the recipe."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.recipe.file import read_recipe
from potstill.recipe.recipe import Recipe, Tune
from potstill.run.train import CHECKPOINTS
from potstill.run.tune import STAGE, TUNED
from potstill.runtime.folder import ONNX

RECIPE = "recipe.yaml"
UNDISTILLED = ".undistilled"  # the student before training, until it is measured


def claim(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Refuse a folder that holds something else.

    With `resume` only the export's limits and the tasks may differ from the recipe that the run was
    begun with: neither changes the student, and a gate that refused is widened this way. What was
    exported under other limits goes, what was tuned otherwise too, and so do the halves that a kill left.

    Raises:
        PotstillError: it is a file, holds a run already (without `resume`), something that is no run, or a run of another recipe.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PotstillError(folder, "is a file", "choose another --out")
    mine = folder / RECIPE
    if not resume:
        if any(folder.iterdir()):
            raise PotstillError(folder, "holds a run already", "add --resume to go on with it, or choose another --out")
        return
    if not mine.is_file():
        if any(folder.iterdir()):
            raise PotstillError(folder, "holds something that is no run", "choose another --out")
        return
    before = read_recipe(str(mine))
    if decides_student(before) != decides_student(recipe):
        raise PotstillError(
            mine,
            "this run was begun with another recipe",
            f"resume with that one (potstill train {mine} --out {folder} --resume), or choose another --out",
        )
    if (before.export.onnx, before.export.int8) != (recipe.export.onnx, recipe.export.int8):
        shutil.rmtree(folder / ONNX, ignore_errors=True)
    if _tune(before) != _tune(recipe):
        shutil.rmtree(folder / TUNED, ignore_errors=True)
        shutil.rmtree(folder / CHECKPOINTS / f"0-{STAGE}", ignore_errors=True)
    for half in folder.glob(".*.part*"):
        shutil.rmtree(half, ignore_errors=True)


def release(folder: Path) -> None:
    """Take back what a run that never began has written; a folder that holds nothing else goes too."""
    (folder / RECIPE).unlink()
    shutil.rmtree(folder / UNDISTILLED, ignore_errors=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _tune(recipe: Recipe) -> Tune | None:
    return recipe.export.limits.tuning if recipe.export.limits is not None else None


def decides_student(recipe: Recipe) -> dict[str, Any]:
    """All of a recipe but what comes after the student: its export's limits and the tasks."""
    return recipe.model_dump(mode="json", exclude={"export", "evaluate"})
