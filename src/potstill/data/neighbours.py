"""Which texts of a training set are near each other by their vectors, among those of like length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from potstill.machine.progress import progress

LIKE = 1.25  # times as long: a batch of neighbours is padded to its longest text
RANGE = 16_384  # texts that each is compared with, at most: of 230,000 texts the nearest are found in minutes
ROWS = 512  # compared together: 34 MB of cosines
CANDIDATES = 4  # times as many neighbours as a group has: in each epoch some are in other groups already


@dataclass(frozen=True)
class Neighbours:
    """Near rows, and how batches are made of them.

    Attributes:
        near: (n, k) numbers of the rows near each row, the nearest first; its own number where there are no more.
        group: rows of a group, at most.
        share: part of each epoch's rows that is put into groups.
    """

    near: np.ndarray
    group: int
    share: float


def near_rows(vectors: Callable[[np.ndarray], np.ndarray], lengths: np.ndarray, count: int) -> np.ndarray:
    """Find the rows with the highest cosines, among the RANGE rows of most like length that are at most LIKE times as long or short.

    The search is exact there. It takes n · RANGE · d multiplications, and n · d half-precision numbers of memory.

    Args:
        vectors: (b,) numbers of rows → (b, d) their vectors.
        lengths: (n,) tokens of each row.
        count: of near rows, k.

    Returns:
        int32 (n, k), as Neighbours.near.
    """
    order = np.argsort(lengths, kind="stable")
    sorted_lengths = lengths[order]
    near = np.repeat(np.arange(len(lengths), dtype=np.int32)[:, None], count, axis=1)
    with progress("vectors", len(order)) as advance:
        blocks = []
        for start in range(0, len(order), ROWS):
            block = np.asarray(vectors(order[start : start + ROWS]), dtype=np.float32)
            norms = np.linalg.norm(block, axis=1, keepdims=True)
            blocks.append((block / np.where(norms > 0, norms, 1)).astype(np.float16))
            advance(len(block))
    unit = np.concatenate(blocks) if blocks else np.zeros((0, 1), dtype=np.float16)  # (n, d), by length
    with progress("neighbours", len(order)) as advance:
        for start in range(0, len(order), ROWS):
            end = min(start + ROWS, len(order))
            first = max(int(np.searchsorted(sorted_lengths, sorted_lengths[start] / LIKE)), start - RANGE // 2)
            last = min(int(np.searchsorted(sorted_lengths, sorted_lengths[end - 1] * LIKE, side="right")), end + RANGE // 2)
            cosines = unit[start:end].astype(np.float32) @ unit[first:last].astype(np.float32).T  # (b, c)
            own, theirs = sorted_lengths[start:end, None], sorted_lengths[None, first:last]
            cosines[(theirs > LIKE * own) | (own > LIKE * theirs)] = -np.inf
            cosines[np.arange(end - start), np.arange(start, end) - first] = -np.inf
            kept = min(count, last - first)
            found = np.argpartition(cosines, last - first - kept, axis=1)[:, last - first - kept :]  # (b, kept)
            values = np.take_along_axis(cosines, found, axis=1)
            by_cosine = np.lexsort((found, -values), axis=1)
            rows = order[first + np.take_along_axis(found, by_cosine, axis=1)]
            there = np.take_along_axis(values, by_cosine, axis=1) > -np.inf
            near[order[start:end], :kept] = np.where(there, rows, order[start:end, None])
            advance(end - start)
    return near


def grouped(order: np.ndarray, neighbours: Neighbours) -> list[np.ndarray]:
    """Put rows into groups: the first row that is in none, with its nearest ones that are in none, and so on.

    Args:
        order: (m,) numbers of rows, each once.
        neighbours: of all rows.

    Returns:
        Groups of 1 to `neighbours.group` rows; every row of `order` is in one.
    """
    free = np.zeros(len(neighbours.near), dtype=bool)
    free[order] = True
    groups = []
    for row in order:
        if free[row]:
            free[row] = False
            near = neighbours.near[row]
            members = near[free[near]][: neighbours.group - 1]
            free[members] = False
            groups.append(np.concatenate([[row], members]))
    return groups
