"""The plan of a run: every batch, as the seed has it."""

from __future__ import annotations

import copy
import itertools
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from potstill.data.neighbours import Neighbours, grouped
from potstill.errors import PotstillError
from potstill.machine.files import write_aside

WINDOW = 50  # batches that are sorted by length together: more saves little padding and mixes less
TOGETHER = 1 << 18  # rows that are sorted at once, of whole windows
FITS = 1 << 22  # rows of all planned epochs that are held in memory: 32 MB


class Plan(Sequence[np.ndarray]):
    """Every batch of a run, in order, as arrays of row numbers. Epochs are planned when they are reached, from the seed alone.

    Each epoch is planned once when the plan is made, since what it comes to is only known then. Those that have no room in
    memory (FITS) are planned again when they are reached, or lie in files.

    Args:
        epochs: gives an epoch by its number.
        sizes: rows of each batch, of each epoch.

    Attributes:
        sizes: (batches,) rows of each batch.
    """

    def __init__(self, epochs: _Epochs, sizes: Sequence[np.ndarray]) -> None:
        self._epochs = epochs
        self._ends = np.cumsum([len(own) for own in sizes], dtype=np.int64)
        self.sizes = np.concatenate([np.zeros(0, dtype=np.int64), *sizes])
        self._start = 0  # of its first batch among all
        self._rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, number: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, number: slice) -> Plan: ...

    def __getitem__(self, number: int | slice) -> np.ndarray | Plan:
        if isinstance(number, slice):
            chosen = range(len(self))[number]
            if chosen.step != 1:
                raise ValueError("a part of a plan is batches that follow each other")
            part = copy.copy(self)
            part.sizes = self.sizes[chosen.start : chosen.start + len(chosen)]
            part._start += chosen.start
            return part
        place = self._start + range(len(self))[number]
        epoch = int(np.searchsorted(self._ends, place, side="right"))
        batch = self._epochs(epoch).batch(place - int(self._ends[epoch - 1] if epoch else 0))
        return batch if self._rows is None else self._rows[batch]

    def of(self, rows: np.ndarray) -> Plan:
        """The same plan of other rows.

        Args:
            rows: (n,) the number that each row is to have.
        """
        part = copy.copy(self)
        part._rows = rows
        return part


def rows_of_steps(plan: Sequence[np.ndarray], accumulate: int) -> np.ndarray:
    """(steps,) the rows that each step takes.

    Args:
        plan: the batches.
        accumulate: batches of a step; what is left for the last one may be fewer.
    """
    sizes = plan.sizes if isinstance(plan, Plan) else np.array([len(batch) for batch in plan], dtype=np.int64)
    return np.add.reduceat(sizes, np.arange(0, len(sizes), accumulate)) if len(sizes) else sizes


def some_rows(count: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Draw different rows in random order.

    Args:
        count: rows there are. More than FITS are not shuffled, which would take memory and time for each batch.
        wanted: rows that are drawn, or all where there are fewer.
        rng: draws them.

    Returns:
        int64 (min(count, wanted),).
    """
    return rng.permutation(count)[:wanted] if count <= FITS else rng.choice(count, min(count, wanted), replace=False)


def training_plan(
    lengths: np.ndarray | Sequence[int],
    *,
    batch_size: int,
    batch_tokens: int | None,
    epochs: float = math.inf,
    seed: int,
    neighbours: Neighbours | None = None,
    batches: int | None = None,
    place: Path | None = None,
) -> Plan:
    """Every batch of a run, in order, as arrays of row numbers.

    The number of steps is known before the run, and a resumed one skips the batches that are done.
    Epoch e depends on (seed, e) alone: a longer run starts with the batches of a shorter one. An
    epoch's rows are shuffled, sorted by length within windows of WINDOW batches and cut into batches,
    and the batches are shuffled. So batches have little padding, and the rows of a batch differ from
    epoch to epoch.

    With `neighbours` groups of near rows take the place of single rows, for a share of each epoch's
    rows: each row of a shuffled order that is in no group yet takes its nearest ones that are in none.
    A batch then holds some groups of like length, that have nothing else in common. A group may be cut
    where a batch is full.

    Args:
        lengths: (n,) tokens of each text.
        batch_size: the most rows of a batch.
        batch_tokens: the most tokens of a batch with its padding: rows × the longest row. A longer text
            is a batch alone. None: every batch holds `batch_size` rows, and the rows left over at the
            end of an epoch are left out of it. A contrastive loss needs that, since the other rows of
            the batch are its negatives.
        epochs: may be a fraction; of the last epoch that share of its batches is kept.
        seed: of the shuffling.
        neighbours: of the rows; None: all batches are random.
        batches: how many there are to be; default as many as the epochs have.
        place: a folder that belongs to these lengths, where epochs are kept in files that are mapped into memory; only
            without `neighbours`.

    Raises:
        PotstillError: a file in `place` is not what was written; one from machine.files.write_aside comes through.
    """
    made = _Epochs(np.asarray(lengths, dtype=np.int64), batch_size, batch_tokens, seed, neighbours, place)
    sizes: list[np.ndarray] = []
    count = 0
    for epoch in range(math.ceil(epochs)) if batches is None else itertools.count():
        if not len(made.lengths) or (batches is not None and count >= batches):
            break
        own = made(epoch).sizes
        own = own[: math.ceil(len(own) * min(1.0, epochs - epoch))]
        own = own if batches is None else own[: batches - count]
        sizes.append(own)
        count += len(own)
    return Plan(made, sizes)


@dataclass(frozen=True)
class _Epoch:
    """An epoch's rows in their order, where its batches begin in it and end, and the order of the batches."""

    rows: np.ndarray
    starts: np.ndarray
    order: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        return np.diff(self.starts)[self.order]

    def batch(self, number: int) -> np.ndarray:
        place = self.order[number]
        return self.rows[self.starts[place] : self.starts[place + 1]].astype(np.int64, copy=False)


class _Epochs:
    """The epochs of a plan, each made from the seed; in memory those that were made last, as many as FITS, in `place` all."""

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        batch_tokens: int | None,
        seed: int,
        neighbours: Neighbours | None,
        place: Path | None,
    ) -> None:
        self.lengths, self.batch_size, self.batch_tokens = lengths, batch_size, batch_tokens
        self.seed, self.neighbours = seed, neighbours
        self.place = place and place / f"{seed}-{batch_size}-{batch_tokens or 'full'}"
        self.kept: dict[int, _Epoch] = {}

    def __call__(self, number: int) -> _Epoch:
        if number not in self.kept:
            while self.kept and (self.place or (len(self.kept) + 1) * len(self.lengths) > FITS):
                del self.kept[next(iter(self.kept))]
            self.kept[number] = self._mapped(number) if self.place else self._made(number, np.arange(len(self.lengths)))
        return self.kept[number]

    def _made(self, number: int, rows: np.ndarray) -> _Epoch:
        """An epoch out of the numbers of all rows, which are put in order where they are."""
        rng, size, lengths = np.random.default_rng([self.seed, number]), self.batch_size, self.lengths
        rng.shuffle(rows)
        if self.batch_tokens is None:
            rows = rows[: max(len(rows) // size * size, min(len(rows), size))]
        if self.neighbours is None:
            _sort(rows, lengths, WINDOW * size)
        else:
            rows = _arranged(rows, lengths, size, self.neighbours, rng)
        starts = _cut(rows, lengths, size, self.batch_tokens or 1 << 62)
        return _Epoch(rows, starts, rng.permutation(len(starts) - 1))

    def _mapped(self, number: int) -> _Epoch:
        """An epoch in files that are mapped into memory.

        Raises:
            PotstillError: they are not what was written.
        """
        assert self.place is not None
        folder, files = self.place / str(number), ("rows.npy", "starts.npy", "order.npy")
        if not folder.is_dir():
            with write_aside(folder) as aside:
                aside.mkdir()
                _write_numbers(aside / files[0], len(self.lengths))
                made = self._made(number, np.asarray(np.load(aside / files[0], mmap_mode="r+")))
                np.save(aside / files[1], made.starts)
                np.save(aside / files[2], made.order)
        try:
            return _Epoch(*(np.asarray(np.load(folder / file, mmap_mode="r")) for file in files))
        except (OSError, ValueError, EOFError) as error:
            raise PotstillError(folder, f"is not what was written ({error})", "delete it; the next run makes it anew") from error


def _write_numbers(file: Path, count: int) -> None:
    """Write the numbers from 0 as numpy's file of int32, some at a time. A file that is only reserved would fail where no error is."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros(0, dtype=np.int32)) | {"shape": (count,)}
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for start in range(0, count, TOGETHER):
            stream.write(np.arange(start, min(count, start + TOGETHER), dtype=np.int32).tobytes())


def _arranged(order: np.ndarray, lengths: np.ndarray, batch_size: int, neighbours: Neighbours, rng: np.random.Generator) -> np.ndarray:
    """`order` as it is cut into batches: first what is put into groups of neighbours, then the rest, each sorted by length in windows."""
    window = WINDOW * batch_size
    # Whole batches, so that no batch is of both kinds.
    count = len(order) if neighbours.share == 1 else min(len(order), round(neighbours.share * len(order) / batch_size) * batch_size)
    groups = grouped(order[:count], neighbours)
    groups = [groups[number] for number in rng.permutation(len(groups))]  # those that were made last have few rows
    ends = np.cumsum([len(group) for group in groups], dtype=np.int64)
    longest = np.array([lengths[group].max() for group in groups], dtype=np.int64)
    near = [groups[number] for number in _by_length(longest, np.concatenate([[0], ends[:-1]]) if groups else ends, window)]
    rest = order[count:]
    _sort(rest, lengths, window)
    return np.concatenate([*near, rest])


def _sort(order: np.ndarray, lengths: np.ndarray, window: int) -> None:
    """Sort rows by length inside each window, in place and some windows at a time."""
    several = window * max(1, TOGETHER // window)
    for start in range(0, len(order), several):
        part = order[start : start + several]
        part[:] = part[_by_length(lengths[part], np.arange(start, start + len(part)), window)]


def _by_length(lengths: np.ndarray, places: np.ndarray, window: int) -> np.ndarray:
    """Positions sorted by length inside each window of places, ascending and descending in turn.

    In turn, because a batch that spans two windows then has similar lengths on both sides.
    """
    number = places // window
    key = np.where(number % 2, -lengths, lengths)
    return np.lexsort((key, number))


def _cut(order: np.ndarray, lengths: np.ndarray, batch_size: int, batch_tokens: int) -> np.ndarray:
    """Where pieces of at most `batch_size` rows and `batch_tokens` padded tokens begin in `order`, and where the last one ends."""
    counts = np.arange(1, batch_size + 1)
    starts = array("q", [0])
    read, sorted_lengths = 0, lengths[order[:TOGETHER]]
    while (start := starts[-1]) < len(order):
        if start + batch_size > read + len(sorted_lengths) < len(order):
            read, sorted_lengths = start, lengths[order[start : start + batch_size + TOGETHER]]
        ahead = sorted_lengths[start - read : start - read + batch_size]
        padded = np.maximum.accumulate(ahead) * counts[: len(ahead)]
        starts.append(start + max(1, int(np.searchsorted(padded, batch_tokens, side="right"))))
    # One row alone at the end has no matrix of similarities: let the batch before it give it one, or take it in.
    if len(starts) > 2 and starts[-1] - starts[-2] == 1 < batch_size and 2 * lengths[order[-2:]].max() <= batch_tokens:
        if starts[-2] - starts[-3] > 2:
            starts[-2] -= 1
        else:
            del starts[-2]
    return np.array(starts, dtype=np.int64)
