"""Tasks whose data is given in memory: written as the files that a family of tasks reads."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.data.files.given import rows_given
from potstill.errors import PotstillError, PotstillErrors, shown
from potstill.machine.files import write_text
from potstill.registry import DEV
from potstill.runtime.folder import HEADS
from potstill.tasks.base import Task, load_tasks

RETRIEVAL = "retrieval"


@contextmanager
def opened_tasks(
    tasks: str | Sequence[str] | Mapping[str, Iterable[Any] | None],
    folder: str | Path,
    opened: Mapping[str, Callable[[], Task]] | None = None,
) -> Iterator[tuple[list[Task], list[str]]]:
    """Load tasks by name, or out of rows in memory.

    A PotstillError comes through for whatever is wrong with names and rows.

    Args:
        tasks: names; or name → rows, or None where `folder` has them.
        folder, opened: as in `load_tasks`.

    Yields:
        The tasks, and the names that were asked for.

    Raises:
        PotstillError: the tasks are no names.
        PotstillErrors: all that is wrong with the rows.
    """
    if isinstance(tasks, str):
        tasks = [name.strip() for name in tasks.split(",") if name.strip()]
    if not isinstance(tasks, Iterable):
        raise PotstillError("tasks", f"are {shown(tasks)}", "give names, or a mapping of names to rows")
    if not isinstance(tasks, Mapping):
        yield load_tasks(tasks, folder, opened), list(tasks)
        return
    names = list(tasks)
    given = {name: rows for name, rows in tasks.items() if rows is not None}
    loaded = load_tasks([name for name in names if name not in given], folder, opened)
    with tempfile.TemporaryDirectory(prefix="potstill-") as place:
        for name, rows in given.items():
            write_rows(name, "test", rows_given(rows, name), Path(place))
        try:
            loaded += load_tasks(list(given), place)
        except PotstillError as error:  # it names a folder that is gone when it is read
            told = error.errors if isinstance(error, PotstillErrors) else [error]
            raise PotstillErrors([_beside(one, place) for one in told]) from None
    yield loaded, names


def _beside(error: PotstillError, folder: str) -> PotstillError:
    """The error without the folder that the rows were written to; the number behind the file's name is that of the row."""
    return PotstillError(error.place.replace(f"{folder}/", ""), error.problem.replace(f"{folder}/", ""), error.remedy)


def write_rows(name: str, split: str, rows: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write rows as the file of a task of the user's own.

    Args:
        name: of the task: `retrieval/<name>`, or the kind of a labelled task in the place of `retrieval`.
        split: of a labelled task: train, dev or test.
        rows: as JSON lines have them.
        folder: in which tasks are looked for.

    Returns:
        The file.

    Raises:
        PotstillError: the family reads no data of the user's own, or a value cannot be written as JSON.
    """
    family, _, variant = name.partition("/")
    if family not in (*HEADS, RETRIEVAL) or not re.fullmatch(r"\w[\w.-]*", variant) or variant.endswith(DEV):
        known = ", ".join(f"{each}/NAME" for each in (RETRIEVAL, *HEADS))
        raise PotstillError(name, "is no name for rows of your own", f"take one of {known}, where NAME does not end in {DEV}")
    file = folder / f"{name}.jsonl" if family == RETRIEVAL else folder / name / f"{split}.jsonl"
    try:
        lines = [json.dumps(dict(row), allow_nan=False) for row in rows]
    except (TypeError, ValueError) as error:
        raise PotstillError(name, f"a row holds what JSON has not ({error})", "give texts, numbers and lists") from error
    write_text(file, "".join(f"{line}\n" for line in lines))
    return file
