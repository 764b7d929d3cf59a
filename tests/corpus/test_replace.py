from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from potstill.corpus.replace import augment, embedding_neighbours
from potstill.errors import PotstillError

NEAR = {"river": ["stream", "brook", "creek"], "village": ["town", "hamlet"], "old": ["ancient"], "Paris": ["London"]}


def test_the_row_comes_first_then_new_unique_variants():
    rows = list(augment(["The old river, near the village."], NEAR, seed=3))
    assert rows[0] == (0, "The old river, near the village.")
    texts = [text for _, text in rows]
    assert len(set(texts)) == len(texts) and 5 < len(texts) <= 21
    for text in texts:
        words = text.split(" ")
        assert words[0] == "The" and words[3:5] == ["near", "the"]
        assert (
            words[1] in ["old", *NEAR["old"]]
            and words[2][:-1] in ["river", *NEAR["river"]]
            and words[5][:-1] in ["village", *NEAR["village"]]
        )
        assert words[2][-1] == "," and words[5][-1] == "."


def test_a_text_with_few_variants_gives_each_once():
    assert [text for _, text in augment(["old"], NEAR, copies=50, seed=0)] == ["old", "ancient"]


def test_words_without_candidates_numbers_and_stop_words_stay():
    near = {"the": ["a"], "not": ["yes"], "7": ["8"], "x": ["y"], "sea": []}
    assert list(augment(["the sea is not 7 x far", ""], near, probability=1.0, seed=0)) == [(0, "the sea is not 7 x far"), (1, "")]


def test_capitals_follow_the_word_replaced():
    near = {"river": ["stream"], "Paris": ["London"], "paris": ["berlin"]}
    assert [text for _, text in augment(["River RIVER river Paris"], near, probability=1.0, copies=1, seed=0)][
        1
    ] == "Stream STREAM stream London"


def test_each_word_is_replaced_with_the_probability_by_any_of_its_candidates():
    words = "river village bridge stone water mill road hill tree field".split()
    near = {word: [f"{word}{number}" for number in range(50)] for word in words}  # so many that no variant repeats
    texts = [text.split() for _, text in islice(augment([" ".join(words)], near, copies=2000, seed=5), 1, None)]
    changed = [new for text in texts for new, word in zip(text, words) if new != word]
    assert len(changed) / (10 * 2000) == pytest.approx(0.4, abs=0.02)
    assert set(changed) == {new for choice in near.values() for new in choice}


def test_each_side_of_a_pair_is_varied_beside_the_other_as_written():
    first, second = "the old river", "a village"
    rows = [row for _, row in augment([(first, second)], NEAR, copies=30, seed=1)]
    assert rows[0] == (first, second) and len(set(rows)) == len(rows)
    assert all((a == first) != (b == second) for a, b in rows[1:])
    assert any(a != first for a, _ in rows) and {b for _, b in rows} == {"a village", "a town", "a hamlet"}


def test_sides_are_varied_independently():
    text = "river village old"
    rows = [row for _, row in augment([(text, text)], NEAR, copies=5, seed=1)]
    assert [a for a, b in rows if a != text] != [b for a, b in rows if b != text]


def test_variants_depend_on_the_seed_and_the_number_of_the_row_alone():
    text = "the old river by the village"
    rows = list(augment([text, text], NEAR, seed=4))
    assert rows == list(augment([text, text], NEAR, seed=4))
    by_row = [[variant for number, variant in rows if number == row] for row in (0, 1)]
    assert by_row[0] != by_row[1]
    assert by_row[1] == [variant for number, variant in augment(["else", text], NEAR, seed=4) if number == 1]
    assert rows != list(augment([text, text], NEAR, seed=5))
    few = [variant for _, variant in augment([text], NEAR, copies=3, seed=4)]
    assert by_row[0][: len(few)] == few


def test_rows_are_streamed():
    def endless():
        while True:
            yield "old river"

    assert next(augment(endless(), NEAR, seed=0)) == (0, "old river")


def test_candidates_of_a_sentence_are_taken_word_by_word():
    def likeliest(text: str) -> list[list[str]]:
        return {"the river river": [["sea"], []]}[text]

    assert [text for _, text in augment(["the river river"], likeliest, probability=1.0, seed=0)] == ["the river river", "the sea river"]


def test_rows_of_words_are_refused():
    with pytest.raises(PotstillError, match=r"row 2: \['a', 'b'\] is no text and no pair"):
        list(augment(["a", ["a", "b"]], NEAR, seed=0))


def test_neighbours_are_the_nearest_by_cosine_against_loops():
    rng = np.random.default_rng(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["[PAD]", "##ing", "the", "7"] + [f"{a}{b}" for a in letters for b in letters if f"{a}{b}" not in ("am", "an")]
    table = rng.normal(size=(len(pieces), 8))
    table[:4] = 0
    found = embedding_neighbours(table, pieces, k=5)
    words = list(found)
    assert len(words) > 600 and not {"the", "##ing", "[PAD]", "7"} & set(words)
    unit = {piece: row / np.linalg.norm(row) for piece, row in zip(pieces[4:], table[4:])}
    for word in words[::37]:
        expected = sorted((other for other in words if other != word), key=lambda other: -float(unit[word] @ unit[other]))[:5]
        assert found[word] == expected


def test_neighbours_leave_out_the_word_in_other_capitals():
    table = np.array([[1.0, 0], [1, 0.01], [1, 0.02], [0.9, 0.5], [0, 1]])
    found = embedding_neighbours(table, ["dog", "Dog", "DOG", "cat", "sun"], k=2)
    assert found["Dog"] == ["cat", "sun"] and found["sun"] == ["cat", "DOG"]


def test_neighbours_of_a_vocabulary_without_words():
    assert embedding_neighbours(np.zeros((2, 3)), ["[PAD]", "##a"]) == {}
    assert embedding_neighbours(np.ones((1, 3)), ["dog"]) == {"dog": []}
