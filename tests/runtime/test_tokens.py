"""Texts, pairs and words of texts as token ids, and a batch of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from potstill.errors import PotstillError
from potstill.runtime.tokens import CHUNK, TokenizedTexts, by_word, cut_to, load_tokenizer, places_of_words, suited, tokenize


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


# Whatever transformers' own tokenizer makes of a text is what this package makes of it.

RIVERS = [
    "The river's bank, near São Paulo: 3,000 villagers sang!",
    "x",
    "",
    "  two  spaces \u00a0 and\ttabs ",
    "naïve e\u0301 Ångström 北京 \x00 nul \u200b",
    "a <mask> b [MASK] c zzzproduct, http://x zzzproducts <s> [SEP]",
    "the river and the village " * 9,
]
SPECIALS = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROUND = {"unk": "<unk>", "pad": "<pad>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}


def wordpiece(lower: bool) -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(RIVERS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=list(SPECIALS.values()), show_progress=False))
    numbers = [(token, made.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=numbers)
    return made


def byte_level(prefix: bool, trim: bool = True) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        RIVERS,
        trainers.BpeTrainer(vocab_size=330, special_tokens=list(ROUND.values()), initial_alphabet=alphabet, show_progress=False),
    )
    sep, cls = (("</s>", made.token_to_id("</s>")), ("<s>", made.token_to_id("<s>")))
    made.post_processor = processors.RobertaProcessing(sep, cls, add_prefix_space=prefix, trim_offsets=trim)
    return made


def unigram(scheme: str = "always") -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.train_from_iterator(
        RIVERS, trainers.UnigramTrainer(vocab_size=90, special_tokens=list(ROUND.values()), unk_token="<unk>", show_progress=False)
    )
    numbers = [(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=numbers)
    return made


def published(kind: str, **settings: object) -> PreTrainedTokenizerFast:
    """A tokenizer of a class of transformers' own, over the pieces of `unigram`."""
    pieces = [(piece, score) for piece, score in json.loads(unigram().to_str())["model"]["vocab"]]
    return getattr(transformers, kind)(vocab=pieces, **settings)


def fast(bare: Tokenizer, **settings: object) -> PreTrainedTokenizerFast:
    special = ROUND if bare.token_to_id("<s>") is not None else SPECIALS
    return PreTrainedTokenizerFast(tokenizer_object=bare, **{f"{name}_token": token for name, token in special.items()}, **settings)


def with_tokens(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens(["zzzproduct", "http://x"])
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True, special=True)], special_tokens=True)
    return tokenizer


def padding(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    tokenizer.backend_tokenizer.enable_padding(length=32)
    tokenizer.backend_tokenizer.enable_truncation(5, stride=2, strategy="only_first")
    return tokenizer


FAST: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "WordPiece, cased": lambda: fast(wordpiece(lower=False)),
    "WordPiece, uncased": lambda: fast(wordpiece(lower=True)),
    "bytes": lambda: fast(byte_level(prefix=False)),  # as RoBERTa is published
    "bytes, space before the first word": lambda: fast(byte_level(prefix=True)),
    "bytes, offsets with spaces": lambda: fast(byte_level(prefix=False, trim=False)),
    "Metaspace": lambda: fast(unigram()),
    "Metaspace, bare first word": lambda: fast(unigram("never")),
    "XLM-RoBERTa": lambda: published("XLMRobertaTokenizer"),
    "CamemBERT": lambda: published("CamembertTokenizer"),
    "DeBERTa-v3": lambda: published("DebertaV2Tokenizer"),
    "added tokens": lambda: with_tokens(fast(wordpiece(lower=True))),
    "added tokens, bytes": lambda: with_tokens(fast(byte_level(prefix=False))),
    "added tokens, Metaspace": lambda: with_tokens(fast(unigram())),
    "left padding": lambda: fast(wordpiece(lower=True), padding_side="left"),
    "left truncation": lambda: fast(wordpiece(lower=True), truncation_side="left"),
    "left truncation, bytes": lambda: fast(byte_level(prefix=False), truncation_side="left"),
    "fixed padding": lambda: padding(fast(wordpiece(lower=True))),
    "no padding piece": lambda: PreTrainedTokenizerFast(tokenizer_object=wordpiece(lower=True), unk_token="[UNK]"),
}
LEFT = [name for name in FAST if name.startswith("left truncation")]


@pytest.fixture(params=FAST)
def theirs(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return FAST[request.param]()


def ours(theirs: PreTrainedTokenizerFast, max_length: int) -> Tokenizer:
    side = theirs.truncation_side
    made = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    cut_to(made, max_length, side)
    return made


def rows_of(texts: TokenizedTexts, flat: np.ndarray) -> list[list[int]]:
    return [part.tolist() for part in np.split(flat, texts.offsets[1:-1])]


@pytest.mark.parametrize("max_length", [9, 512])
def test_texts_and_pairs_as_transformers_reads_them(theirs: PreTrainedTokenizerFast, max_length: int) -> None:
    mine = ours(theirs, max_length)
    found = tokenize(mine, RIVERS, max_length)
    assert rows_of(found, found.ids) == [theirs(text, truncation=True, max_length=max_length)["input_ids"] for text in RIVERS]
    pairs = [(first, second) for first, second in zip(RIVERS, RIVERS[2:])]
    found = tokenize(mine, pairs, max_length)
    # As lists, for it takes a pair by itself whose second text is empty for a single text.
    wanted = theirs(*map(list, zip(*pairs)), truncation=True, max_length=max_length, return_token_type_ids=True)
    assert rows_of(found, found.ids) == wanted["input_ids"]
    assert found.types is not None and rows_of(found, found.types) == wanted["token_type_ids"]


@pytest.mark.parametrize("max_length", [9, 512])
def test_words_as_transformers_reads_the_text_that_they_make(theirs: PreTrainedTokenizerFast, max_length: int) -> None:
    words = [text.split(" ") for text in RIVERS] + [["a b", "c\u00a0d", "", "e "], []]  # white space in words too
    if theirs.truncation_side == "left":
        max_length = 512
    found = tokenize(ours(theirs, max_length), words, max_length)
    wanted = [theirs(" ".join(row), truncation=True, max_length=max_length, return_offsets_mapping=True) for row in words]
    assert rows_of(found, found.ids) == [row["input_ids"] for row in wanted]
    assert found.words is not None
    for row, numbers, encoding in zip(words, rows_of(found, found.words), wanted, strict=True):
        seen = [number for number in numbers if number >= 0]
        assert seen == sorted(set(seen)) and all(number < len(row) for number in seen)
        begin, text = 0, " ".join(row)
        for number, word in enumerate(row):  # a word's number stands at the first token that has a character of it
            inside = set(range(begin, begin + len(word)))
            tokens = [place for place, (start, end) in enumerate(encoding["offset_mapping"]) if inside & set(range(start, end))]
            if tokens and number in seen:  # ... or at white space before it, where that is a piece by itself
                spaces = encoding["offset_mapping"][numbers.index(number) : tokens[0]]
                assert numbers.index(number) <= tokens[0] and not "".join(text[start:end] for start, end in spaces).strip()
            else:
                assert not tokens or len(encoding["input_ids"]) == max_length
            begin += len(word) + 1


@pytest.mark.parametrize("name", ["WordPiece, cased", "bytes, space before the first word", "XLM-RoBERTa", "DeBERTa-v3"])
def test_words_as_transformers_reads_lists_of_words(name: str) -> None:
    # Where its own reading of words knows of the spaces between them.
    made, words = FAST[name](), [text.split() for text in RIVERS[:2]]
    found = tokenize(ours(made, 512), words, 512)
    wanted = made(words, is_split_into_words=True)
    assert rows_of(found, found.ids) == wanted["input_ids"]
    assert found.words is not None
    for row, numbers in enumerate(rows_of(found, found.words)):
        ids = wanted.word_ids(row)
        assert numbers == [-1 if number is None or number == before else number for before, number in zip([None, *ids], ids)]


@pytest.mark.parametrize("name", LEFT)
def test_first_words_are_not_cut_off(name: str) -> None:
    made = FAST[name]()
    assert tokenize(ours(made, 3), [["x"]], 3).lengths.tolist() == [3]
    with pytest.raises(PotstillError, match="truncation_side: the tokenizer cuts texts of more than 4 tokens at their start"):
        tokenize(ours(made, 4), [["x"], ["the", "river", "and", "x"]], 4)


def test_a_piece_of_two_words_is_refused() -> None:
    made = Tokenizer(models.BPE({"a": 0, " ": 1, "b": 2, "a ": 3, "a b": 4}, [("a", " "), ("a ", "b")]))
    assert tokenize(made, [["b", "a"]], 8).words is not None
    with pytest.raises(PotstillError, match="tokenizer: makes one piece of several words in 'b a b'"):
        tokenize(made, [["b"], ["b", "a", "b"]], 8)


def test_the_side_that_is_cut_is_saved_and_loaded(tmp_path: Path) -> None:
    left = ours(FAST["left truncation"](), 6)
    left.save(str(tmp_path / "tokenizer.json"))
    wanted = left.encode(RIVERS[0]).ids
    assert load_tokenizer(tmp_path / "tokenizer.json", 6).encode(RIVERS[0]).ids == wanted
    assert tokenize(left, [RIVERS[0]], 5).ids.tolist() == [wanted[0], *wanted[2:]]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a", "b\ud800"], r"text 2: holds \\ud800 at character 2, half a character"),  # a lone surrogate
        ([("a", "\udfff")], r"text 1: holds \\udfff at character 1"),  # in a pair
        ([["a"], ["b", "c\ud800"]], r"text 2: holds \\ud800"),  # in a word
        (["a", None], "text 2: is None, no text"),  # nothing
        (["a", 3], "text 2: is 3, no text"),  # a number
        ([["a"], [None]], r"text 2: is \[None\], no text"),  # no word
        (["a", ["b"]], "texts: some are lists of words and others are not"),  # two forms
        ([["b"], "a"], "texts: some are lists of words and others are not"),  # the other way around
    ],
)
def test_what_is_no_text_is_told(tokenizer: Tokenizer, texts: list, said: str) -> None:
    with pytest.raises(PotstillError, match=said):
        tokenize(tokenizer, texts, 16)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("WordPiece, uncased", ["The", "river", "'", "s", "bank", ",", "near", "x", "."]),  # signs apart
        ("bytes", ["The", "river's", "bank,", "near", "x."]),  # a space before a sign is another piece
        ("XLM-RoBERTa", ["The", "river's", "bank,", "near", "x."]),  # likewise
        ("DeBERTa-v3", ["The", "river's", "bank,", "near", "x."]),  # likewise
    ],
)
def test_the_words_of_a_text_have_its_pieces(name: str, words: list[str]) -> None:
    made = ours(FAST[name](), 512)

    def words_of(text: str) -> list[str]:
        return [text[start:end] for start, end in places_of_words(made, text)]

    assert words_of(" The river's  bank, near\tx. ") == words
    assert words_of(" ") == []
    for text in RIVERS:
        plain = " ".join(text.split())
        assert tokenize(made, [words_of(plain)], 512).ids.tolist() == tokenize(made, [plain], 512).ids.tolist()
