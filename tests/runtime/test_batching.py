from __future__ import annotations

import numpy as np
import pytest

from potstill.runtime.batching import length_batches


def test_every_row_is_in_one_batch_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 129, 1000)
    batches = length_batches(lengths, 512, max_rows=40)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert all(len(rows) * lengths[rows].max() <= 512 and len(rows) <= 40 for rows in batches)
    assert [lengths[rows].max() for rows in batches] == sorted((lengths[rows].max() for rows in batches), reverse=True)


def test_hand_sized():
    # width 5 leaves room for two rows of ten tokens, width 2 for the rest
    batches = length_batches([2, 5, 2, 4, 2, 0], 10)
    assert [rows.tolist() for rows in batches] == [[1, 3], [0, 2, 4, 5]]


def test_a_row_above_the_budget_goes_alone():
    assert [rows.tolist() for rows in length_batches([3, 50, 2], 6)] == [[1], [0, 2]]


def test_nothing_gives_nothing():
    assert length_batches([], 10) == []


@pytest.mark.parametrize(
    ("tokens", "rows"),
    [
        (0, 1),  # no token
        (1, 0),  # no row
    ],
)
def test_bounds_are_checked(tokens, rows):
    with pytest.raises(ValueError, match="at least 1"):
        length_batches([1], tokens, rows)
