from __future__ import annotations

import copy

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from potstill.corpus.candidates import masked_candidates
from potstill.corpus.replace import augment
from potstill.corpus.words import replaceable
from potstill.errors import PotstillError

WORDS = ["river", "village", "old", "bridge", "stone", "water", "mill", "road", "River"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "and", ",", "7", "hill", "##side", "##s", *WORDS]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    bare = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer(lowercase=False)
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bare.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


@pytest.fixture(scope="module")
def network() -> BertForMaskedLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(PIECES), max_position_embeddings=64, initializer_range=0.5, **sizes)
    return BertForMaskedLM(config)


TEXTS = ["the old river, the River and 7 hillside mills", "stone", "", "the and", "water mill road village bridge stone water road"]


@torch.no_grad()
def by_loops(network, tokenizer, text: str, start: int, end: int, k: int) -> list[str]:
    tokens = tokenizer.tokenize(text)
    piece = tokenizer.tokenize(text[start:end])
    if len(piece) > 1:
        return []
    at = 1 + len(tokenizer.tokenize(text[:start]))
    first = [*tokens[: at - 1], "[MASK]", *tokens[at:]]
    ids = torch.tensor([tokenizer.convert_tokens_to_ids(["[CLS]", *first, "[SEP]", *tokens, "[SEP]"])])
    sides = torch.tensor([[0] * (len(tokens) + 2) + [1] * (len(tokens) + 1)])
    scores = network.eval()(input_ids=ids, token_type_ids=sides).logits[0, at]
    # "hill" and the words; pieces that continue, signs, numbers and stop words are no candidates.
    best = sorted(["hill", *WORDS], key=lambda word: -float(scores[PIECES.index(word)]))
    return [word for word in best if word.lower() != text[start:end].lower()][:k]


@pytest.mark.parametrize("batch_tokens", [None, 40])
def test_candidates_are_the_likeliest_whole_words_against_loops(network, tokenizer, batch_tokens):
    network.train()
    found = masked_candidates(network, tokenizer, TEXTS, k=4, batch_tokens=batch_tokens)
    assert network.training
    expected = [[by_loops(network, tokenizer, text, start, end, 4) for start, end in replaceable(text)] for text in TEXTS]
    assert found == expected
    assert [len(row) for row in found] == [5, 1, 0, 0, 8]
    assert found[0][3] == found[0][4] == []  # hillside and mills, of two pieces each


@pytest.mark.parametrize(
    "change",
    [
        {"padding_side": "left"},  # where a token's place depends on the batch
        {"pad_token": None},  # no padding piece
    ],
)
def test_padding_is_none_of_the_tokenizers_business(network, tokenizer, change):
    other = copy.deepcopy(tokenizer)
    for name, value in change.items():
        setattr(other, name, value)
    assert masked_candidates(network, other, TEXTS, k=4) == masked_candidates(network, tokenizer, TEXTS, k=4)


def test_a_vocabulary_without_words_is_said(network):
    bare = Tokenizer(models.WordPiece({"[UNK]": 0, "[MASK]": 1, "a": 2, "##b": 3}, unk_token="[UNK]"))
    with pytest.raises(PotstillError, match="augment: no piece of the model's vocabulary is a whole word"):
        masked_candidates(network, PreTrainedTokenizerFast(tokenizer_object=bare, mask_token="[MASK]"), ["river"])


def test_words_beyond_the_cut_have_none(network, tokenizer):
    (found,) = masked_candidates(network, tokenizer, [TEXTS[4]], k=2, max_length=9)
    assert [len(row) for row in found] == [2, 2, 2, 0, 0, 0, 0, 0]


def test_they_feed_the_augmentation(network, tokenizer):
    found = dict(zip(TEXTS, masked_candidates(network, tokenizer, TEXTS)))
    rows = [text for _, text in augment(TEXTS[:1], found.__getitem__, seed=0)]
    assert rows[0] == TEXTS[0] and len(rows) > 5 and all("hillside mills" in text for text in rows)


def test_a_tokenizer_without_a_mask_is_said(network, tokenizer):
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="[PAD]")
    with pytest.raises(PotstillError, match="has no mask token"):
        masked_candidates(network, bare, ["river"])


def test_a_network_without_a_head_is_said(network, tokenizer):
    with pytest.raises(PotstillError, match="has no masked-language-model head"):
        masked_candidates(network.bert, tokenizer, ["river"])


@pytest.mark.parametrize("kind", ["distilbert", "mpnet", "roberta", "modernbert", "electra", "albert"])
def test_other_architectures_give_the_same_whether_one_token_is_decoded_or_all(tokenizer, kind):
    from transformers import AutoConfig, AutoModelForMaskedLM

    names = {"distilbert": ("dim", "n_layers", "n_heads", "hidden_dim")}
    sizes = zip(names.get(kind, ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")), (32, 2, 4, 64))
    torch.manual_seed(0)
    special = {"pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
    config = AutoConfig.for_model(
        kind, vocab_size=len(PIECES), max_position_embeddings=64, initializer_range=0.5, embedding_size=32, **special, **dict(sizes)
    )
    network = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    plain = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, pad_token="[PAD]", mask_token="[MASK]")
    plain.model_input_names = ["input_ids", "attention_mask"]
    (found,) = masked_candidates(network, plain, ["the old river"], k=3)
    for order, masked in enumerate(("the [MASK] river", "the old [MASK]")):
        ids = plain(masked, "the old river", return_tensors="pt")
        with torch.no_grad():
            scores = network(**ids).logits[0, ids["input_ids"][0].tolist().index(4)]
        best = sorted(["hill", *WORDS], key=lambda word: -float(scores[PIECES.index(word)]))
        assert found[order] == [word for word in best if word.lower() != ("old", "river")[order]][:3]
