"""Texts, pairs and words of texts as token ids, and a batch of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from potstill.errors import PotstillError
from potstill.runtime.tokens import CHUNK, TokenizedTexts, by_word, load_tokenizer, suited, tokenize


@pytest.fixture
def tokenizer() -> Tokenizer:
    """[CLS] words [SEP]; the id of word `w<n>` is n + 4."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **{f"w{n}": n + 4 for n in range(50)}}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[CLS]", 2), ("[SEP]", 3)]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special)
    return made


def test_texts_are_flat_truncated_and_keep_special_tokens(tokenizer: Tokenizer) -> None:
    texts = tokenize(tokenizer, ["w0 w1", "", "w2 w3 w4 w5 w6", "nowhere"], max_length=5)
    assert texts.ids.dtype == np.int32
    assert texts.ids.tolist() == [2, 4, 5, 3, 2, 3, 2, 6, 7, 8, 3, 2, 1, 3]
    assert texts.offsets.tolist() == [0, 4, 6, 11, 14]
    assert texts.lengths.tolist() == [4, 2, 5, 3]
    assert (len(texts), texts.types, texts.words) == (4, None, None)


def test_of_a_pair_the_longer_side_is_cut(tokenizer: Tokenizer) -> None:
    texts = tokenize(tokenizer, [("w0", "w1 w2 w3 w4"), "w5"], max_length=6)
    assert texts.ids.tolist() == [2, 4, 3, 5, 6, 3, 2, 9, 3]
    assert texts.types is not None and texts.types.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert texts.pad([1, 0], pad_id=0)["token_type_ids"].tolist() == [[0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]]


def test_the_first_token_of_a_word_has_its_number(tokenizer: Tokenizer) -> None:
    texts = tokenize(tokenizer, [["w0,w1", "w2"], []], max_length=8)  # the first word is three tokens
    assert texts.ids.tolist() == [2, 4, 1, 5, 6, 3, 2, 3]
    assert texts.words is not None and texts.words.tolist() == [-1, 0, -1, -1, 1, -1, -1, -1]


def test_the_tokenizer_stays_as_it_was(tokenizer: Tokenizer) -> None:
    tokenizer.enable_padding(length=8)
    tokenizer.enable_truncation(6)
    before = tokenizer.to_str()
    assert tokenize(tokenizer, ["w0 w1 w2 w3 w4 w5 w6"], max_length=4).lengths.tolist() == [4]
    assert tokenizer.to_str() == before


def test_many_texts_in_order_and_nothing(tokenizer: Tokenizer) -> None:
    count = 2 * CHUNK + 5
    texts = tokenize(tokenizer, [f"w{n % 50}" for n in range(count)], max_length=8)
    assert texts.ids[1::3].tolist() == [n % 50 + 4 for n in range(count)]
    assert len(tokenize(tokenizer, [], max_length=8)) == 0


@pytest.mark.parametrize(
    ("text", "max_length", "least"),
    [
        ("w0", 2, 3),  # two special tokens and a word
        (("w0", "w1"), 4, 5),  # three special tokens and a word on either side
    ],
)
def test_a_length_that_holds_no_word_is_refused(tokenizer: Tokenizer, text: str, max_length: int, least: int) -> None:
    with pytest.raises(PotstillError, match=f"{max_length} leaves no room .* choose at least {least}"):
        tokenize(tokenizer, [text], max_length)
    assert tokenize(tokenizer, [text], least).lengths.tolist() == [least]


def test_pad_by_hand() -> None:
    texts = TokenizedTexts(np.arange(10, 20, dtype=np.int32), np.array([0, 2, 2, 7, 10]))
    batch = texts.pad([3, 0, 1], pad_id=9)
    assert batch["input_ids"].tolist() == [[17, 18, 19], [10, 11, 9], [9, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    assert texts.pad([1], pad_id=9)["input_ids"].tolist() == [[9]], "a text of no tokens takes a column"


def test_values_of_words() -> None:
    words = np.array([-1, 0, -1, 2, -1], dtype=np.int32)  # word 1 has no token
    found = by_word(words, np.arange(12, dtype=np.float32).reshape(6, 2))
    assert found.tolist() == [[2, 3], [0, 0], [6, 7]]


def test_a_file_is_loaded_with_its_own_limits(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = load_tokenizer(tmp_path / "tokenizer.json", 4)
    assert loaded.encode("w0 w1 w2").ids == [2, 4, 5, 3] and loaded.encode("").ids == [2, 3]


def test_prose_is_split_for_tagging_alone() -> None:
    assert suited(["a b", ["c"]], "tagging") == [["a", "b"], ["c"]]
    assert suited(["a b", ("c", "d")], "classification") == ["a b", ("c", "d")]
