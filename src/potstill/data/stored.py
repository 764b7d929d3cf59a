"""Texts that no memory holds: in an Arrow file that is mapped into it, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from potstill.data.files.texts import drawn_rows, in_blocks
from potstill.errors import PotstillError, install
from potstill.machine.cache import digest_of
from potstill.machine.files import write_text

TEXTS = "texts.arrow"
ROWS, CHARACTERS = 1 << 14, 1 << 24  # of a batch in the file, at most: what is in memory at once
TOGETHER = 1 << 19  # texts that are compared at once: 60 MB


class StoredTexts(Sequence[str]):
    """Texts in the file that a Gathering wrote, mapped into memory. Some rows of it may be left out.

    Args:
        folder: with the file.
        left_out: rows of the file that are none of the texts, in ascending order.

    Raises:
        PotstillError: the file cannot be read.
    """

    def __init__(self, folder: Path, left_out: np.ndarray | None = None) -> None:
        self.folder = folder
        self.left_out = np.zeros(0, dtype=np.int64) if left_out is None else left_out
        self._column = _mapped(folder / TEXTS).read_all().column(0)
        # The row of text i is i and as many as were left out before it.
        self._before = self.left_out - np.arange(len(self.left_out))

    def __len__(self) -> int:
        return len(self._column) - len(self.left_out)

    @overload
    def __getitem__(self, number: int) -> str: ...

    @overload
    def __getitem__(self, number: slice) -> list[str]: ...

    def __getitem__(self, number: int | slice) -> str | list[str]:
        if not isinstance(number, slice):
            return str(self._column[self._row(range(len(self))[number])])
        numbers = range(len(self))[number]
        if numbers.step != 1 or not numbers:
            return [self[one] for one in numbers]
        first, last = self._row(numbers[0]), self._row(numbers[-1])
        found = self._column.slice(first, last + 1 - first).to_pylist()
        for row in reversed(self.left_out[slice(*np.searchsorted(self.left_out, [first, last]))].tolist()):
            del found[row - first]
        return found

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), ROWS):
            yield from self[start : start + ROWS]

    def _row(self, number: int) -> int:
        return number + int(np.searchsorted(self._before, number, side="right"))

    @cached_property
    def digest(self) -> str:
        """What machine.cache.digest_of makes of the texts; kept beside the file, since it takes reading all of them."""
        file = self.folder / f"digest-{hashlib.sha256(self.left_out.astype('<i8').tobytes()).hexdigest()[:24]}.txt"
        if file.is_file():
            return file.read_text(encoding="utf-8")
        found = digest_of(iter(self))
        write_text(file, found)
        return found

    def without(self, rows: np.ndarray) -> StoredTexts:
        """The texts without some of them.

        Args:
            rows: their numbers in the file, in ascending order.
        """
        return StoredTexts(self.folder, rows)


class Gathering:
    """Texts of several sources, stripped and each once, on their way into one file.

    A text takes some bytes of memory, 16 more where its source has a limit. Twice the texts lie on disk for a while.

    Args:
        folder: an empty one; its files are worth nothing without `finish`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: list[np.ndarray] = []  # of each source a mask over its rows
        self._digests = folder / "digests"

    def add(self, path: str | Path, texts: Iterable[str], limit: int | None, seed: int) -> None:
        """Take the texts of one source; blank and repeated ones are dropped, as in data.files.texts.read_texts.

        A PotstillError of the reader comes through, and one where there is no text.

        Args:
            path: of the source, for errors.
            texts: as the reader gives them.
            limit: keep this many of the different ones, drawn from the whole source with `seed`.
            seed: of that draw.
        """
        count = 0
        with _written(self.folder / f"{len(self.kept)}.arrow") as write, self._digests.open("ab") as stream:
            start = stream.tell()
            for batch in in_blocks((text for raw in texts if (text := raw.strip())), ROWS, CHARACTERS):
                stream.write(b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in batch))
                write(batch)
                count += len(batch)
        kept = np.zeros(0, dtype=bool)
        if count:
            kept = _firsts(np.memmap(self._digests, np.uint64, "r", start, (count, 2)), np.ones(count, dtype=bool))
        rows = drawn_rows(path, int(kept.sum()), limit, seed)
        if rows is not None:
            drawn = np.flatnonzero(kept)[rows]
            kept[:] = False
            kept[drawn] = True
        self.kept.append(kept)

    def finish(self) -> int:
        """Write the file, in the order of the sources; a text of an earlier source is not repeated.

        Returns:
            How many texts it holds.
        """
        kept = self.kept
        if len(kept) > 1:
            whole = np.concatenate(kept)
            whole = _firsts(np.memmap(self._digests, np.uint64, "r", 0, (len(whole), 2)), whole)
            kept = np.split(whole, np.cumsum([len(mask) for mask in kept])[:-1])
        with _written(self.folder / TEXTS) as write:
            for number, mask in enumerate(kept):
                part, start = self.folder / f"{number}.arrow", 0
                reader = _mapped(part)
                for position in range(reader.num_record_batches):
                    batch = reader.get_batch(position)
                    own = mask[start : start + batch.num_rows]
                    start += batch.num_rows
                    if own.any():
                        write(batch.column(0).filter(own))
                part.unlink()
        self._digests.unlink()
        return sum(int(mask.sum()) for mask in kept)


@contextmanager
def _written(file: Path) -> Iterator[Callable[[Any], None]]:
    """Within the block an Arrow file of one column, and what writes a batch of it: a list, or an array of Arrow's."""
    arrow = _arrow()
    schema = arrow.schema([("text", arrow.large_string())])
    with arrow.ipc.new_file(str(file), schema) as writer:
        yield lambda texts: writer.write_batch(arrow.record_batch([arrow.array(texts, arrow.large_string())], schema=schema))


def _firsts(digests: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Which rows have a digest that no earlier row has, of those in a mask.

    Args:
        digests: (n, 2) of 128 bits each, in two numbers: no two texts have the same one.
        among: (n,) bool.

    Returns:
        (n,) bool.
    """
    found = np.zeros(len(digests), dtype=bool)
    parts = np.uint64(1 + len(digests) // TOGETHER)
    for part in range(int(parts)):  # equal ones are in the same part
        rows = np.concatenate(
            [
                start + np.flatnonzero((digests[start : start + TOGETHER, 0] % parts == part) & among[start : start + TOGETHER])
                for start in range(0, len(digests), TOGETHER)
            ]
        )
        here = digests[rows]
        order = np.lexsort((here[:, 0], here[:, 1]))  # equal ones stay in the order of their rows
        here = here[order]
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (here[1:] != here[:-1]).any(axis=1)
        found[rows[order[new]]] = True
    return found


def _mapped(file: Path) -> Any:
    arrow = _arrow()
    try:
        return arrow.ipc.open_file(arrow.memory_map(str(file)))
    except (OSError, arrow.ArrowInvalid) as error:
        raise PotstillError(file, f"is not what was written ({error})", "delete its folder; the next run makes it anew") from error


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise PotstillError("data.texts", "reading so many texts needs the package pyarrow", install("train")) from error
    return pyarrow
