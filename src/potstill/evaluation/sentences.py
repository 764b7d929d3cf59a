"""Sentences to time a model on: the same on every machine, in no benchmark, of mixed length."""

from __future__ import annotations

import random

_NOUNS = (
    "river engine letter window village doctor market garden teacher mountain picture winter island kitchen museum station "
    "company question neighbour computer harbour forest newspaper bridge summer musician government temperature experiment "
    "passenger library carpenter hospital telescope satellite vegetable orchestra refrigerator encyclopedia photosynthesis"
)
_VERBS = (
    "carries follows describes repairs opens crosses watches remembers replaces measures supports visits explains collects "
    "improves reaches protects announces investigates underestimates"
)
_DESCRIPTIONS = (
    "old small quiet northern bright heavy famous wooden early careful distant empty local expensive modern narrow "
    "unexpected comfortable semiconducting waterproof"
)
_LINKS = "while because although after before and but where"

# Words a sentence: the median and the spread (of the logarithm) of running prose, within what short and long texts reach.
_MEDIAN_LOG, _SPREAD, _FEWEST, _MOST = 2.6, 0.6, 3, 80


def mixed_sentences(count: int, seed: int = 0) -> list[str]:
    """`count` English-looking sentences of 3 to 80 words, median 13; a longer list begins with the shorter one's."""
    draw = random.Random(seed)
    return [_sentence(draw, min(max(round(draw.lognormvariate(_MEDIAN_LOG, _SPREAD)), _FEWEST), _MOST)) for _ in range(count)]


def _sentence(draw: random.Random, words: int) -> str:
    nouns, verbs, descriptions, links = _NOUNS.split(), _VERBS.split(), _DESCRIPTIONS.split(), _LINKS.split()
    parts: list[str] = []
    while len(parts) < words:
        clause = ["the", draw.choice(descriptions), draw.choice(nouns), draw.choice(verbs), "a", draw.choice(nouns)]
        parts += [draw.choice(links), *clause] if parts else clause
    return " ".join(parts[:words]).capitalize() + "."
