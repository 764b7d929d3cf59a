"""The plan of a run: every batch, made before the run starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from potstill.data.neighbours import Neighbours, grouped

WINDOW = 50  # batches that are sorted by length together: more saves little padding and mixes less


def training_plan(
    lengths: np.ndarray | Sequence[int],
    *,
    batch_size: int,
    batch_tokens: int | None,
    epochs: float,
    seed: int,
    neighbours: Neighbours | None = None,
) -> list[np.ndarray]:
    """Every batch of a run, in order, as arrays of row numbers.

    The whole plan is made first, so that the number of steps is known and a resumed run skips the
    batches that are done. Epoch e depends on (seed, e) alone: a longer run starts with the batches of
    a shorter one. An epoch's rows are shuffled, sorted by length within windows of WINDOW batches and
    cut into batches, and the batches are shuffled. So batches have little padding, and the rows of a
    batch differ from epoch to epoch.

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
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    plan: list[np.ndarray] = []
    if not len(lengths):
        return plan
    for epoch in range(math.ceil(epochs)):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(lengths))
        if batch_tokens is None:
            order = order[: max(len(order) // batch_size * batch_size, min(len(order), batch_size))]
        order = _arranged(order, lengths, batch_size, neighbours, rng)
        batches = _cut(order, lengths, batch_size, batch_tokens or 1 << 62)
        part = min(1.0, epochs - epoch)
        kept = rng.permutation(len(batches))[: math.ceil(len(batches) * part)]
        plan += [batches[number] for number in kept]
    return plan


def _arranged(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, neighbours: Neighbours | None, rng: np.random.Generator
) -> np.ndarray:
    """`order` as it is cut into batches: first what is put into groups of neighbours, then the rest, each sorted by length in windows."""
    window = WINDOW * batch_size
    if neighbours is None:
        return order[_by_length(lengths[order], np.arange(len(order)), window)]
    # Whole batches, so that no batch is of both kinds.
    count = len(order) if neighbours.share == 1 else min(len(order), round(neighbours.share * len(order) / batch_size) * batch_size)
    groups = grouped(order[:count], neighbours)
    groups = [groups[number] for number in rng.permutation(len(groups))]  # those that were made last have few rows
    ends = np.cumsum([len(group) for group in groups], dtype=np.int64)
    longest = np.array([lengths[group].max() for group in groups], dtype=np.int64)
    near = [groups[number] for number in _by_length(longest, np.concatenate([[0], ends[:-1]]) if groups else ends, window)]
    rest = order[count:]
    return np.concatenate([*near, rest[_by_length(lengths[rest], np.arange(len(rest)), window)]])


def _by_length(lengths: np.ndarray, places: np.ndarray, window: int) -> np.ndarray:
    """Positions sorted by length inside each window of places, ascending and descending in turn.

    In turn, because a batch that spans two windows then has similar lengths on both sides.
    """
    number = places // window
    key = np.where(number % 2, -lengths, lengths)
    return np.lexsort((key, number))


def _cut(order: np.ndarray, lengths: np.ndarray, batch_size: int, batch_tokens: int) -> list[np.ndarray]:
    """`order` in pieces of at most `batch_size` rows and `batch_tokens` padded tokens."""
    sorted_lengths = lengths[order]
    counts = np.arange(1, batch_size + 1)
    starts = [0]
    while starts[-1] < len(order):
        ahead = sorted_lengths[starts[-1] : starts[-1] + batch_size]
        padded = np.maximum.accumulate(ahead) * counts[: len(ahead)]
        starts.append(starts[-1] + max(1, int(np.searchsorted(padded, batch_tokens, side="right"))))
    # One row alone at the end has no matrix of similarities: let the batch before it give it one, or take it in.
    if len(starts) > 2 and starts[-1] - starts[-2] == 1 < batch_size and 2 * sorted_lengths[-2:].max() <= batch_tokens:
        if starts[-2] - starts[-3] > 2:
            starts[-2] -= 1
        else:
            del starts[-2]
    return [order[start:end] for start, end in pairwise(starts)]
