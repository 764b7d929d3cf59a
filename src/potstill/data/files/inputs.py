"""Texts to encode or to predict on, out of whatever file a user has, or out of standard input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from potstill.data.files.formats import CONLL, CSV, JSONL, TEXT, TSV, format_of
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.labelled_files import read_inputs
from potstill.data.files.lines import StandardInput, read_lines
from potstill.data.files.tables import read_table
from potstill.data.files.tagged import DOCUMENT
from potstill.errors import PotstillError, did_you_mean, shown
from potstill.runtime.entities import TAG
from potstill.runtime.folder import TAGGING
from potstill.runtime.tokens import Text

STANDARD = "-"  # in place of a file's name: standard input, or standard output
TABLES = (CSV, TSV)
INPUTS = (TEXT, *TABLES, JSONL, CONLL)
"""Formats that a caller may name."""


def source_of(file: str | Path, format: str | None = None) -> Path | StandardInput:
    """What the readers are given for a file that a user names.

    Args:
        file: its path, or "-" for standard input.
        format: of INPUTS, in place of what the name tells.

    Raises:
        PotstillError: there is no such format.
    """
    if format is not None and format not in INPUTS:
        raise PotstillError("input format", f"unknown value {shown(format)}", did_you_mean(format, INPUTS))
    return StandardInput() if str(file) == STANDARD else Path(file)


def stream_texts(path: str | Path, format: str | None = None) -> Iterator[str]:
    """Yield the texts of a file one by one, in its order; only one line is in memory.

    A PotstillError for whatever is wrong, at its file and line, comes through from the readers.

    Args:
        path: a table or JSON lines with the column or field `text`, or plain text, one text a line, blank ones too. It may be
            gzipped.
        format: of INPUTS; default: what the name tells, and plain text where it tells nothing.

    Raises:
        PotstillError: the file has words in columns; a value of `text` is no text.
    """
    kind = format or format_of(path)
    if kind == CONLL:
        raise PotstillError(path, "holds words in columns, and texts are encoded", "write a text a line")
    if kind not in (*TABLES, JSONL):
        yield from (line for _, line in read_lines(path))
        return
    rows = read_jsonl_rows(path, ["text"]) if kind == JSONL else read_table(path, ["text"], kind)
    for number, row in rows:
        if not isinstance(row["text"], str):
            raise PotstillError(f"{path}:{number}", f"'text' is {shown(row['text'])}", "write a text")
        yield row["text"]


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
