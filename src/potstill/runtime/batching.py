"""Which texts are run through the model together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_ROWS = 1024  # of a batch


def length_batches(lengths: Sequence[int] | NDArray[np.integer], batch_tokens: int, max_rows: int = MAX_ROWS) -> list[NDArray[np.int64]]:
    """Group rows of like length, so that little of a batch is padding.

    The longest rows come first. So the largest batch asks for its memory at the start, and the time left that a
    progress bar shows is too long at first, never too short.

    Args:
        lengths: tokens of each row.
        batch_tokens: bound on rows × longest row, the padded size; a row that is longer than
            that makes a batch of its own.
        max_rows: bound on the rows of a batch.

    Returns:
        Row numbers of each batch; every row is in exactly one. Rows of equal length keep their order.

    Raises:
        ValueError: a bound is below 1.
    """
    if batch_tokens < 1 or max_rows < 1:
        raise ValueError(f"batch_tokens and max_rows must be at least 1, got {batch_tokens} and {max_rows}")
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        # The first row of a batch is its longest, and so its padded width; an empty text still takes a place.
        width = max(int(sizes[order[start]]), 1)
        rows = min(max(batch_tokens // width, 1), max_rows)
        batches.append(order[start : start + rows])
        start += rows
    return batches
