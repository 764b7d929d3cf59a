from __future__ import annotations

import pytest

from potstill.data.edits import EDITS, OPPOSITE


@pytest.mark.parametrize(
    ("kind", "text", "edited"),
    [
        ("negation", "a man is playing a guitar .", "a man is not playing a guitar ."),  # behind the auxiliary verb
        ("negation", "The bulb is not lit.", "The bulb is lit."),  # the only negation is taken out
        ("negation", "It isn't and is not there.", None),  # negated twice
        ("negation", "nobody is here", None),  # negated by another word
        ("negation", "it doesn ' t burn and it is warm", None),  # as tokenisers write it
        ("negation", "man hits ball", None),  # no auxiliary verb
        ("number", "gunman kills 6 in 2012", "gunman kills 9 in 2012"),  # the first of two
        ("number", "terminals 1 and 4", "terminals 5 and 4"),  # the next number but two is there already
        ("number", "in 1998 they won", "in 1991 they won"),  # the last digit goes round
        ("number", "9 cats", "3 cats"),  # one digit goes round to no 0
        ("number", "Two dogs run", "Five dogs run"),  # a word, with its capital letter
        ("number", "a rise of 2.5 at 10:30", None),  # parts of numbers and of times
        ("number", "someone runs", None),  # no number
        ("order", "The man is playing a guitar.", "a guitar is playing The man."),  # two phrases
        ("order", "a small dog chases the old red ball", "the old red ball chases a small dog"),  # longer ones, a verb between them
        ("order", "a man and a woman run", None),  # the same in either order
        ("order", "a black and white dog sees the cat", None),  # the phrase goes on behind `and`
        ("order", "a dog bites a dog", None),  # twice the same
        ("order", "dogs run", None),  # no phrases
        ("word", "Men are cooking", "Women are cooking"),  # with its capital letter
        ("word", "share prices rose before they fell", "share prices fell before they fell"),  # the first one alone
        ("word", "someone slices bread", None),  # no word with an opposite
    ],
)
def test_one_thing_is_changed(kind: str, text: str, edited: str | None) -> None:
    assert EDITS[kind](text) == edited


@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("text", ["", " ", "the", "a an the", "12", "not", "٣ is the 😀", "is " * 5])
def test_any_text_is_edited_or_left(kind: str, text: str) -> None:
    edited = EDITS[kind](text)
    assert edited is None or edited != text


def test_no_word_is_its_own_opposite() -> None:
    assert all(word != other and OPPOSITE[other] for word, other in OPPOSITE.items())
