"""The texts that a page searches, and the questions that it offers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from potstill.data.files.formats import CSV, JSONL, TEXT, TSV, format_of
from potstill.data.files.jsonl import read_jsonl_rows
from potstill.data.files.lines import read_lines
from potstill.data.files.tables import read_table
from potstill.errors import PotstillError, shown

TEXT_FIELD, TITLE_FIELD = "text", "title"


@dataclass(frozen=True)
class Entry:
    """What a page can find.

    Attributes:
        text: is searched, and shown.
        title: is shown above it; "" for none.
    """

    text: str
    title: str = ""


def read_entries(path: str | Path) -> list[Entry]:
    """Read what a page searches; blank texts are left out.

    A PotstillError comes through from the readers.

    Args:
        path: texts, one a line; or a table or JSON lines with `text` and, where there is one, `title`. It may be gzipped.

    Raises:
        PotstillError: the file is of another format, a text or a title is no text, or there is none at all.
    """
    format = format_of(path)
    if format in (None, TEXT):
        entries = [Entry(line.strip()) for _, line in read_lines(path) if line.strip()]
    elif format in (JSONL, CSV, TSV):
        rows = read_jsonl_rows(path, (TEXT_FIELD,)) if format == JSONL else read_table(path, (TEXT_FIELD,), format)
        entries = []
        for number, row in rows:
            values = {name: row.get(name) or "" for name in (TEXT_FIELD, TITLE_FIELD)}
            for name, value in values.items():
                if not isinstance(value, str):
                    raise PotstillError(f"{path}:{number}", f"{name} is {shown(value)}, not a text", "write it in quotes")
            if values[TEXT_FIELD].strip():
                entries.append(Entry(values[TEXT_FIELD].strip(), values[TITLE_FIELD].strip()))
    else:
        raise PotstillError(path, f"is {format}", "name a file of texts, one a line, or .jsonl, .csv or .tsv with `text` and `title`")
    if not entries:
        raise PotstillError(path, "holds no text", "name a file with at least one")
    return entries


def read_questions(path: str | Path | None) -> list[str]:
    """Questions, one a line, blank lines left out; none without a file. A PotstillError of `read_lines` comes through."""
    return [] if path is None else [line.strip() for _, line in read_lines(path) if line.strip()]
