"""The share of tokens that a vocabulary does not know, for each kind of tokenizer."""

from __future__ import annotations

import json
import warnings

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from potstill.corpus.coverage import warn_of_unknown

WORDS = [f"{mark}{word}" for word in ("the", "river") for mark in ("", "▁")]
KINDS = {
    "WordPiece": models.WordPiece({piece: number for number, piece in enumerate(["?", "the", "river"])}, unk_token="?"),
    "WordLevel": models.WordLevel({piece: number for number, piece in enumerate(["?", "the", "river"])}, unk_token="?"),
    # By the number of its unknown piece; tokens of that number are written as the text has them.
    "Unigram": models.Unigram([("?", 0.0), *((word, -1.0) for word in WORDS)], unk_id=0),
}


def content(model: models.Model, splitter: pre_tokenizers.PreTokenizer) -> dict:
    made = Tokenizer(model)
    made.pre_tokenizer = splitter
    made.enable_padding(length=64)
    return json.loads(made.to_str())


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_words_are_told(kind: str) -> None:
    tokenizer = content(KINDS[kind], pre_tokenizers.WhitespaceSplit())
    with pytest.warns(UserWarning, match=r"here: 25.0% of the texts' tokens are \?, as in 'the река'"):
        assert warn_of_unknown(tokenizer, ["the river", "the река"], "here") == 0.25
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of_unknown(tokenizer, ["the river"], "here") == 0
        assert warn_of_unknown(tokenizer, [], "here") == 0


def test_bytes_know_everything() -> None:
    alphabet = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    assert warn_of_unknown(content(models.BPE(alphabet, []), pre_tokenizers.ByteLevel()), ["река"], "here") == 0
