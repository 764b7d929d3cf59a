"""Which fields are kept: what fits, from the smallest on, where it spares the live teacher a layer."""

from __future__ import annotations

import pytest

from potstill.models.output import LOGITS, Field
from potstill.teacher.budget import kept_fields

LAYERS = 12


def hidden(*layers: int) -> list[Field]:
    return [Field("hidden_states", layer) for layer in layers]


def scores(*layers: int) -> list[Field]:
    return [Field("attention_scores", layer) for layer in layers]


def sizes(fields: list[Field]) -> dict[Field, int]:
    return {field: {"logits": 1, "cls_states": 5, "hidden_states": 100, "attention_scores": 40}[field.name] for field in fields}


def kept(reads: list[Field], budget: float) -> set[Field]:
    return set(kept_fields(sizes(reads), budget, [frozenset(reads)], LAYERS))


@pytest.mark.parametrize(
    ("reads", "budget", "expected"),
    [
        ([LOGITS, *hidden(4, 8, 12)], 301, [LOGITS, *hidden(4, 8, 12)]),  # all of it, to the last byte
        ([LOGITS, *hidden(4, 8, 12)], 300, [LOGITS, *hidden(8, 12)]),  # of equal ones the highest: layer 4 is all that is run live
        ([LOGITS, *hidden(4, 8, 12)], 101, [LOGITS, *hidden(12)]),  # one of the three
        ([LOGITS, *hidden(4)], 1, [LOGITS]),  # the smallest alone
        ([LOGITS, *hidden(4)], 0.9, []),  # not even that
        ([LOGITS, *hidden(4)], 0, []),  # no cache
        ([LOGITS, *scores(10), *hidden(2)], 41, [LOGITS, *scores(10)]),  # by size, whatever the field
        # What fits, but lies where the live teacher comes anyway, would cost a pass and spare nothing.
        ([LOGITS, *hidden(12)], 50, []),  # logits stand at layer 12 too
        ([LOGITS, *scores(2, 6), *hidden(4)], 90, [LOGITS, *scores(6)]),  # scores of layer 2 lie below layer 4
        (hidden(0, 4), 100, hidden(4)),  # one of two: the embedding output is run live
        (hidden(0), 100, hidden(0)),  # the embedding output
        ([], 100, []),  # nothing is read
    ],
)
def test_choice(reads, budget, expected):
    assert kept(reads, budget) == set(expected)


def test_a_stage_that_reads_nothing_bulky_needs_no_live_teacher():
    bulky, small = frozenset([LOGITS, *hidden(12)]), frozenset([LOGITS])
    assert kept_fields(sizes([*bulky]), 50, [bulky, small], LAYERS) == {LOGITS}
    below = frozenset([Field("cls_states", 5)])
    assert kept_fields(sizes([*bulky, *below]), 50, [bulky, below], LAYERS) == below
