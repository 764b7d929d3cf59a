"""The only place where parts meet: recipe → parts → run folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill import recipe_file
from potstill.errors import PotstillError
from potstill.evaluation.evaluate import COST, evaluate
from potstill.evaluation.subject import TORCH_INT8
from potstill.files import write_aside, write_text
from potstill.material import Material
from potstill.preflight import Facts, preflight
from potstill.processes import is_main
from potstill.results import REPORT_FILE, Record, Run, read_cases, read_metrics, read_run, run_folder
from potstill.runtime.folder import ONNX, STUDENT
from potstill.ship import GATE, SAMPLE, ship
from potstill.student import make_student
from potstill.teach import CHECKPOINTS, Watch, teach
from potstill.tune import STAGE, TUNED

if TYPE_CHECKING:
    from potstill.training.trainer import Dev

RECIPE = "recipe.yaml"
SAMPLE_PACKAGES = ("email", "logging", "unittest", "asyncio", "concurrent", "importlib", "http", "json", "argparse", "pathlib", "decimal")


def distil(
    recipe: recipes.Recipe | dict[str, Any] | str | Path,
    *,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Run a recipe from the teacher to the scored file that ships; of several processes (torchrun) each calls it alike.

    Args:
        recipe: a path, a shipped name, a mapping, or a Recipe.
        overrides: `a.b=c`, as --set takes them; with a path or a name only.
        out: the run folder; default runs/<name>.
        resume: go on where a broken run stopped; what is whole is kept.
        watch: looks on while the student learns.

    Returns:
        What was measured, as results.json holds it.

    Raises:
        PotstillError: something from outside is wrong.
        KeyboardInterrupt: Ctrl-C; `resume` takes the run up.
    """
    from potstill.training.processes import main_first, start, tell, wait

    place = "recipe"
    if isinstance(recipe, (str, Path)):
        place = str(recipe)
        recipe = recipe_file.read(place, tuple(overrides))
    elif isinstance(recipe, dict):
        recipe = recipe_file.check(recipe)
    folder = run_folder(recipe.name, out)
    start(recipe.training.device)
    with main_first():
        if is_main():
            _claim(folder, recipe, resume)
        facts = preflight(recipe, place)
        if is_main():
            write_text(folder / RECIPE, recipe_file.resolved(recipe))
    dev: Dev | None = None
    if tell(lambda: not (folder / STUDENT).is_dir()):
        try:
            dev = teach(recipe, facts, folder, resume, watch)
        except PotstillError:
            if is_main() and not (folder / CHECKPOINTS).exists():  # told before the first step: nothing here is worth going on with
                (folder / RECIPE).unlink()
                if not any(folder.iterdir()):
                    folder.rmdir()
            raise
    if recipe.export.onnx:
        ship(recipe, facts, folder, dev, resume, _teacher_name(recipe))
    if not is_main():
        wait()
        return read_run(folder)
    run = _measure(recipe, facts, folder)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    wait()
    return run


def export(model: str | Path, out: str | Path, *, int8: bool = False, texts: Sequence[str] = (), threads: int | None = None) -> Path:
    """Export a model folder (or a run's student) to ONNX, and to int8 behind the gate, which has the run's own limits or the defaults.

    Args:
        texts: like those to be encoded: parity, calibration and the gate read them. Default: prose out
            of the standard library's docstrings.

    Raises:
        PotstillError: the model cannot be loaded, parity is not reached, `out` holds something else,
            or no int8 setting passes.
    """
    from potstill.data.docstrings import collect_docstrings
    from potstill.data.prose import sentences
    from potstill.deploy.onnx import export_onnx, require_replaceable
    from potstill.deploy.quantize import quantize_int8
    from potstill.models.loading import load_encoder

    out = Path(out)
    require_replaceable(out)
    of_run = (Path(model) / STUDENT).is_dir()
    limits = recipe_file.read(str(Path(model) / RECIPE)).export.limits if of_run and int8 else None
    source = load_encoder(Path(model) / STUDENT if of_run else model)
    sample = list(texts) or list(islice(sentences(found.text for found in collect_docstrings(SAMPLE_PACKAGES)), SAMPLE))
    try:
        with write_aside(out) as aside:  # a refused int8 file leaves no half-made folder behind
            export_onnx(source, aside, sample)
            if int8:
                quantize_int8(aside, texts=sample, score=None, threads=threads, **(limits or recipes.Int8()).limits)
    except PotstillError as error:  # said of the folder aside, which is gone
        raise PotstillError(out, error.problem, error.remedy) from error
    return out


def _claim(folder: Path, recipe: recipes.Recipe, resume: bool) -> None:
    """Refuse a folder that holds something else.

    With `resume` only the export's limits and the tasks may differ from the recipe that the run was
    begun with: neither changes the student, and a gate that refused is widened this way. What was
    exported under other limits goes, what was tuned otherwise too, and so do the halves that a kill left.
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
    before = recipe_file.read(str(mine))
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


def _tune(recipe: recipes.Recipe) -> recipes.Tune | None:
    return recipe.export.limits.tuning if recipe.export.limits is not None else None


def decides_student(recipe: recipes.Recipe) -> dict[str, Any]:
    """All of a recipe but what comes after the student: its export's limits and the tasks."""
    return recipe.model_dump(mode="json", exclude={"export", "evaluate"})


def _measure(recipe: recipes.Recipe, facts: Facts, folder: Path) -> Run:
    """Score teacher, undistilled cut, student and every shipped file alike; write results.json, the cards and the report."""
    from potstill.deploy.card import write_card
    from potstill.report.page import write_report
    from potstill.training.precision import trained_on

    names, where = recipe.evaluate, recipe.data.dir
    records = []
    if recipe.teacher is not None and facts.teacher_folder is not None and _answers(facts.material, facts.teacher_folder):
        teacher = evaluate(
            facts.teacher_folder,
            names,
            where,
            name=_teacher_name(recipe),
            role="teacher",
            pooling=recipe.teacher.pooling,
            max_length=recipe.teacher.max_length,
        )
        records.append(teacher.model_copy(update={"model": recipe.teacher.model}))
    if recipe.task == recipes.EMBED:  # a head that nothing taught has nothing to say
        records.append(_undistilled(recipe, facts, folder))
    records.append(evaluate(folder / STUDENT, names, where, name="student", role="student"))
    onnx = folder / ONNX
    gate = json.loads((onnx / GATE).read_text(encoding="utf-8")) if (onnx / GATE).is_file() else []
    tuned = bool(gate) and bool(gate[-1].get("tuned"))
    if onnx.is_dir():
        records.append(evaluate(onnx, names, where, precision="fp32", name="student, ONNX", role="onnx"))
        if recipe.export.limits is not None:
            records.append(evaluate(onnx, names, where, precision="int8", name=f"student, int8{', tuned' * tuned}", role="int8"))
    if recipe.export.torch_int8:
        records.append(evaluate(folder / STUDENT, names, where, precision=TORCH_INT8, name="student, torch int8"))
    run = Run(
        name=recipe.name,
        seed=recipe.training.seed,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipe=recipe.model_dump(mode="json"),
        training={**_training_summary(folder), **trained_on(recipe.training.device, recipe.training.precision)},
        gate=gate,
        cases=read_cases(folder),
        records=records,
    )
    for part in (STUDENT, ONNX):
        if (folder / part).is_dir():
            write_card(
                folder / part,
                name=recipe.name,
                teacher=_teacher_name(recipe),
                records=[record.model_dump() for record in records],
                normalize=recipe.student.normalize,
                kind=facts.material.kind,
                tuned=tuned,
            )
    run.write(folder)
    write_report([folder], folder / REPORT_FILE)
    return run


def _teacher_name(recipe: recipes.Recipe) -> str | None:
    """What tables and descriptions call the teacher: never a whole path, which is the user's own business."""
    if recipe.teacher is None:
        return None
    return recipe.teacher.name or Path(recipe.teacher.model.removesuffix(f"/{STUDENT}")).name


def _answers(material: Material, folder: Path) -> bool:
    """Whether the teacher can be scored as its student is: it has the same kind of head, with as many labels."""
    from potstill.models.heads import saved_head, saved_kind

    wanted = "embed" if material.kind == recipes.MLM else material.kind
    return saved_kind(folder) == wanted and len(saved_head(folder)[1]) == len(material.names)


def _undistilled(recipe: recipes.Recipe, facts: Facts, folder: Path) -> Record:
    """The same student before any training: what distillation is compared with."""
    place = folder / ".undistilled"
    try:
        make_student(recipe, facts).save(place)
        tasks = [name for name in recipe.evaluate if name != COST]
        record = evaluate(place, tasks, recipe.data.dir, name="student, not distilled", role="undistilled")
        source = recipe.student.model or (recipe.teacher.model if recipe.teacher else "")
        return record.model_copy(update={"model": f"{source}, before training"})
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _training_summary(folder: Path) -> dict[str, Any]:
    """Steps, texts, seconds and the best dev score, out of metrics.jsonl."""
    last: dict[str, dict[str, Any]] = {}
    best: dict[str, Any] = {}
    for line in read_metrics(folder):
        if "dev" in line:
            if line["stage"] == STAGE:  # of the int8 file alone
                continue
            if not best or line["stage"] != best["stage"] or line["dev"]["value"] > best["value"]:
                best = {"stage": line["stage"], "step": line["step"], **line["dev"]}
        else:
            last[line["stage"]] = line
    totals = {key: sum(line[key] for line in last.values()) for key in ("texts", "seconds")}
    return {"steps": sum(line["step"] for line in last.values()), **totals, "best": best}
