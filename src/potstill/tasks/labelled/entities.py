"""How many of the entities in tags a model finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.runtime.entities import entities


@dataclass(frozen=True)
class EntityCounts:
    """Counts of entities, of all types together.

    Attributes:
        gold: entities in the data.
        predicted: entities that the model predicts.
        right: predicted ones with the words and the type of one in the data.
    """

    gold: int = 0
    predicted: int = 0
    right: int = 0

    def __add__(self, other: EntityCounts) -> EntityCounts:
        return EntityCounts(self.gold + other.gold, self.predicted + other.predicted, self.right + other.right)

    @property
    def precision(self) -> float:
        """Right of the predicted entities, ×100; 0 where nothing is predicted."""
        return 100 * self.right / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Right of the entities in the data, ×100; 0 where the data has none."""
        return 100 * self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall, ×100; 0 where nothing is right."""
        return 200 * self.right / (self.gold + self.predicted) if self.right else 0.0


def count_entities(gold: Sequence[str], predicted: Sequence[str]) -> EntityCounts:
    """The counts of one sentence.

    Args:
        gold: a tag for each word.
        predicted: likewise; words at the end may lack one, and are then in no predicted entity.
    """
    known, named = set(entities(gold)), set(entities(predicted))
    return EntityCounts(len(known), len(named), len(known & named))
