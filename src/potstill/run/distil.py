"""The only place where parts meet: recipe → parts → run folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.check.check import check_recipe
from potstill.check.plan import first_student
from potstill.errors import PotstillError
from potstill.machine.files import remove, write_text
from potstill.machine.held import held
from potstill.machine.places import as_path
from potstill.machine.processes import is_main
from potstill.recipe.file import open_recipe, resolved
from potstill.recipe.recipe import EMBED, Recipe
from potstill.recipe.smoke import smoke as cut_down
from potstill.results import RECIPE_FILE, Run, read_run, run_folder
from potstill.run.folder import UNDISTILLED, claim, is_free, release
from potstill.run.given import GIVEN, Given
from potstill.run.measure import measure
from potstill.run.ship import ship
from potstill.run.train import CHECKPOINTS, Watch, teach
from potstill.runtime.folder import STUDENT

if TYPE_CHECKING:
    from potstill.models.given import Model
    from potstill.training.trainer import CheckpointScore


def distil(
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    *,
    teacher: Model | None = None,
    texts: Any = None,
    labels: Any = None,
    student: Model | None = None,
    layers: int | Sequence[int] | None = None,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    smoke: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Run a recipe from the teacher to the scored file that ships; of several processes (torchrun) each calls it alike.

    Teacher, texts, labels, student and layers replace those of the recipe. Without a recipe they suffice: the shipped recipe for
    such a teacher is taken (`run/given.py`). What is in memory is written into `given/` of the run folder, and the recipe there
    names it.

    Args:
        recipe: a path, a shipped name, a mapping, or a Recipe.
        teacher: a path, a name, a SentenceTransformer, or (model, tokenizer) of transformers.
        texts: a list, a generator or a data set of texts, or the path of a file; of a teacher with a head also pairs, lists of
            words, rows that have a label, or a mapping of train, dev and test to such.
        labels: one for each text, or the name of the rows' field that holds them.
        student: the model that the student is cut from, as `teacher`; default: the recipe's, without a recipe the teacher.
        layers: of the student: how many, or which.
        overrides: `a.b=c`, as --set takes them.
        out: the run folder; default runs/<name>.
        resume: go on where a broken run stopped; what is whole is kept.
        smoke: try every step on a few dozen rows; the run is called `<name>-smoke`, and its scores mean nothing.
        watch: looks on while the student learns.

    Returns:
        What was measured, as results.json holds it.

    Raises:
        PotstillError: something from outside is wrong.
        KeyboardInterrupt: Ctrl-C; `resume` takes the run up.
    """
    from potstill.machine.distributed import start, tell

    out = None if out is None else as_path(out, "out")
    place = str(recipe) if isinstance(recipe, (str, Path)) else "recipe"
    given = Given(teacher, student, texts, labels, layers)
    in_memory = given.anything or recipe is None
    shortened = cut_down if smoke else (lambda whole: whole)
    sketch = shortened(open_recipe(given.sketch(recipe, out) if given.anything or recipe is None else recipe, overrides))
    folder = run_folder(sketch.name, out)
    start(sketch.training.device)
    # Processes that train one run together are one holder: the main one.
    with held(folder) if is_main() else nullcontext():
        if not in_memory:
            return _distil(sketch, place, folder, resume, watch)
        try:
            content = tell(lambda: _written(given, recipe, folder, out, resume))
            return _distil(shortened(open_recipe(content, overrides)), place, folder, resume, watch)
        except PotstillError:
            if is_main() and not (folder / RECIPE_FILE).is_file():  # no run was begun that could be gone on with
                remove(folder / GIVEN)
            raise


def _written(given: Given, recipe: Any, folder: Path, out: str | Path | None, resume: bool) -> dict[str, Any]:
    """What is given in memory, written into a run folder that is free for it, as a recipe. A PotstillError comes through."""
    is_free(folder, resume)
    return given.written(recipe, folder, out)


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
