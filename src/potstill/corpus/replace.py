"""Data augmentation by word replacement (TinyBERT): more rows of nearly the same meaning, for the teacher to label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from potstill.corpus.words import replaceable, whole_words
from potstill.errors import PotstillError, shown
from potstill.machine.progress import progress

Row = str | tuple[str, str]
# By word (as written, else in lower case), or by text: then one list of candidates for each word that replaceable() finds in it.
Candidates = Mapping[str, Sequence[str]] | Callable[[str], Sequence[Sequence[str]]]

BLOCK = 256  # words whose similarities to all others are held at once: some 100 MB for a BERT vocabulary


def augment(
    rows: Iterable[Row], candidates: Candidates, *, probability: float = 0.4, copies: int = 20, seed: int
) -> Iterator[tuple[int, Row]]:
    """Yield each row and then its variants, as (number of the row, text or pair).

    A variant replaces each word that has candidates, with `probability`, by one of them. Variants
    that repeat the row or an earlier variant are dropped, so that a short text gives fewer than
    `copies`. Of a pair, each side gets `copies` variants beside the other side as it was written.
    (TinyBERT's published code varies the second side beside the last variant of the first.) Stop
    words, numbers and words without candidates stay, and so do white space, signs and capitals.
    The variants of a row depend on (seed, its number) alone, and a larger `copies` only adds some.
    Source: Jiao et al. 2020, TinyBERT, section 3.2 and algorithm 1.

    Args:
        rows: texts or pairs.
        candidates: what may replace a word; see Candidates.
        probability: that a word with candidates is replaced.
        copies: variants of a text at most.
        seed: of the draws.

    Raises:
        PotstillError: a row is neither a text nor a pair of texts.
    """
    for number, row in enumerate(rows):
        yield number, row
        if isinstance(row, str):
            yield from ((number, text) for text in _variants(row, candidates, probability, copies, [seed, number]))
        elif isinstance(row, tuple) and len(row) == 2 and all(isinstance(side, str) for side in row):
            first, second = row
            yield from ((number, (text, second)) for text in _variants(first, candidates, probability, copies, [seed, number, 1]))
            yield from ((number, (first, text)) for text in _variants(second, candidates, probability, copies, [seed, number, 2]))
        else:
            raise PotstillError(
                f"row {number + 1}", f"{shown(row)} is no text and no pair: its words cannot be replaced", "leave augmentation out"
            )


def _variants(text: str, candidates: Candidates, probability: float, copies: int, seed: list[int]) -> Iterator[str]:
    spans = replaceable(text)
    if isinstance(candidates, Mapping):
        words = [text[start:end] for start, end in spans]
        choices = [candidates.get(word) or candidates.get(word.lower()) or () for word in words]
    else:
        choices = list(candidates(text))
    # The same text may come with another number of words only by a mistake of the caller.
    slots = [(span, choice) for span, choice in zip(spans, choices, strict=True) if len(choice)]
    if not slots:
        return
    chances = np.random.default_rng(seed).random((copies, len(slots), 2))
    seen = {text}
    for chance in chances:
        pieces, done = [], 0
        for ((start, end), choice), (change, which) in zip(slots, chance):
            if change < probability:
                pieces += [text[done:start], _cased(choice[int(which * len(choice))], text[start:end])]
                done = end
        variant = "".join([*pieces, text[done:]])
        if variant not in seen:
            seen.add(variant)
            yield variant


def _cased(word: str, like: str) -> str:
    """`word` with the capitals of the word that it replaces, because a cased model reads them."""
    if like.isupper() and len(like) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if like[0].isupper() else word


def embedding_neighbours(table: np.ndarray, pieces: Sequence[str], k: int = 15, title: str = "") -> dict[str, list[str]]:
    """The nearest neighbours of each whole word of a vocabulary, by the cosine of their embeddings.

    A word of several pieces has no embedding in the table, and so no neighbours.

    Args:
        table: (V, d) word embeddings of a model.
        pieces: the V pieces of its vocabulary, in order.
        k: neighbours of a word; a word has fewer where the vocabulary has fewer words.
        title: what the progress bar says.

    Returns:
        Word → its neighbours, the nearest first.
    """
    words = whole_words(pieces)
    numbers, names = np.array(list(words), dtype=np.int64), list(words.values())
    vectors = np.asarray(table, dtype=np.float32)[numbers]  # (words, d)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    # The word itself, and room for itself in other capitals (dog, Dog, DOG), which would replace nothing.
    reach = min(k + 3, len(names))
    neighbours: dict[str, list[str]] = {}
    with progress(title, len(names), "words") as advance:
        for start in range(0, len(names), BLOCK):
            near = vectors[start : start + BLOCK] @ vectors.T  # (block, words)
            best = np.argpartition(near, -reach, axis=1)[:, -reach:]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(near, best, axis=1), axis=1, kind="stable"), axis=1)
            for word, row in zip(names[start : start + BLOCK], best):
                others = [names[number] for number in row if names[number].lower() != word.lower()]
                neighbours[word] = others[:k]
            advance(len(best))
    return neighbours
