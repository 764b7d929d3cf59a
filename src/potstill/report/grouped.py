"""Runs that differ only in the seed, as one: the median of each figure, and every score for the spread."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from potstill.machine.files import kind_of_place
from potstill.report.names import flat, told_apart
from potstill.report.rows import ModelRow, held_against, model_rows
from potstill.report.shape import Shape, at_home, model_shape, student_shape
from potstill.results import Run

SEED = "training.seed"
REPORTED = "training.report_to"  # looks on, and decides nothing
MEDIANS = (
    "score", "of_teacher", "majority", "of_gain", "embedding_parameters", "encoder_parameters", "parameters",
    "megabytes", "sentences_per_second", "p50_ms", "p95_ms", "memory_mb",
)  # fmt: skip


@dataclass(frozen=True)
class Group:
    """One recipe, run with one seed or several."""

    name: str
    runs: list[Run]
    folders: list[Path | None]
    """Where each run lies; None for a model that belongs to no run."""
    rows: list[ModelRow]
    """A row for each model, medians over the runs, in the order of the first run's records."""
    scores: list[list[float]]
    """For each row the scores of the runs that have one."""

    @property
    def title(self) -> str:
        """The name, and of how many runs the figures are medians."""
        return self.name if len(self.runs) == 1 else f"{self.name}, median of {len(self.runs)} runs"

    @property
    def seeds(self) -> str:
        """The runs' seeds, in their order: "13, 14"."""
        return ", ".join(str(run.seed) for run in self.runs)

    @property
    def teacher(self) -> ModelRow | None:
        """The teacher's row; None of runs that scored none."""
        return next((row for row in self.rows if row.role == "teacher"), None)

    @property
    def taught_by(self) -> str:
        """Where the teacher lies; "" where there is none. A folder is named by its whole path: recipes write one in several ways."""
        named = next((record.model for run in self.runs for record in run.records if record.role == "teacher"), "")
        return str(place_of(named)) if named and kind_of_place(at_home(named)) == "a folder" else named

    @property
    def distilled(self) -> bool:
        """Whether a teacher taught it; a run without a recipe is taken to have had one."""
        return not self.runs[0].recipe or self.runs[0].recipe.get("teacher") is not None or bool(self.taught_by)

    def at(self, folder: Path) -> bool:
        """Whether one of its runs lies there."""
        return any(own is not None and place_of(own) == place_of(folder) for own in self.folders)


def place_of(folder: str | Path | None) -> Path | None:
    """The whole path of a model, so that it has one name however a recipe writes it; a run's folder stands for its student."""
    if folder is None:
        return None
    path = at_home(folder)
    try:
        path = path.resolve()
    except (OSError, ValueError):  # no path on any disk: a record of other making
        pass
    return path.parent if path.name == "student" else path


def group_runs(runs: Sequence[Run], folders: Sequence[Path | None]) -> list[Group]:
    """Runs of one recipe that differ only in the seed as one group, in order of first sight.

    A second run of a seed is no second seed: it becomes a group of its own. Width, layers and parameters come out of
    the folders where no cost was measured. Share of the teacher's score, compression and speed-up are against the
    run's own teacher; of runs without one (labels only), against the teacher of all the others where they have but one.

    Args:
        runs: their records.
        folders: where each lies; None for a model that belongs to no run.
    """
    members: dict[str, list[int]] = {}
    seeds: Counter[tuple[str, int]] = Counter()
    for number, run in enumerate(runs):
        settings = {key: value for key, value in flat(run.recipe).items() if key != SEED and not key.startswith(REPORTED)}
        key = json.dumps([run.name, settings], sort_keys=True, default=str) if run.recipe else str(number)
        seeds[key, run.seed] += 1
        members.setdefault(f"{key} {seeds[key, run.seed]}", []).append(number)
    rows = iter(model_rows(runs))
    rows_of = [[next(rows) for _ in run.records] for run in runs]
    firsts = [runs[numbers[0]] for numbers in members.values()]
    called = {place_of(record.model): record.name for run in runs for record in run.records if record.role == "teacher"}
    own = [[called[at] for number in numbers if (at := place_of(folders[number])) in called] for numbers in members.values()]
    # A run that taught others is called what they call it.
    names = told_apart(
        [name[0] if name else run.name for name, run in zip(own, firsts)], [{**run.recipe, "training": _seedless(run)} for run in firsts]
    )
    groups = [
        _group(name, [runs[number] for number in numbers], [folders[number] for number in numbers], [rows_of[number] for number in numbers])
        for name, numbers in zip(names, members.values())
    ]
    return [_against(group, _teacher_of(group, groups)) for group in groups]


def _seedless(run: Run) -> Any:
    training = run.recipe.get("training")
    return {key: value for key, value in training.items() if key != "seed"} if isinstance(training, dict) else training


def _group(name: str, runs: list[Run], folders: list[Path | None], found: list[list[ModelRow]]) -> Group:
    alike: dict[tuple[str, int], list[ModelRow]] = {}
    for rows in found:
        seen: Counter[str] = Counter()
        for row in rows:
            seen[row.role] += 1
            alike.setdefault((row.role, seen[row.role]), []).append(row)
    student = student_shape(runs[0], folders[0])
    taught_by = next((record.model for record in runs[0].records if record.role == "teacher"), None)
    teacher = model_shape(Path(taught_by) if taught_by else None)
    rows = [_shaped(_middle(name, same), teacher if same[0].role == "teacher" else student) for same in alike.values()]
    return Group(name, runs, folders, rows, [[row.score for row in same if row.score is not None] for same in alike.values()])


def _middle(name: str, rows: Sequence[ModelRow]) -> ModelRow:
    """The median of every figure over rows of one role."""
    first = rows[0]
    one_load = len({row.threads for row in rows}) == 1
    at_majority = 2 * sum(row.at_majority for row in rows) > len(rows)
    medians: dict[str, Any] = {key: _median([getattr(row, key) for row in rows]) for key in MEDIANS}
    return replace(
        first,
        run=name,
        scores={task: _median([row.scores.get(task) for row in rows]) for task in first.scores},
        measures={measure: _median([row.measures.get(measure) for row in rows]) for measure in first.measures},
        threads=first.threads if one_load else None,
        at_majority=at_majority,
        **medians,
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _shaped(row: ModelRow, shape: Shape) -> ModelRow:
    if row.role == "model":
        return row
    parameters = shape.parameters / 1e6 if row.parameters is None and shape.parameters else row.parameters
    return replace(row, width=shape.width, layers=shape.layers, parameters=parameters)


def _teacher_of(group: Group, groups: Sequence[Group]) -> ModelRow | None:
    """The teacher's row; of a group that has none that of all others, where it is one and the same.

    Where the teacher is itself a run among the groups, what it cost is taken from there.
    """
    source = group if group.teacher is not None else None
    if source is None:
        taught = {other.taught_by: other for other in groups if other.teacher is not None}
        source = next(iter(taught.values())) if len(taught) == 1 else None
    if source is None or source.teacher is None:
        return None
    itself = next((other for other in groups if source.taught_by and other.at(Path(source.taught_by))), None)
    known = next((row for row in itself.rows if row.role == "student"), None) if itself is not None else None
    return source.teacher if known is None else _filled(source.teacher, known)


def _filled(row: ModelRow, known: ModelRow) -> ModelRow:
    """The row, with the costs that it lacks out of another row of the same model."""
    quality = ("run", "role", "name", "scores", "measures", "score", "majority", "of_gain")
    costs = [field.name for field in fields(ModelRow) if field.name not in quality]
    return replace(row, **{key: getattr(known, key) for key in costs if getattr(row, key) is None})


def _against(group: Group, teacher: ModelRow | None) -> Group:
    if teacher is None:
        return group

    def ratio(row: ModelRow, value: Callable[[ModelRow], float | None], over: bool) -> float | None:
        own, other = value(row), value(teacher)
        return None if not own or not other else own / other if over else other / own

    rows = [teacher if row.role == "teacher" else row for row in group.rows]
    rows = [
        replace(
            row,
            of_teacher=row.of_teacher if row.of_teacher is not None else held_against(row, teacher).of_teacher,
            of_gain=row.of_gain if row.of_teacher is not None else held_against(row, teacher).of_gain,
            compress=ratio(row, lambda each: each.parameters, False),
            speed_up=ratio(row, lambda each: each.sentences_per_second, True) if row.threads == teacher.threads else None,
        )
        for row in rows
    ]
    return replace(group, rows=rows)
