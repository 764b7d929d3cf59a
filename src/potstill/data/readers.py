"""Unlabelled texts out of files and data sets, each format one small function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from potstill.data.hub import dataset_texts
from potstill.data.jsonl import read_jsonl_rows
from potstill.data.lines import read_lines
from potstill.data.tables import table_texts
from potstill.errors import PotstillError, did_you_mean, shown

Columns = Sequence[int | str] | None

FORMAT_OF = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "dataset"}


def read_texts(
    path: str | Path,
    *,
    format: str | None = None,
    columns: Columns = None,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
) -> list[str]:
    """Texts of one source: trimmed, blank ones dropped, of equal ones the first kept, in the file's order.

    Args:
        path: a file (also gzipped, `.gz`), a folder of a data set, or with format "dataset" a hub name
            (`owner/name`, or `owner/name:config`).
        format: "text" (one text a line), "jsonl", "csv" (quoted), "tsv" (tabs, no quoting) or "dataset";
            read off the name when absent: a folder is a data set, an unknown ending plain text.
        columns: every one of them gives a text. Tables: numbers from 0, or names, which the first row
            then holds; default all. JSON lines and data sets: names; default `text` (in a data set
            without it, every column of strings).
        split: of a data set.
        limit: keep this many, drawn from the whole source with `seed`.

    Raises:
        PotstillError: whatever is wrong, at its file and line.
    """
    kind = format or _format_of(Path(path))
    if kind not in READERS:
        raise PotstillError(path, f"unknown format {shown(kind)}", did_you_mean(kind, READERS))
    found = dict.fromkeys(text for raw in READERS[kind](path, columns, split) if (text := raw.strip()))
    if not found:
        raise PotstillError(path, "holds no text: every row is blank", "name other columns, or another file")
    texts = list(found)
    if limit is not None and limit < len(texts):
        drawn = np.random.default_rng(seed).choice(len(texts), limit, replace=False)
        texts = [texts[row] for row in np.sort(drawn)]
    return texts


def _format_of(path: Path) -> str:
    if path.is_dir():
        return "dataset"
    return FORMAT_OF.get((path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower(), "text")


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
            if value is None:
                continue
            if not isinstance(value, str):
                raise PotstillError(f"{path}:{number}", f"field {key!r} is {shown(value)}, not a text", "name a field of texts")
            yield value


READERS: dict[str, Callable[[str | Path, Columns, str], Iterable[str]]] = {
    "text": _text_lines,
    "jsonl": _jsonl_texts,
    "csv": lambda path, columns, split: table_texts(path, columns, delimiter=",", quoted=True),
    "tsv": lambda path, columns, split: table_texts(path, columns, delimiter="\t", quoted=False),
    "dataset": dataset_texts,
}
