"""Texts to encode or to predict on, out of whatever file a user has, or out of standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from potstill.data.files.formats import CONLL, CSV, DATASET, JSONL, TEXT, TSV, format_of
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.labelled_files import read_inputs
from potstill.data.files.lines import Remote, StandardInput, read_lines, require_file
from potstill.data.files.tables import read_table
from potstill.data.files.tagged import DOCUMENT
from potstill.errors import PotstillError, did_you_mean, install, shown
from potstill.runtime.entities import TAG
from potstill.runtime.folder import TAGGING
from potstill.runtime.tokens import Text

STANDARD = "-"  # in place of a file's name: standard input, or standard output
TABLES = (CSV, TSV)
INPUTS = (TEXT, *TABLES, JSONL, CONLL)
"""Formats that a caller may name."""


def source_of(file: str | Path, format: str | None = None) -> Path | StandardInput | Remote:
    """What the readers are given for a file that a user names.

    Args:
        file: its path, a URL that fsspec opens, or "-" for standard input.
        format: of INPUTS, in place of what the name tells.

    Raises:
        PotstillError: there is no such format.
    """
    if format is not None and format not in INPUTS:
        raise PotstillError("input format", f"unknown value {shown(format)}", did_you_mean(format, INPUTS))
    if str(file) == STANDARD:
        return StandardInput()
    return Remote(file) if "://" in str(file) else Path(file)


def stream_texts(path: str | Path, format: str | None = None) -> Iterator[str]:
    """Yield the texts of a file one by one, in its order, as `stream_rows` reads them."""
    yield from (text for _, text in stream_rows(path, format))


def stream_rows(path: str | Path, format: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (id, text) of each row of a file, in its order; only one line, of parquet one group of rows, is in memory.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table, JSON lines or parquet with the column or field `text`, or plain text, one text a line, blank ones too.
            All but parquet may be gzipped.
        format: of INPUTS; default: what the name tells, and plain text where it tells nothing.

    Yields:
        What the row has as `id`, a text or a whole number; where it has none, the file and the number of its line, or of its
        row in parquet.

    Raises:
        PotstillError: the file has words in columns; a value of `text` is no text, or one of `id` is neither text nor number.
    """
    kind = format or format_of(path)
    if kind == CONLL:
        raise PotstillError(path, "holds words in columns, and texts are encoded", "write a text a line")
    if kind not in (*TABLES, JSONL, DATASET):
        yield from ((f"{path}:{number}", line) for number, line in read_lines(path))
        return
    if kind == DATASET:
        rows = _parquet_rows(path)
    else:
        rows = read_jsonl_rows(path, ["text"]) if kind == JSONL else read_table(path, ["text"], kind)
    for number, row in rows:
        if not isinstance(row["text"], str):
            raise PotstillError(f"{path}:{number}", f"'text' is {shown(row['text'])}", "write a text")
        own = row.get("id")
        if own is not None and (isinstance(own, bool) or not isinstance(own, (str, int))):
            raise PotstillError(f"{path}:{number}", f"'id' is {shown(own)}", "write a text or a whole number, or leave it out")
        yield f"{path}:{number}" if own is None else str(own), row["text"]


def _parquet_rows(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number from 1, and `text` and maybe `id`, of each row.

    Raises:
        PotstillError: it is no parquet file, or has no column `text`.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise PotstillError(path, "is parquet, and pyarrow is not installed", install("train")) from error
    number = 0
    try:
        with path.open() if isinstance(path, Remote) else require_file(path).open("rb") as stream:
            file = parquet.ParquetFile(stream)
            names = file.schema_arrow.names
            if "text" not in names:
                raise PotstillError(path, "has no column 'text'", did_you_mean("text", names))
            for batch in file.iter_batches(batch_size=4096, columns=[name for name in ("id", "text") if name in names]):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:160]
        raise PotstillError(path, f"cannot be read as parquet, behind row {number} ({said})", "fetch or write it again") from error


def read_file(path: str | Path, kind: str, format: str | None = None) -> list[Text]:
    """The texts of a file, in its order, as a model with a head of this kind reads them.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table or JSON lines, as `read_inputs` takes them. Any other ending is plain text, one
            text a line. Blank lines are kept, so that line k of the answers belongs to line k of the
            file. Every file may be gzipped.
        kind: of runtime.folder.HEADS. For tagging the file holds words: JSON lines or CoNLL columns. A .txt file
            holds columns where every line is one word or ends in a tag, else texts, which are still to be split.
        format: of INPUTS; default: what the name tells. Text that is named so holds texts, also for tagging.

    Raises:
        PotstillError: standard input may be columns or texts, and nothing says which.
    """
    told, format = format, format or format_of(path)
    if kind != TAGGING and format in (None, TEXT, CONLL):
        return [line for _, line in read_lines(path)]
    if kind == TAGGING and (format == TEXT or (format is None and isinstance(path, StandardInput))):
        lines = [line for _, line in read_lines(path)]
        if told == TEXT or not _columns(lines, path):
            return list(lines)
        if isinstance(path, StandardInput):
            raise PotstillError(path, "may be columns or texts of one word", f"say --input-format {CONLL} or {TEXT}")
    return read_inputs(path, kind, told)


def _columns(lines: Sequence[str], path: str | Path) -> bool:
    """Whether lines are columns and not texts.

    Raises:
        PotstillError: they may be either: two columns, the second one without tags, look like texts of two words.
    """
    rows = [columns for line in lines if (columns := line.split()) and columns[0] != DOCUMENT]
    if all(len(columns) == 1 or TAG.fullmatch(columns[-1]) for columns in rows):
        return True
    if len(rows) > 1 and all(len(columns) == 2 for columns in rows):
        raise PotstillError(
            path, f"lines such as {shown(' '.join(rows[0]))} may be columns or texts", "name it .conll, or give the words in a .jsonl file"
        )
    return False
