"""CSV and TSV: rows of one width."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from potstill.data.lines import read_lines
from potstill.errors import PotstillError, did_you_mean, shown


def table_texts(path: str | Path, columns: Sequence[int | str] | None, *, delimiter: str, quoted: bool) -> Iterator[str]:
    """Yield the named columns of every row, row by row; without `columns`, all of them.

    Args:
        columns: numbers from 0, or names. Only names make the first row a header.
        quoted: whether `"` quotes a field (CSV); if not, it is a character like any other (TSV as
            GLUE, SentEval and most corpora write it).

    Raises:
        PotstillError: as `read_lines`, an unknown column, and at its line: a row wider or narrower
            than the first, a quote that nothing closes.
    """
    picked: list[int] | None = None
    width = 0
    for number, row in _quoted_rows(path, delimiter) if quoted else _plain_rows(path, delimiter):
        place = f"{path}:{number}"
        if not width:
            width = len(row)
            picked = _positions(row, columns, place)
            if columns is not None and any(isinstance(column, str) for column in columns):
                continue
        if len(row) != width:
            way_out = "quote fields that hold a comma" if quoted else "remove the stray tab, or save it as csv"
            raise PotstillError(place, f"{len(row)} columns where the first row has {width}", way_out)
        yield from (row[position] for position in picked) if picked is not None else row


def _plain_rows(path: str | Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields); blank lines are left out."""
    for number, line in read_lines(path):
        if line.strip():
            yield number, line.split(delimiter)


def _quoted_rows(path: str | Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, fields); blank lines are left out. A quoted field may run over several lines."""
    lines = (text + "\n" for _, text in read_lines(path))
    # strict: without it a forgotten quote swallows the rest of the file in silence.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    first = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise PotstillError(f"{path}:{first}", f"not readable as a table ({error})", "look for a quote that nothing closes") from error
        if any(field.strip() for field in row):
            yield first, row
        first = reader.line_num + 1


def _positions(row: list[str], columns: Sequence[int | str] | None, place: str) -> list[int] | None:
    if columns is None:
        return None
    positions = []
    for column in columns:
        if isinstance(column, str):
            if column not in row:
                raise PotstillError(place, f"the header has no column {column!r}", did_you_mean(column, row))
            positions.append(row.index(column))
        elif 0 <= column < len(row):
            positions.append(column)
        else:
            raise PotstillError(place, f"column {shown(column)} of a row with {len(row)}", f"columns are numbered 0 to {len(row) - 1}")
    return positions
