"""The one way from the name of a model to its record; the command and a run both take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import PotstillError
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.given import opened_tasks
from potstill.evaluation.quality import score, score_asymmetric
from potstill.evaluation.subject import Subject, open_subject
from potstill.machine.places import as_path, kind_of_place, place_of_model
from potstill.models.given import as_folder, called, name_of
from potstill.recipe.file import read_recipe
from potstill.registry import EMBED
from potstill.results import RECIPE_FILE, RESULTS_FILE, Cost, Record, machine, versions
from potstill.runtime.folder import ONNXRUNTIME, STUDENT
from potstill.tasks.base import COST, Task
from potstill.tasks.labelled import task_openers
from potstill.tasks.retrieval import Retrieval

if TYPE_CHECKING:
    from potstill.models.given import Model
    from potstill.recipe.recipe import Recipe


def evaluate(
    model: Model,
    tasks: str | Sequence[str] | Mapping[str, Iterable[Any] | None] | None = None,
    folder: str | Path | None = None,
    threads: int | None = None,
    *,
    precision: str = "auto",
    name: str | None = None,
    role: str | None = None,
    pooling: str | None = None,
    max_length: int | None = None,
    documents: Model | None = None,
    engine: str = ONNXRUNTIME,
    opened: Mapping[str, Callable[[], Task]] | None = None,
) -> Record:
    """Score a model on tasks and measure its cost where `cost` is among them.

    Args:
        model: run folder, model folder of transformers or sentence-transformers, exported ONNX
            folder, or hub name; a run; or a model in memory: a SentenceTransformer, or (model, tokenizer) of transformers.
        tasks: names such as "sts/stsb", and "cost", in a sequence or with commas between them. All data is read before the model
            is opened. A mapping gives data in memory: {"classification/reviews": rows, "sts/stsb": None}. Rows are mappings
            as JSON lines have them, in a list, a generator or a data set of Hugging Face's; None stands for the data in `folder`.
            Default: of a run what its recipe evaluates, else "cost".
        folder: holds senteval/, glue/ and retrieval/; or a run folder, whose recipe says where its data is. Default: of a run that
            run, else the working folder.
        threads: default all usable cores.
        precision: which ONNX file of a folder: "fp32", "int8", or "auto", the one that ships; or
            "torch-int8", the torch model quantised by torch.
        name: what tables call it; default the folder's name.
        role: what it is in its run; default what its format tells.
        pooling: of a torch model, instead of what its folder says.
        max_length: likewise.
        documents: of retrieval, another model that encodes the documents, as its folder says; `model` then encodes the
            queries alone. Both must give vectors of one space. The cost is that of `model`.
        engine: of `model`, where it is an ONNX file: "onnxruntime" or "openvino".
        opened: as in `load_tasks`: tasks whose data is no folder's.

    Raises:
        PotstillError: no such task or model, or data missing or malformed (PotstillErrors when
            several tasks have something wrong); with `documents` also another task than retrieval, or vectors of
            different widths.
    """
    tasks, where, opened = _data_of_run(name_of(model), tasks, folder, opened)
    with as_folder(model) as place, opened_tasks(tasks, as_path(where, "folder"), opened) as (loaded, names):
        if documents is not None:
            _require_retrieval(loaded)
        own = name_of(model) is None
        subject = open_subject(place, precision, threads, pooling=pooling, max_length=max_length, engine=engine)
        name = name or (called(model) if own else subject.name)
        shown_as = f"{name} (in memory)" if own else place
        own_way = partial(measure_cost, place, precision, threads, pooling=pooling, max_length=max_length, engine=engine)
        cost = own_way if COST in names else None
        if documents is None:
            return record_of(subject, loaded, cost, model=shown_as, name=name, role=role)
        with as_folder(documents, "documents") as other:
            index, of = open_subject(other, threads=threads), other if name_of(documents) else f"{called(documents)} (in memory)"
            _require_one_space(subject, shown_as, index, of)
            scores = score_asymmetric(
                [task for task in loaded if isinstance(task, Retrieval)],
                lambda texts: subject.encode(texts, f"queries by {name}"),
                lambda texts: index.encode(texts, f"documents by {index.name}"),
            )
        record = record_of(subject, [], cost, model=shown_as, name=name, role=role)
        return record.model_copy(update={"documents": of, "scores": scores})


def recipe_of_run(place: Path) -> Recipe | None:
    """The recipe of a run folder; None of anything else. A PotstillError comes through for a recipe that cannot be read."""
    file = place / RECIPE_FILE
    is_run = kind_of_place(file) == "a file" and (kind_of_place(place / STUDENT) or kind_of_place(place / RESULTS_FILE))
    return read_recipe(str(file)) if is_run else None


def _data_of_run(
    model: str | None, tasks: Any, folder: str | Path | None, opened: Mapping[str, Callable[[], Task]] | None
) -> tuple[Any, str | Path, Mapping[str, Callable[[], Task]] | None]:
    """Tasks, folder and opened tasks of `evaluate`, with what it takes from the recipe of a run.

    A PotstillError comes through as from `task_openers` and for a recipe that cannot be read.

    Args:
        model: its name, where it has one.
        tasks, folder, opened: as given to `evaluate`.
    """
    if tasks in (COST, [COST], (COST,)):  # that needs no data
        return tasks, Path() if folder is None else folder, opened
    of_model = recipe_of_run(place_of_model(model)) if model is not None and (tasks is None or folder is None) else None
    of_data = of_model if folder is None else recipe_of_run(as_path(folder, "folder"))
    if tasks is None:
        tasks = (of_model.evaluate if of_model is not None else None) or COST
    if of_data is None:
        return tasks, Path() if folder is None else folder, opened
    names = tasks.split(",") if isinstance(tasks, str) else tasks if isinstance(tasks, Iterable) else ()
    given = {name for name, rows in tasks.items() if rows is not None} if isinstance(tasks, Mapping) else ()
    asked = [name.strip() for name in names if isinstance(name, str) and name not in given]
    return tasks, of_data.data.dir, task_openers(of_data, asked) | dict(opened or {})


def _require_retrieval(tasks: Sequence[Task]) -> None:
    """Check that there are queries and documents to encode apart.

    Raises:
        PotstillError: another task than retrieval is among them, or none is.
    """
    others = [task.name for task in tasks if not isinstance(task, Retrieval)]
    if others or not tasks:
        problem = f"only retrieval has queries and documents, and {', '.join(others)} is asked" if others else "no retrieval task is asked"
        raise PotstillError("documents", problem, "name tasks retrieval/<name> alone, or leave documents out")


def _require_one_space(subject: Subject, model: str, index: Subject, documents: str) -> None:
    """Check that vectors of two models can be compared, as far as that can be seen.

    Raises:
        PotstillError: one of them gives none, or their widths differ.
    """
    for each, place in ((subject, model), (index, documents)):
        if each.head != EMBED:
            raise PotstillError(place, "has a head and gives no vectors", "name an encoder")
    if subject.dimension != index.dimension:
        problem = f"gives documents {index.dimension} numbers, and {model} gives queries {subject.dimension}"
        raise PotstillError(documents, problem, "name the teacher of a student with align: teacher")


def record_of(
    subject: Subject,
    tasks: Sequence[Task],
    cost: Callable[[], Cost] | None,
    *,
    model: str,
    name: str | None = None,
    role: str | None = None,
) -> Record:
    """Score a model that is open on tasks whose data is read.

    Args:
        cost: measures it, in a process of its own; None: its cost is not asked for.
        model: what the record says it is.
        name, role: as `evaluate` has them.

    Raises:
        PotstillError: a task refuses what the model gives, or the cost cannot be measured.
    """
    title = f"score {name or subject.name}"
    predict = subject.predict and replace(subject.predict, logits=lambda texts: subject.run(texts, title))
    return Record(
        name=name or subject.name,
        role=role or subject.role,  # type: ignore[arg-type]  # pydantic checks it
        model=model,
        format=subject.format,
        scores=score(tasks, lambda texts: subject.encode(texts, title), predict, subject.similarity) if tasks else {},
        cost=cost() if cost is not None else None,
        files=subject.files,
        versions=versions(),
        machine=machine(),
    )
