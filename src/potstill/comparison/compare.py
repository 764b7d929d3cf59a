"""The comparison of runs, those of one recipe together, and of a publication's figures; with them one pass of a task is timed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import ValidationError

from potstill.comparison.against import Comparison, compare_groups
from potstill.comparison.comparable import require_one_task, require_whole, share_tasks, with_like_agreement
from potstill.comparison.methods import Methods, methods_of
from potstill.comparison.page import write_comparison
from potstill.comparison.published import LikeTable, Preset, like_table, read_preset, with_published
from potstill.comparison.sheet import as_csv, as_markdown
from potstill.errors import PotstillError, warn
from potstill.evaluation.cost import measure_pass
from potstill.evaluation.evaluate import evaluate
from potstill.evaluation.subject import TORCH_INT8
from potstill.machine.cache import expanded
from potstill.machine.files import kind_of_place, write_text
from potstill.machine.places import as_path
from potstill.models.given import called, name_of, save_given
from potstill.recipe.recipe import Recipe
from potstill.report.grouped import Group, group_runs, place_of
from potstill.report.scores import task_title
from potstill.report.shape import at_home
from potstill.results import RECIPE_FILE, RESULTS_FILE, Record, Run, machine, read_run
from potstill.runtime.folder import CONFIG as EXPORT_CONFIG
from potstill.runtime.folder import ONNX, STUDENT
from potstill.tasks.base import COST, load_tasks

if TYPE_CHECKING:
    from potstill.models.given import Model

MODEL_CONFIG = "config.json"
MODEL_PARTS = (MODEL_CONFIG, EXPORT_CONFIG, STUDENT, ONNX)
"""One of these is in every folder that holds a model."""
# Of a network's configuration: what changes no time.
NAMES = {"_name_or_path", "architectures", "finetuning_task", "id2label", "label2id", "problem_type", "transformers_version"}
# Of a record in a run: the part of the run's folder that holds its weights, and the precision to open it with.
PARTS = {"student": (STUDENT, "auto"), "onnx": (ONNX, "fp32"), "int8": (ONNX, "int8"), TORCH_INT8: (STUDENT, TORCH_INT8)}


@dataclass(frozen=True)
class Named:
    """What one argument of the command names: a run and its folder, or a model scored here, with no folder."""

    run: Run
    folder: Path | None


def compare(
    names: Iterable[Model],
    html: str | Path | None = None,
    *,
    baseline: Iterable[Model] = (),
    csv: str | Path | None = None,
    markdown: str | Path | None = None,
    like: str | None = None,
    data: Path | None = None,
    threads: int | None = None,
) -> tuple[Comparison, LikeTable | None]:
    """Compare runs, those that differ only in the seed as one, and write the files that are asked for.

    With `like` runs of different tasks may be named: those of one method are one row then (`methods_of`). Runs that are not
    finished are left out with a warning where others are, and so is what a pattern such as `runs/*` names beside runs.

    Args:
        names: run folders, or the runs that `distil` gave; with `like` other models too, by name or in memory, which are scored here.
        html: a page to write.
        baseline: runs of the same student without distillation; default: found among the runs by its shape.
        csv: a file for the table with every digit.
        markdown: a file for the table as the page shows it.
        like: a preset's name. Its published rows stand beside ours, marked so.
        data: with `like`: the folder that holds the tasks' files. With it every model that can be opened is timed too,
            all in one go: times taken in different runs would compare the machines' load. Without it no time of a pass
            is shown.
        threads: of what is measured here; default all usable cores.

    Returns:
        The comparison, with the published rows of `like`; and the publication's table, None without `like`.

    Raises:
        PotstillError: nothing is named; there is no such preset, run or model; a model is to be scored and no data is
            named; the runs are of different tasks and there is no `like`, or two of these are of one method, task and seed;
            a file cannot be written.
    """
    with ExitStack() as stack:
        found, plain = ([_named_place(stack, each) for each in _several(given)] for given in (names, baseline))
        return _compare(found, html, plain, csv, markdown, like, data, threads)


def _several(given: Iterable[Model]) -> list[Model]:
    """What is to be compared, as a list; one alone is a list of it."""
    return list(given) if isinstance(given, Iterable) and not isinstance(given, (str, os.PathLike, Run)) else [cast("Model", given)]


def _named_place(stack: ExitStack, model: Model) -> str:
    """The name of a model; one in memory is saved in a folder of the name that tables call it by, until the stack is closed."""
    if (name := name_of(model, "compare")) is not None:
        return name
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="potstill-"))
    return str(save_given(model, Path(folder), "compare").rename(Path(folder) / called(model)))


def _compare(
    names: Sequence[str],
    html: str | Path | None,
    baseline: Sequence[str],
    csv: str | Path | None,
    markdown: str | Path | None,
    like: str | None,
    data: Path | None,
    threads: int | None,
) -> tuple[Comparison, LikeTable | None]:
    """As `compare`, of names alone.

    Raises:
        PotstillError: as `compare`.
    """
    if not names and like is None:
        raise PotstillError("compare", "no run is named", "name run folders, or a publication with --like")
    written = {"html": html, "csv": csv, "markdown": markdown}
    targets = [as_path(target, what).absolute() for what, target in written.items() if target is not None]
    for number, target in enumerate(targets):
        if kind_of_place(target) == "a folder":
            raise PotstillError(target, "is a folder", "name a file")
        if target in targets[:number]:
            raise PotstillError(target, "is to hold two things", "name a file for each")
    preset = read_preset(like) if like is not None else None
    plain = [expanded(name) for name in baseline]
    names = _without_unfinished(_each_once(names), preset is not None)
    named = _named(_each_once([*names, *baseline]), preset, data, threads)
    folders = [each.folder for each in named if each.folder is not None]
    runs, places = with_like_agreement([_completed(each.run) for each in named]), [each.folder for each in named]
    own = [run for run, place in zip(runs, places) if place is not None]
    require_whole(own, folders)
    if preset is not None and not share_tasks(own):
        comparison, table = _over_tasks(methods_of(runs, places, preset.tasks), preset, plain, data, threads)
    else:
        require_one_task(own, folders)
        groups = group_runs(runs, places)
        comparison, table = compare_groups(groups, plain), None
        if preset is not None:
            table = like_table(preset, groups, *_timed(preset, groups, data, threads))
    if preset is not None:
        comparison = with_published(comparison, preset)
    if html is not None:
        write_comparison(folders, Path(html), table, comparison if len(named) > 1 or (named and table is not None) else None)
    if csv is not None:
        write_text(csv, as_csv(comparison))
    if markdown is not None:
        write_text(markdown, as_markdown(comparison))
    return comparison, table


def _over_tasks(
    methods: Methods, preset: Preset, plain: Sequence[Path], data: Path | None, threads: int | None
) -> tuple[Comparison, LikeTable]:
    """The comparison of methods by the tasks that all of them have, and the publication's table with all tasks that each has."""
    groups = group_runs(methods.runs, methods.folders)
    seconds, notes = _timed(preset, groups, data, threads)
    shown = ", ".join(map(task_title, methods.common))
    notes += ["Ours: runs whose names differ in the task alone are one row."]
    table = like_table(preset, groups, seconds, notes, methods.common if len(methods.common) > 1 else None)
    baselines = [methods.places.get(place, folder) for folder in plain if (place := place_of(folder)) is not None]
    comparison = compare_groups(group_runs(methods.over_common(), methods.folders), baselines)
    said = f"The score is of {shown}, which every method has." if shown else "No task was scored of every method."
    return replace(comparison, notes=[*comparison.notes, said], over_tasks=True), table


def _each_once(names: Sequence[str | Path]) -> list[str]:
    """The names, each place once: a run set beside itself would look like two seeds."""
    places: dict[str, str] = {}
    for name in map(str, names):
        folder = expanded(name)
        places.setdefault(str(folder.resolve()) if kind_of_place(folder) else name, name)
    return list(places.values())


def _without_unfinished(names: Sequence[str], models: bool) -> list[str]:
    """The names without those of unfinished runs, and without what lies beside a finished run that is named and is none itself.

    A shell gives all that lies in a folder for `runs/*`: searches, pages. What stands alone was meant, and is an error later, as is
    what is not there at all: no pattern gives that.

    Args:
        names: as the user gave them, each once.
        models: whether models that belong to no run may be named.
    """
    places = {name: expanded(name) for name in names}
    finished = {name for name, place in places.items() if place.name == RESULTS_FILE or kind_of_place(place / RESULTS_FILE) == "a file"}
    homes = {places[name].absolute().parent for name in finished}
    kept = []
    for name, place in places.items():
        known = name in finished or (models and any(kind_of_place(place / part) for part in MODEL_PARTS))
        unfinished = kind_of_place(place / RECIPE_FILE) == "a file"
        if known or not kind_of_place(place) or not finished or not (unfinished or place.absolute().parent in homes):
            kept.append(name)
        elif unfinished:
            warn(name, "is no finished run and is left out", "go on with it: potstill train RECIPE --out … --resume")
        else:
            warn(name, "is no run and is left out")
    return kept


def _named(names: Sequence[str], preset: Preset | None, data: Path | None, threads: int | None) -> list[Named]:
    folders = {name: expanded(name) for name in names}
    models = [name for name, folder in folders.items() if preset is not None and kind_of_place(folder / RESULTS_FILE) != "a file"]
    for name in models:
        if data is None:
            raise PotstillError(name, "is no finished run, and to score a model takes data", "add --data DIR, or name a run folder")
    runs = {name: read_run(folder) for name, folder in folders.items() if name not in models}
    if preset is not None and preset.timed is not None and data is not None and names:
        load_tasks([preset.timed], data)  # what is missing is told before anything is scored
    return [
        Named(runs[name], folders[name])
        if name in runs
        else Named(_alone(evaluate(name, [*preset.tasks, COST] if preset else [COST], data or ".", threads)), None)
        for name in names
    ]


def _completed(run: Run) -> Run:
    """The run with every setting that its recipe leaves to this version's defaults: an older one may not have known them."""
    try:
        return run.model_copy(update={"recipe": Recipe.model_validate(run.recipe).model_dump(mode="json")})
    except ValidationError:  # of another version, or made by hand: it is compared as it stands
        return run


def _timed(
    preset: Preset, groups: Sequence[Group], data: Path | None, threads: int | None
) -> tuple[dict[tuple[int, int], float], list[str]]:
    """(number of the group, of its row) → seconds of the preset's pass by the group's first run; and notes on them."""
    if preset.timed is None or data is None or not groups:
        return {}, []
    seconds: dict[tuple[int, int], float] = {}
    here = machine()
    notes = [f"Ours: {preset.timed} one text at a time, threads: {threads or here.cores}, {here.cpu}."]
    alike: dict[str, float] = {}
    spared = False
    for number, place, record in _records(groups):
        group = groups[number]
        where, precision = _whereabouts(group.folders[0], record)
        if where is None:
            notes.append(f"No time of {group.name}, {record.name}: its weights were not kept.")
            continue
        key = _what_takes_time(where, precision, record)
        if key in alike:
            seconds[number, place], spared = alike[key], True
            continue
        try:
            seconds[number, place] = alike[key] = measure_pass(where, preset.timed, data, precision, threads)
        except PotstillError as error:  # a teacher that has moved must not cost the table
            notes.append(f"No time of {group.name}, {record.name}: {error.problem}.")
    return seconds, notes + ["Models of one shape and size were timed once."] * spared


def _what_takes_time(where: str, precision: str, record: Record) -> str:
    """What decides how long a pass takes, as text: the file's size and the network's configuration, names of labels apart.

    A model of which either is not known is like none but itself.
    """
    folder = at_home(where)
    network = folder.parent / STUDENT if folder.name == ONNX else folder
    try:
        config = json.loads((network / MODEL_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict) or not record.files:
        return f"{folder} {precision}"
    shape = {key: value for key, value in config.items() if key not in NAMES}
    return json.dumps([precision, record.format, sorted(record.files.items()), shape], sort_keys=True)


def _records(groups: Sequence[Group]) -> Iterator[tuple[int, int, Record]]:
    for number, group in enumerate(groups):
        for place, record in enumerate(group.runs[0].records):
            yield number, place, record


def _alone(record: Record) -> Run:
    return Run(name=record.name, seed=0, created="", recipe={}, records=[record])


def _whereabouts(folder: Path | None, record: Record) -> tuple[str | None, str]:
    """What to open for a record, and its precision; None where the record's weights were not kept."""
    if record.role == "teacher":  # if the teacher is itself a run, its student was the teacher
        own = at_home(record.model) / STUDENT
        return str(own) if kind_of_place(own) == "a folder" else record.model, "auto"
    if folder is None or record.role == "model":
        return record.model, "auto"
    part, precision = PARTS.get(record.role, (None, ""))
    return (None if part is None else str(folder / part)), precision
