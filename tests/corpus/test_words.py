from __future__ import annotations

import pytest

from potstill.corpus.words import STOP_WORDS, replaceable, whole_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The river, near a Village.", ["river", "Village"]),  # stop words and signs stay
        ("I don't think it's the dog's tail", ["think", "dog", "tail"]),  # contractions stay, the owner of something may go
        ("they didn 't agree and weren’t asked", ["agree", "asked"]),  # a contraction that a tokenizer split
        # Words between hyphens may go, with digits or underscores not.
        ("a well-known B2B snake_case x 'quoted' word", ["well", "known", "quoted", "word"]),
        ("Not 3rd, 4th nor 1,000 euros", ["euros"]),  # ordinals and numbers stay
        ("Größe und naïve", ["Größe", "und", "naïve"]),  # letters beyond ASCII
        ("", []),  # no text
    ],
)
def test_replaceable_words(text, words):
    assert [text[start:end] for start, end in replaceable(text)] == words


def test_negation_is_never_replaced():
    assert {"no", "not", "never", "nothing", "without"} <= STOP_WORDS
    assert all(word == word.lower() and word.isalpha() for word in STOP_WORDS)


def test_whole_words_of_each_kind_of_vocabulary():
    assert whole_words(["[PAD]", "river", "##ing", "the", "7", "x", "Paris", "!", "[unused1]"]) == {1: "river", 6: "Paris"}
    assert whole_words(["<s>", "Ġriver", "ing", "Ġthe", "Ġ", "Ġcaf", "ĠÃł"]) == {1: "river", 5: "caf"}
    assert whole_words(["<s>", "▁river", "ing", "▁größe", "▁1"]) == {1: "river", 3: "größe"}
    assert whole_words(["[CLS]", "river", "sea"]) == {1: "river", 2: "sea"}
    assert whole_words([]) == {}
    assert whole_words(["<s>", "Ġriver", "##", "Ġsea", None]) == {1: "river", 3: "sea"}  # a piece as of Markdown; a number without one
