from __future__ import annotations

import pytest

from potstill.tasks.labelled.entities import EntityCounts, count_entities, entities


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("", []),  # no words
        ("O O", []),  # no entity
        ("B-a", [("a", 0, 1)]),  # one word
        ("O B-a I-a I-a O", [("a", 1, 4)]),  # several words
        ("B-a B-a I-a", [("a", 0, 1), ("a", 1, 3)]),  # one right behind another
        ("B-a I-a B-b", [("a", 0, 2), ("b", 2, 3)]),  # of another type right behind
        # From here on an I- without a B- begins an entity.
        ("I-a I-a", [("a", 0, 2)]),  # at the start
        ("O I-a O I-a", [("a", 1, 2), ("a", 3, 4)]),  # after O
        ("B-a I-b I-b", [("a", 0, 1), ("b", 1, 3)]),  # after another type
        ("I-a B-a", [("a", 0, 1), ("a", 1, 2)]),  # before a B- of its type
        ("B-x-y I-x-y", [("x-y", 0, 2)]),  # a type with a hyphen
    ],
)
def test_entities(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert [tuple(entity) for entity in entities(tags.split())] == found


def test_an_entity_counts_only_when_words_and_type_are_right() -> None:
    gold = "B-per I-per O B-loc O B-org"
    assert count_entities(gold.split(), gold.split()) == EntityCounts(3, 3, 3)
    assert count_entities(gold.split(), "B-per O O B-org O I-org".split()) == EntityCounts(3, 3, 1)
    assert count_entities(gold.split(), "O O O O O O".split()) == EntityCounts(3, 0, 0)


def test_scores_by_hand() -> None:
    counts = EntityCounts(4, 5, 2) + EntityCounts(0, 1, 0)  # 2 right of 6 named and 4 there
    assert counts.precision == pytest.approx(100 / 3)
    assert counts.recall == 50
    assert counts.f1 == pytest.approx(100 * 2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))
    empty = EntityCounts()
    assert (empty.precision, empty.recall, empty.f1) == (0, 0, 0)


def test_words_that_the_model_did_not_see() -> None:
    assert count_entities("B-a O B-b I-b".split(), "B-a O B-b".split()) == EntityCounts(2, 2, 1)
