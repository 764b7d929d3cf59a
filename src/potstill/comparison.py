"""Runs and models beside a publication's figures: what their records say, and one pass of a task, timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.errors import PotstillError
from potstill.evaluation.cost import measure_pass
from potstill.evaluation.evaluate import COST, evaluate, load_tasks
from potstill.evaluation.subject import TORCH_INT8
from potstill.report.like import LikeTable, like_table, read_preset
from potstill.results import RESULTS_FILE, Record, Run, machine, read_run
from potstill.runtime.folder import ONNX, STUDENT

# Of a record in a run: the part of the run's folder that holds its weights, and the precision to open it with.
PARTS = {"student": (STUDENT, "auto"), "onnx": (ONNX, "fp32"), "int8": (ONNX, "int8"), TORCH_INT8: (STUDENT, TORCH_INT8)}


@dataclass(frozen=True)
class Named:
    """What one argument of the command named; `folder` only of a run."""

    run: Run
    folder: Path | None


def beside(like: str, names: Sequence[str], data: Path | None = None, threads: int | None = None) -> tuple[LikeTable, list[Path]]:
    """The table of a preset with `names` in it, and the run folders among them.

    Args:
        like: the preset's name.
        names: run folders, whose records are shown; and other models, which are scored here.
        data: holds the tasks' files. With it every model that can be opened is timed too, in one sitting, since
            times out of several runs would compare the machines' load; without it no time is shown.
        threads: of what is measured here; default all usable cores.

    Raises:
        PotstillError: no such preset, run or model; a model to be scored and no data.
    """
    preset = read_preset(like)
    folders = {name: Path(name).expanduser() for name in names}
    models = [name for name, folder in folders.items() if not (folder / RESULTS_FILE).is_file()]
    for name in models:
        if data is None:
            raise PotstillError(name, "is no finished run, and to score a model takes data", "add --data DIR, or name a run folder")
    runs = {name: read_run(folder) for name, folder in folders.items() if name not in models}
    timed = preset.timed if data is not None else None
    if timed is not None and names:
        load_tasks([timed], data or ".")  # what is missing is told before anything is scored
    named = []
    for name in names:
        if name in runs:
            named.append(Named(runs[name], folders[name]))
        else:
            named.append(Named(_alone(evaluate(name, [*preset.tasks, COST], data or ".", threads)), None))
    seconds: dict[tuple[int, int], float] = {}
    notes: list[str] = []
    if timed is not None and data is not None and named:
        for number, each in enumerate(named):
            for place, record in enumerate(each.run.records):
                where, precision = _whereabouts(each, record)
                if where is None:
                    notes.append(f"No time of {each.run.name}, {record.name}: its weights were not kept.")
                    continue
                try:
                    seconds[number, place] = measure_pass(where, timed, data, precision, threads)
                except PotstillError as error:  # a teacher that has moved must not cost the table
                    notes.append(f"No time of {each.run.name}, {record.name}: {error.problem}.")
        here = machine()
        notes.insert(0, f"Ours: {timed} one text at a time, threads: {threads or here.cores}, {here.cpu}.")
    return like_table(preset, [each.run for each in named], seconds, notes), [each.folder for each in named if each.folder]


def _alone(record: Record) -> Run:
    return Run(name=record.name, seed=0, created="", recipe={}, records=[record])


def _whereabouts(named: Named, record: Record) -> tuple[str | None, str]:
    """What to open for a record, and how; None for what is nowhere any more."""
    if record.role == "teacher":  # of a run that taught another, the student did
        own = Path(record.model).expanduser() / STUDENT
        return str(own) if own.is_dir() else record.model, "auto"
    if named.folder is None or record.role == "model":
        return record.model, "auto"
    part, precision = PARTS.get(record.role, (None, ""))
    return (None if part is None else str(named.folder / part)), precision
