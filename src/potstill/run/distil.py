"""The only place where parts meet: recipe → parts → run folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.check.check import check_recipe
from potstill.errors import PotstillError
from potstill.machine.files import write_text
from potstill.machine.held import held
from potstill.machine.processes import is_main
from potstill.recipe.file import open_recipe, resolved
from potstill.recipe.recipe import EMBED, Recipe
from potstill.results import RECIPE_FILE, Run, read_run, run_folder
from potstill.run.folder import UNDISTILLED, claim, release
from potstill.run.measure import measure
from potstill.run.ship import ship
from potstill.run.train import CHECKPOINTS, Watch, first_student, teach
from potstill.runtime.folder import STUDENT

if TYPE_CHECKING:
    from potstill.training.trainer import CheckpointScore


def distil(
    recipe: Recipe | dict[str, Any] | str | Path,
    *,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Run a recipe from the teacher to the scored file that ships; of several processes (torchrun) each calls it alike.

    Args:
        recipe: a path, a shipped name, a mapping, or a Recipe.
        overrides: `a.b=c`, as --set takes them.
        out: the run folder; default runs/<name>.
        resume: go on where a broken run stopped; what is whole is kept.
        watch: looks on while the student learns.

    Returns:
        What was measured, as results.json holds it.

    Raises:
        PotstillError: something from outside is wrong.
        KeyboardInterrupt: Ctrl-C; `resume` takes the run up.
    """
    from potstill.machine.distributed import start

    place = str(recipe) if isinstance(recipe, (str, Path)) else "recipe"
    recipe = open_recipe(recipe, overrides)
    folder = run_folder(recipe.name, out)
    start(recipe.training.device)
    # Processes that train one run together are one holder: the main one.
    with held(folder) if is_main() else nullcontext():
        return _distil(recipe, place, folder, resume, watch)


def _distil(recipe: Recipe, place: str, folder: Path, resume: bool, watch: Watch | None) -> Run:
    """Run a recipe in a folder that this process holds.

    Raises:
        PotstillError: something from outside is wrong.
    """
    from potstill.machine.distributed import main_first, tell, wait

    with main_first():
        if is_main():
            claim(folder, recipe, resume)
        plan = check_recipe(recipe, place)
        if is_main():
            write_text(folder / RECIPE_FILE, resolved(recipe))
    teacher = plan.teacher
    dev: CheckpointScore | None = None
    if tell(lambda: not (folder / STUDENT).is_dir()):
        try:
            student = first_student(recipe, plan)
            if is_main() and recipe.task == EMBED and not (folder / UNDISTILLED).is_dir():
                student.save(folder / UNDISTILLED)
            dev = teach(recipe, plan, student, teacher, folder, resume, watch)
        except PotstillError:
            if is_main() and not (folder / CHECKPOINTS).exists():  # told before the first step: nothing here is worth going on with
                release(folder)
            raise
    if recipe.export.onnx:
        ship(recipe, plan, teacher, folder, dev, resume)
    if not is_main():
        wait()
        return read_run(folder)
    run = measure(recipe, plan, teacher, folder)
    for part in (CHECKPOINTS, UNDISTILLED):
        shutil.rmtree(folder / part, ignore_errors=True)
    wait()
    return run
