"""The format of a file, read off its name or its first bytes: the one table of each."""

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

PARQUET = "parquet, a table of columns"
ARROW = "an Arrow table"
ARCHIVE = "a zip archive"
SHEET = "a spreadsheet"
PICKLE = "a pickle, which may run code when it is opened"
POINTER = "a pointer of Git LFS, which stands for the file itself"
COMPRESSED = {"bz2": "compressed with bzip2", "xz": "compressed with xz", "zst": "compressed with Zstandard"}
# What to do with a file that is none of FORMAT_OF; also of what is in an archive or compressed.
REMEDIES = {
    PARQUET: "name it .parquet under `data.texts`; of labelled data write .csv or .jsonl",
    ARROW: "name the folder of the data set under `data.texts`, or write .csv, .jsonl or .parquet",
    ARCHIVE: "unpack it, and name a file in it",
    SHEET: "save the sheet as .csv",
    PICKLE: "write .csv or .jsonl",
    POINTER: "fetch it with `git lfs pull`",
    **{what: "unpack it, or compress it with gzip (.gz)" for what in COMPRESSED.values()},
}
ENDINGS = {
    ".parquet": PARQUET,
    ".arrow": ARROW,
    ".feather": ARROW,
    ".zip": ARCHIVE,
    ".tar": "a tar archive",
    ".tgz": "a tar archive",
    ".7z": "a 7z archive",
    ".bz2": COMPRESSED["bz2"],
    ".xz": COMPRESSED["xz"],
    ".zst": COMPRESSED["zst"],
    ".xlsx": SHEET,
    ".xls": SHEET,
    ".ods": SHEET,
    ".pkl": PICKLE,
    ".pickle": PICKLE,
    ".npy": "an array of numpy",
    ".npz": "an array of numpy",
    ".safetensors": "weights of a model",
}
"""Endings of files that are not read line by line."""
BEGINNINGS = {
    b"version https://git-lfs": POINTER,
    b"PAR1": PARQUET,
    b"ARROW1": ARROW,
    b"FEA1": ARROW,
    b"PK\x03\x04": ARCHIVE,
    b"BZh": COMPRESSED["bz2"],
    b"\xfd7zXZ\x00": COMPRESSED["xz"],
    b"\x28\xb5\x2f\xfd": COMPRESSED["zst"],
    b"\x1f\x8b": "compressed with gzip, and its name does not end in .gz",
    **{bytes([0x80, protocol, code]): PICKLE for protocol in (3, 4, 5) for code in b"\x95]}(cX"},
    b"\xff\xfe\x00\x00": "text in UTF-32",
    b"\x00\x00\xfe\xff": "text in UTF-32",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
"""First bytes of files that are not lines in UTF-8, the longer ones of two before the shorter."""


def what_is(path: str | Path) -> str | None:
    """What a file is by its name, where its ending is one of ENDINGS; else None."""
    return ENDINGS.get(Path(path).suffix.lower())


def what_begins(head: bytes) -> str | None:
    """What a file is by its first 32 bytes, where it is none of lines in UTF-8; else None."""
    return next((what for beginning, what in BEGINNINGS.items() if head.startswith(beginning)), None)


def remedy_for(what: str) -> str:
    """What to do with a file that `what_is` or `what_begins` says something of."""
    return REMEDIES.get(what, "save it as UTF-8 text" if what.startswith("text in") else "name a file of texts")


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
