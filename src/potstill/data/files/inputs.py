"""Texts to encode or to predict on, out of whatever file a user has, or out of standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from potstill.data.files.formats import CONLL, CSV, DATASET, JSONL, TEXT, TSV, format_of
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.labelled_files import read_inputs
from potstill.data.files.lines import Remote, StandardInput, read_lines, require_file
from potstill.data.files.tables import read_table, remedy_for_header
from potstill.data.files.tagged import DOCUMENT
from potstill.data.labelled import Columns, names_of
from potstill.errors import PotstillError, did_you_mean, install, shown
from potstill.runtime.entities import TAG
from potstill.runtime.folder import TAGGING
from potstill.runtime.tokens import Text

STANDARD = "-"  # in place of a file's name: standard input, or standard output
TEXT_COLUMN = Columns.text
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


def text_column(path: str | Path, format: str | None, own: Sequence[str], usual: str = TEXT_COLUMN) -> str:
    """The column, or field, of a file that holds its texts: the first of a run's own names that is there, else the usual one.

    Args:
        path: as in `stream_rows`. Standard input is not read twice, and has the usual one.
        format: likewise.
        own: what the run's recipe calls it; none: nothing is looked at.
        usual: what it is called where nothing else is said.

    Raises:
        PotstillError: a table has none of them.
    """
    kind = format or format_of(path)
    if not own or kind not in (*TABLES, JSONL, DATASET) or isinstance(path, StandardInput):
        return usual
    if kind == DATASET:
        rows = _parquet_rows(path, None)
    else:
        rows = read_jsonl_rows(path) if kind == JSONL else read_table(path, [], kind)
    names = list(next(rows, (0, {}))[1])
    found = next((name for name in (*own, usual) if name in names), None)
    if found is None and names:
        problem = f"has no column {', '.join(map(repr, own))}, which the run's recipe names, and no {usual!r}"
        raise PotstillError(path, problem, remedy_for_header(names, "rename the column of the texts"))
    return found or usual


def stream_texts(path: str | Path, format: str | None = None, column: str = TEXT_COLUMN) -> Iterator[str]:
    """Yield the texts of a file one by one, in its order, as `stream_rows` reads them."""
    yield from (text for _, text in stream_rows(path, format, column))


def stream_rows(path: str | Path, format: str | None = None, column: str = TEXT_COLUMN) -> Iterator[tuple[str, str]]:
    """Yield (id, text) of each row of a file, in its order; only one line, of parquet one group of rows, is in memory.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table, JSON lines or parquet with the column or field `column`, or plain text, one text a line, blank ones too.
            All but parquet may be gzipped.
        format: of INPUTS; default: what the name tells, and plain text where it tells nothing.
        column: of the texts.

    Yields:
        What the row has as `id`, a text or a whole number; where it has none, the file and the number of its line, or of its
        row in parquet.

    Raises:
        PotstillError: the file has words in columns; a value of `column` is no text, or one of `id` is neither text nor number.
    """
    kind = format or format_of(path)
    if kind == CONLL:
        raise PotstillError(path, "holds words in columns, and texts are encoded", "write a text a line")
    if kind not in (*TABLES, JSONL, DATASET):
        yield from ((f"{path}:{number}", line) for number, line in read_lines(path))
        return
    if kind == DATASET:
        rows = _parquet_rows(path, column)
    else:
        rows = read_jsonl_rows(path, [column]) if kind == JSONL else read_table(path, [column], kind)
    for number, row in rows:
        if not isinstance(row[column], str):
            raise PotstillError(f"{path}:{number}", f"{column!r} is {shown(row[column])}", "write a text")
        own = row.get("id")
        if own is not None and (isinstance(own, bool) or not isinstance(own, (str, int))):
            raise PotstillError(f"{path}:{number}", f"'id' is {shown(own)}", "write a text or a whole number, or leave it out")
        yield f"{path}:{number}" if own is None else str(own), row[column]


def _parquet_rows(path: str | Path, column: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number from 1, and `column` (None: every one) and maybe `id`, of each row.

    Raises:
        PotstillError: it is no parquet file, or has no such column.
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
            if column is not None and column not in names:
                raise PotstillError(path, f"has no column {column!r}", did_you_mean(column, names))
            read = names if column is None else [name for name in ("id", column) if name in names]
            for batch in file.iter_batches(batch_size=4096, columns=read):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:160]
        raise PotstillError(path, f"cannot be read as parquet, behind row {number} ({said})", "fetch or write it again") from error


def read_file(path: str | Path, kind: str, format: str | None = None, own: Columns | None = None) -> list[Text]:
    """The texts of a file, in its order, as a model with a head of this kind reads them.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table or JSON lines, as `read_inputs` takes them. Any other ending is plain text, one
            text a line. Blank lines are kept, so that line k of the answers belongs to line k of the
            file. Every file may be gzipped.
        kind: of runtime.folder.HEADS. For tagging the file holds words: JSON lines or CoNLL columns. A .txt file
            holds columns where every line is one word or ends in a tag, else texts, which are still to be split.
        format: of INPUTS; default: what the name tells. Text that is named so holds texts, also for tagging.
        own: what the columns of the run's own data are called, for a file that has them; None: as usual.

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
    usual = names_of(kind)
    own = own or usual
    mark = own.text if own.text != usual.text else own.text_pair  # the column that tells the run's own names from the usual ones
    named = mark is not None and text_column(path, format, [mark], usual.text) == mark
    return read_inputs(path, kind, told, own if named else usual)


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
