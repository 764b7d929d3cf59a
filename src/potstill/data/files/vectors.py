"""Vectors as files: what one part of them is, and how parts become one file; nothing holds all of them in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from potstill.data.files.formats import CSV, JSONL
from potstill.errors import PotstillError, did_you_mean, install, shown
from potstill.machine.files import link_or_copy

NPY, PARQUET, SHARDS = "npy", "parquet", "shards"
EXACT = 9  # significant digits that tell every float32 from its neighbours


@dataclass(frozen=True)
class Form:
    """How vectors are written.

    Attributes:
        name: of FORMS.
        part: (file, texts, their vectors (n, d)) → writes a part of the vectors into a file.
        join: (files of the parts in order, (rows of all, d), place) → writes the whole at the place. The parts stay.
        head: (d) → what stands before the first row, and `rows`: (texts, vectors) → the rows, where they can be written one
            after the other to a stream; else None.
    """

    name: str
    part: Callable[[Path, Sequence[str], NDArray[Any]], None]
    join: Callable[[Sequence[Path], tuple[int, int], Path], None]
    head: Callable[[int], str] | None = None
    rows: Callable[[Sequence[str], NDArray[Any]], str] | None = None


def form_of(out: str | Path, name: str | None, stream: bool) -> Form:
    """The form in which vectors are written.

    Args:
        out: where to; its ending tells the form, and no ending is a folder of shards.
        name: of FORMS, in place of what the ending tells.
        stream: whether they are written to a stream, which is JSON lines where no name is given.

    Raises:
        PotstillError: there is no such form, the ending tells none, or it cannot be written to a stream.
    """
    if name is not None and name not in FORMS:
        raise PotstillError("output format", f"unknown value {shown(name)}", did_you_mean(name, FORMS))
    ending = Path(out).suffix.lower()
    found = name or (JSONL if stream else ENDINGS.get(ending))
    if found is None:
        raise PotstillError(
            out, f"ends in {ending!r}", f"end it in {', '.join(filter(None, ENDINGS))}, or in nothing for a folder of shards"
        )
    if stream and FORMS[found].rows is None:
        problem = f"{found} cannot be written to standard output"
        raise PotstillError(
            "output format", problem, f"choose {' or '.join(key for key, form in FORMS.items() if form.rows)}, or name a file"
        )
    return FORMS[found]


def _write_npy(file: Path, texts: Sequence[str], vectors: NDArray[Any]) -> None:
    with file.open("wb") as stream:
        np.save(stream, vectors)


def _join_npy(parts: Sequence[Path], shape: tuple[int, int], place: Path) -> None:
    """The parts behind one header, which is that of np.save."""
    with place.open("wb") as target:
        for number, part in enumerate(parts):
            with part.open("rb") as source:
                kind = _header(source)
                if not number:
                    said = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(target, said)
                shutil.copyfileobj(source, target, 1 << 20)


def _header(source: BinaryIO) -> np.dtype[Any]:
    """Read the header of a .npy file; the type of its numbers."""
    np.lib.format.read_magic(source)
    return np.lib.format.read_array_header_1_0(source)[2]


def _numbers(vectors: NDArray[Any]) -> Callable[[NDArray[Any]], str]:
    """(d,) → its numbers with commas between them, each with the digits that it takes to read it back."""
    form = ",".join([f"%.{EXACT}g" if vectors.dtype.kind == "f" else "%d"] * vectors.shape[1])
    return lambda row: form % tuple(row.tolist())


def _json_rows(texts: Sequence[str], vectors: NDArray[Any]) -> str:
    numbers = _numbers(vectors)
    rows = zip(texts, vectors, strict=True)
    return "".join(f'{{"text": {json.dumps(text, ensure_ascii=False)}, "vector": [{numbers(row)}]}}\n' for text, row in rows)


def _csv_head(width: int) -> str:
    return ",".join(["text", *(f"v{number}" for number in range(width))]) + "\n"


def _csv_rows(texts: Sequence[str], vectors: NDArray[Any]) -> str:
    numbers = _numbers(vectors)
    return "".join(f"{_quoted(text)},{numbers(row)}\n" for text, row in zip(texts, vectors, strict=True))


def _quoted(text: str) -> str:
    """A field of a table, in quotes: so a blank text is a field too."""
    return '"' + text.replace('"', '""') + '"'


def _write_json(file: Path, texts: Sequence[str], vectors: NDArray[Any]) -> None:
    file.write_text(_json_rows(texts, vectors), encoding="utf-8", newline="")


def _write_csv(file: Path, texts: Sequence[str], vectors: NDArray[Any]) -> None:
    file.write_text(_csv_rows(texts, vectors), encoding="utf-8", newline="")


def _join_json(parts: Sequence[Path], shape: tuple[int, int], place: Path) -> None:
    _join_lines("", parts, place)


def _join_csv(parts: Sequence[Path], shape: tuple[int, int], place: Path) -> None:
    _join_lines(_csv_head(shape[1]), parts, place)


def _join_lines(head: str, parts: Sequence[Path], place: Path) -> None:
    with place.open("wb") as target:
        target.write(head.encode())
        for part in parts:
            with part.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)


def _arrow() -> tuple[Any, Any]:
    """pyarrow, and its reader and writer of parquet files.

    Raises:
        PotstillError: it is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise PotstillError("parquet", "pyarrow is not installed", install("train")) from error
    return pyarrow, parquet


def _write_parquet(file: Path, texts: Sequence[str], vectors: NDArray[Any]) -> None:
    arrow, parquet = _arrow()
    flat = arrow.array(np.ascontiguousarray(vectors).reshape(-1))
    columns = {"text": arrow.array(texts, arrow.string()), "vector": arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}
    parquet.write_table(arrow.table(columns), file, use_dictionary=False)  # hardly a number of a vector comes twice


def _join_parquet(parts: Sequence[Path], shape: tuple[int, int], place: Path) -> None:
    _, parquet = _arrow()
    with parquet.ParquetWriter(place, parquet.read_schema(parts[0]), use_dictionary=False) as writer:
        for part in parts:
            # Not read_table, which takes the reader of whole data sets, with threads and buffers of its own.
            with parquet.ParquetFile(part, pre_buffer=False) as opened:
                writer.write_table(opened.read(use_threads=False))


def _join_shards(parts: Sequence[Path], shape: tuple[int, int], place: Path) -> None:
    for part in parts:
        link_or_copy(part, place / part.name)


FORMS = {
    form.name: form
    for form in (
        Form(NPY, _write_npy, _join_npy),
        Form(PARQUET, _write_parquet, _join_parquet),
        Form(JSONL, _write_json, _join_json, lambda width: "", _json_rows),
        Form(CSV, _write_csv, _join_csv, _csv_head, _csv_rows),
        Form(SHARDS, _write_npy, _join_shards),
    )
}
ENDINGS = {".npy": NPY, ".parquet": PARQUET, ".jsonl": JSONL, ".ndjson": JSONL, ".csv": CSV, "": SHARDS}
"""Ending of a file's name → form."""
