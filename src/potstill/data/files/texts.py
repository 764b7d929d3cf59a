"""Unlabelled texts out of files and data sets: one small function a format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from glob import has_magic
from itertools import chain
from pathlib import Path
from typing import TypeVar

import numpy as np

from potstill.data.files.formats import CSV, DATASET, JSONL, TEXT, TSV, format_of
from potstill.data.files.hub import dataset_files, dataset_texts
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.lines import read_lines
from potstill.data.files.tables import table_texts
from potstill.errors import PotstillError, did_you_mean, shown
from potstill.machine.files import kind_of_place

Columns = Sequence[int | str] | None
Found = TypeVar("Found", str, tuple[str, ...])


def in_blocks(texts: Iterable[str], rows: int, characters: int) -> Iterator[list[str]]:
    """Texts in lists whose size in memory has a limit; which one a text is in hangs on the texts before it alone.

    Args:
        texts: any number of them.
        rows: texts of a block, at most.
        characters: a block ends with the text that brings it to so many.
    """
    block: list[str] = []
    held = 0
    for text in texts:
        block.append(text)
        held += len(text)
        if len(block) == rows or held >= characters:
            yield block
            block, held = [], 0
    if block:
        yield block


def read_groups(
    path: str | Path,
    columns: Sequence[int | str],
    *,
    format: str | None = None,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
) -> list[tuple[str, ...]]:
    """Rows of one source whose texts belong together: a text and its pair, and maybe a hard negative.

    Texts are stripped of white space around them. Rows with a blank text are dropped, and so are
    rows that repeat an earlier one.

    Args:
        path: as in `read_texts`.
        columns: two or three, in the order text, pair, hard negative.
        format: as in `read_texts`.
        split: of a data set.
        limit: keep this many rows, drawn from the whole source with `seed`.
        seed: of that draw.

    Returns:
        Rows of two or three texts, in the file's order.

    Raises:
        PotstillError: as `read_texts`; there are not two or three columns, or no row is left.
    """
    if len(columns) not in (2, 3):
        raise PotstillError(path, f"{len(columns)} columns", "a row is a text, its pair, and maybe a hard negative: name two or three")
    flat = [text.strip() for text in raw_texts(path, format=format, columns=columns, split=split)]
    rows = dict.fromkeys(zip(*(flat[start :: len(columns)] for start in range(len(columns))), strict=True))
    return _drawn(path, [row for row in rows if all(row)], limit, seed)


def read_texts(
    path: str | Path,
    *,
    format: str | None = None,
    columns: Columns = None,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
) -> list[str]:
    """The texts of one source, in its order, each once.

    Texts are stripped of white space around them, and blank ones are dropped. A PotstillError for
    whatever is wrong, at its file and line, comes through from the reader of the format.

    Args:
        path: a file (also gzipped, `.gz`), a folder of a data set, with format "dataset" a hub name
            (`owner/name`, or `owner/name:config`), or a pattern of files (`*`, `**`, `?`, `[…]`), which are read in the
            order of their names.
        format: "text" (one text a line), "jsonl", "csv" (quoted), "tsv" (tabs, no quoting) or "dataset".
            Default: what the name tells. A folder is a data set, and an unknown ending is plain text.
        columns: each of them gives a text. In tables they are numbers from 0, or names, which the first
            row then holds; default: all columns. In JSON lines and data sets they are names; default:
            `text`, or in a data set without it every column of strings.
        split: of a data set.
        limit: keep this many texts, drawn from the whole source with `seed`.
        seed: of that draw.
    """
    found = dict.fromkeys(text for raw in raw_texts(path, format=format, columns=columns, split=split) if (text := raw.strip()))
    return _drawn(path, list(found), limit, seed)


def raw_texts(path: str | Path, *, format: str | None = None, columns: Columns = None, split: str = "train") -> Iterator[str]:
    """The texts of one source one by one, as they stand there: blank and repeated ones too.

    A PotstillError comes through as in `read_texts`, whose arguments these are.
    """
    return chain.from_iterable(_reader(file, format)(file, columns, split) for file in files_of(path))


def files_of(path: str | Path) -> list[str | Path]:
    """The files that a pattern names, in the order of their names; of anything else the path itself.

    A file that is called like a pattern is that file. Hidden files fit no pattern.

    Raises:
        PotstillError: no file is called so.
    """
    if not has_magic(str(path)) or kind_of_place(path) is not None:
        return [path]
    parts = Path(path).parts
    first = next(number for number, part in enumerate(parts) if has_magic(part))
    folder = Path(*parts[:first])
    files = [file for file in folder.glob(str(Path(*parts[first:]))) if kind_of_place(file) == "a file"]
    hidden = [any(part.startswith(".") for part in file.relative_to(folder).parts) for file in files]
    found: list[str | Path] = sorted((file for file, is_hidden in zip(files, hidden) if not is_hidden), key=str)
    if not found:
        raise PotstillError(path, "is a pattern that no file's name fits", "check the folder and the pattern")
    return found


def files_behind(path: str | Path, format: str | None, split: str) -> list[Path]:
    """The files that hold the texts of one source: of a data set those that the library `datasets` maps into memory.

    A PotstillError comes through where there is none. What is no file is left to the reader.

    Args:
        path: as in `read_texts`, like the other two.
    """
    found: list[Path] = []
    for file in files_of(path):
        data_set = (format or _format_of(Path(file))) == DATASET
        found += dataset_files(file, split) if data_set else [Path(file)]
    return found


def _reader(path: str | Path, format: str | None) -> Callable[[str | Path, Columns, str], Iterable[str]]:
    kind = format or _format_of(Path(path))
    if kind not in READERS:
        raise PotstillError(path, f"unknown format {shown(kind)}", did_you_mean(kind, READERS))
    return READERS[kind]


def _drawn(path: str | Path, found: list[Found], limit: int | None, seed: int) -> list[Found]:
    """`limit` of what was found, drawn with `seed`, in the file's order. A PotstillError comes through where nothing was found."""
    rows = drawn_rows(path, len(found), limit, seed)
    return found if rows is None else [found[row] for row in rows]


def drawn_rows(path: str | Path, count: int, limit: int | None, seed: int) -> np.ndarray | None:
    """The rows that a limit keeps of a source's different texts, in their order; None: all.

    Args:
        path: of the source, for the error.
        count: of its different texts.
        limit: how many are kept.
        seed: of the draw.

    Raises:
        PotstillError: there is no text.
    """
    if not count:
        raise PotstillError(path, "holds no text: every row is blank", "name other columns, or another file")
    if limit is None or limit >= count:
        return None
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def _format_of(path: Path) -> str:
    if kind_of_place(path) == "a folder":
        return DATASET
    found = format_of(path)
    return found if found in READERS else TEXT


def _text_lines(path: str | Path, columns: Columns, split: str) -> Iterable[str]:
    if columns is not None:
        raise PotstillError(path, f"columns {shown(list(columns))} of a plain text file", "drop `columns`, or give its format: csv or tsv")
    return (line for _, line in read_lines(path))


def _jsonl_texts(path: str | Path, columns: Columns, split: str) -> Iterator[str]:
    keys: list[str] = []
    for key in columns or ["text"]:
        if not isinstance(key, str):
            raise PotstillError(path, f"column {key!r} of JSON lines", "name the fields: they have no numbers")
        keys.append(key)
    for number, row in read_jsonl_rows(path, keys):
        for key in keys:
            value = row[key]
            if value is not None and not isinstance(value, str):
                raise PotstillError(f"{path}:{number}", f"field {key!r} is {shown(value)}, not a text", "name a field of texts")
            yield value or ""  # one for each field, so that rows can be told apart


READERS: dict[str, Callable[[str | Path, Columns, str], Iterable[str]]] = {
    TEXT: _text_lines,
    JSONL: _jsonl_texts,
    CSV: lambda path, columns, split: table_texts(path, columns, CSV),
    TSV: lambda path, columns, split: table_texts(path, columns, TSV),
    DATASET: dataset_texts,
}
