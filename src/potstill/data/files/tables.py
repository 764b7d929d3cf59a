"""CSV and TSV: rows that all have the same number of columns."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from potstill.data.files.formats import CSV, TSV
from potstill.data.files.lines import MAX_LINE, read_lines
from potstill.errors import PotstillError, did_you_mean, shown

# Format → (delimiter, whether `"` quotes a field). In TSV a quote is a character: so GLUE, SentEval and most corpora write it.
DIALECTS = {CSV: (",", True), TSV: ("\t", False)}
SEMICOLON = ";"  # what a spreadsheet writes in a .csv where the comma is a decimal point


def remedy_for_header(header: Sequence[str], remedy: str) -> str:
    """What to do about a table whose header is not as expected: `remedy`, unless semicolons stand where commas or tabs should."""
    if len(header) == 1 and SEMICOLON in header[0]:
        return f"the columns seem to be parted by {SEMICOLON!r}: save it with commas, or with tabs as .tsv"
    return remedy


def table_texts(path: str | Path, columns: Sequence[int | str] | None, format: str) -> Iterator[str]:
    """Yield the fields of the chosen columns, row by row.

    A PotstillError comes through from `read_lines`, for a column that is not there, and with the
    line's number for a row wider or narrower than the first and for a quote that is never closed.

    Args:
        path: the table.
        columns: numbers from 0, or names; None: all columns. Only where a name is among them is the
            first row a header.
        format: of DIALECTS.
    """
    picked: list[int] | None = None
    named = columns is not None and any(isinstance(column, str) for column in columns)
    for position, (number, row) in enumerate(_even_rows(path, format)):
        if not position:
            picked = _positions(row, columns, f"{path}:{number}")
            if named:
                continue
        yield from (row[column] for column in picked) if picked is not None else row


def read_table(
    path: str | Path, required: Sequence[str], format: str, *, leave_out_broken: bool = False
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number from 1, column name → field) of every row under a header.

    Args:
        path: the table; its first row is the header.
        required: columns that the header must have. It may have others.
        format: of DIALECTS.
        leave_out_broken: skip rows with another number of columns instead of raising.

    Raises:
        PotstillError: as `table_texts`; a required column is missing, or is in the header twice.
    """
    header: list[str] = []
    for number, row in _even_rows(path, format, leave_out_broken):
        if header:
            yield number, dict(zip(header, row, strict=True))
            continue
        header = [name.strip() for name in row]
        for name in required:
            if header.count(name) != 1:
                problem = f"the header has no column {name!r}" if name not in header else f"the header has {name!r} twice"
                remedy = remedy_for_header(header, did_you_mean(name, header)) if name not in header else "rename one"
                raise PotstillError(f"{path}:{number}", problem, remedy)


def _even_rows(path: str | Path, format: str, leave_out_broken: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of the rows that have as many columns as the first.

    Raises:
        PotstillError: a row has another number of columns, unless such rows are left out.
    """
    delimiter, quoted = DIALECTS[format]
    first: list[str] = []
    for number, row in _quoted_rows(path, delimiter) if quoted else _plain_rows(path, delimiter):
        first = first or row
        if len(row) == len(first):
            yield number, row
        elif not leave_out_broken:
            way_out = "quote fields that hold a comma" if quoted else "remove the stray tab, or save it as csv"
            problem = f"{len(row)} columns where the first row has {len(first)}"
            raise PotstillError(f"{path}:{number}", problem, remedy_for_header(first, way_out))


def _plain_rows(path: str | Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields); blank lines are left out."""
    for number, line in read_lines(path):
        if line.strip() or delimiter in line:
            yield number, line.split(delimiter)


def _quoted_rows(path: str | Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, fields); blank lines are left out. A quoted field may run over several lines.

    Raises:
        PotstillError: a quote is never closed, or stands where none may.
    """
    row: list[str] = []
    text = ""

    def lines() -> Iterator[str]:
        nonlocal text
        for _, text in read_lines(path):
            yield text + "\n"

    # strict: without it a forgotten quote swallows the rest of the file in silence.
    csv.field_size_limit(MAX_LINE)  # as long as a line of any other file
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    first = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            remedy = "look for a quote that nothing closes"
            remedy = remedy_for_header([text], remedy) if not row else remedy  # "a";"b" is no field between commas
            raise PotstillError(f"{path}:{first}", f"not readable as a table ({error})", remedy) from error
        if len(row) > 1 or any(field.strip() for field in row):  # blank fields are a row: whoever reads them says what it lacks
            yield first, row
        first = reader.line_num + 1


def _positions(row: list[str], columns: Sequence[int | str] | None, place: str) -> list[int] | None:
    if columns is None:
        return None
    positions = []
    for column in columns:
        if isinstance(column, str):
            if column not in row:
                remedy = remedy_for_header(row, did_you_mean(column, row))
                raise PotstillError(place, f"the header has no column {shown(column)}", remedy)
            positions.append(row.index(column))
        elif not isinstance(column, bool) and 0 <= column < len(row):  # true is a 1 to Python
            positions.append(column)
        else:
            raise PotstillError(place, f"column {shown(column)} of a row with {len(row)}", f"columns are numbered 0 to {len(row) - 1}")
    return positions
