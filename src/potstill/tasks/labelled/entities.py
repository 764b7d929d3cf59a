"""Entities out of BIO tags, and how many of them a model found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from potstill.data.labelled import OUTSIDE


class Entity(NamedTuple):
    """Words `start` to `end` (exclusive) of a sentence, of one type."""

    kind: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence, as conlleval reads BIO.

    An I-x that follows no x (the start of the sentence, O, or another type) begins an entity, as
    B-x does. Source: the CoNLL-2000 and 2003 shared tasks' script.
    """
    found: list[Entity] = []
    start = 0
    previous = OUTSIDE
    for position, tag in enumerate([*tags, OUTSIDE]):
        goes_on = tag.startswith("I-") and previous != OUTSIDE and previous[2:] == tag[2:]
        if not goes_on:
            if previous != OUTSIDE:
                found.append(Entity(previous[2:], start, position))
            start = position
        previous = tag
    return found


@dataclass(frozen=True)
class EntityCounts:
    """How many entities the data holds, the model names, and both have with the same words and type.

    Precision, recall and F1 are ×100 over all entities of all types together; 0 where nothing is
    there to be found or was named.
    """

    gold: int = 0
    predicted: int = 0
    right: int = 0

    def __add__(self, other: EntityCounts) -> EntityCounts:
        return EntityCounts(self.gold + other.gold, self.predicted + other.predicted, self.right + other.right)

    @property
    def precision(self) -> float:
        return 100 * self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return 100 * self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        return 200 * self.right / (self.gold + self.predicted) if self.right else 0.0


def count_entities(gold: Sequence[str], predicted: Sequence[str]) -> EntityCounts:
    """Counts of one sentence; words at its end for which the model gave no tag hold no entity."""
    known, named = set(entities(gold)), set(entities(predicted))
    return EntityCounts(len(known), len(named), len(known & named))
