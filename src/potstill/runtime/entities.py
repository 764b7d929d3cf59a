"""Entities out of BIO tags: their words, and their characters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from potstill.registry import OUTSIDE

TAG = re.compile(rf"{OUTSIDE}|[BI]-\S+")


class Entity(NamedTuple):
    """An entity of a sentence.

    Attributes:
        kind: its type, what stands behind B- or I-.
        start: the number of its first word, from 0.
        end: the number of the word behind its last one.
    """

    kind: str
    start: int
    end: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sentence, as the script conlleval reads BIO tags.

    An I-x that follows no x (at the start of the sentence, after O, or after another type) begins an
    entity as B-x does. Source: conlleval, of the shared tasks CoNLL-2000 and CoNLL-2003.
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


def has_entities(labels: Sequence[str]) -> bool:
    """Whether a tagger's labels are O, B-x and I-x: of others, such as parts of speech, nothing says which words are one entity."""
    return all(TAG.fullmatch(label) for label in labels)
