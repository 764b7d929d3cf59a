"""The format of a file, read off its name: the one table of file name endings."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

TEXT, JSONL, CSV, TSV, CONLL, DATASET = "text", "jsonl", "csv", "tsv", "conll", "dataset"
GZIP = ".gz"
FORMAT_OF = {
    ".txt": TEXT,
    ".jsonl": JSONL,
    ".ndjson": JSONL,
    ".json": JSONL,
    ".csv": CSV,
    ".tsv": TSV,
    ".conll": CONLL,
    ".parquet": DATASET,
}


def format_of(path: str | Path) -> str | None:
    """The format that a file's name tells; None where the ending is not one of FORMAT_OF.

    Upper and lower case are the same, and `.gz` may follow: `a.jsonl`, `a.CSV`, `a.tsv.gz`.
    """
    return FORMAT_OF.get(ending_of(path))


def ending_of(path: str | Path) -> str:
    """The ending of a file's name in lower case and without `.gz`: ".csv" of `a.CSV.gz`, "" of `a` and of `a.gz`."""
    return _unzipped(path).suffix.lower()


def stem_of(path: str | Path) -> str:
    """A file's name without its ending: "train" of `train.csv.gz`."""
    return _unzipped(path).stem


def is_gzipped(path: str | Path) -> bool:
    """Whether a file's name ends in `.gz`."""
    return Path(path).suffix.lower() == GZIP


def endings_of(formats: Collection[str]) -> str:
    """The endings of some formats, for an error: ".csv, .tsv, also with .gz"."""
    return f"{', '.join(sorted(ending for ending, format in FORMAT_OF.items() if format in formats))}, also with {GZIP}"


def _unzipped(path: str | Path) -> Path:
    path = Path(path)
    return path.with_suffix("") if is_gzipped(path) else path
