"""Every family of text encoders that transformers has, built tiny in code."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, CanineTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
ROBERTA = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
WORDS = ("the", "river", "village", "cat", "owl", "sees", "finds", "##s", "##ing")


def _wordpiece() -> Tokenizer:
    letters = string.ascii_lowercase + string.digits + string.punctuation
    pieces = dict.fromkeys([*BERT.values(), *letters, *(f"##{letter}" for letter in letters), *WORDS])
    bare = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    bare.normalizer = normalizers.BertNormalizer()
    bare.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    bare.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return bare


def _bytes() -> Tokenizer:
    pieces = [*ROBERTA.values(), *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bare = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return bare


def _unigram() -> Tokenizer:
    pieces = [*ROBERTA.values(), "▁", *string.ascii_letters, "▁the", "▁river", *string.punctuation]
    bare = Tokenizer(models.Unigram([(piece, 0.0 if number < 5 else -4.0) for number, piece in enumerate(pieces)], unk_id=3))
    bare.normalizer = normalizers.NFKC()
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    bare.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return bare


TOKENIZERS = {"wordpiece": (_wordpiece, BERT), "bytes": (_bytes, ROBERTA), "unigram": (_unigram, ROBERTA)}


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer of letters and a few words: a name of TOKENIZERS, or "characters" for CANINE's, which has no fast form."""
    if kind == "characters":
        return CanineTokenizer()
    make, special = TOKENIZERS[kind]
    return PreTrainedTokenizerFast(
        tokenizer_object=make(), model_max_length=24, **{f"{name}_token": token for name, token in special.items()}
    )


class Family(NamedTuple):
    """A family of encoders.

    Attributes:
        tokenizer: the kind that its models come with, as `tokenizer` takes it.
        config: what its configuration says beside SIZES; None for a key that it has another word for.
    """

    tokenizer: str
    config: Mapping[str, Any] = {}


LAYERS = 2
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
XLM = {"emb_dim": 16, "n_layers": LAYERS, "n_heads": 2, "pad_index": 0} | dict.fromkeys(
    ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
)
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": LAYERS, "num_heads": 2, "is_encoder_decoder": False} | dict.fromkeys(SIZES)
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False, "type_vocab_size": 0}
ENDS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}

#: By transformers' name.
FAMILIES: dict[str, Family] = {
    "albert": Family("wordpiece", {"embedding_size": 8}),
    "bert": Family("wordpiece"),
    "bert-generation": Family("wordpiece"),
    "big_bird": Family("wordpiece", {"attention_type": "original_full"}),
    "camembert": Family("unigram", {"type_vocab_size": 1}),
    "canine": Family("characters", {"local_transformer_stride": 8, "upsampling_kernel_size": 2, "num_hash_buckets": 16}),
    "convbert": Family("wordpiece", {"embedding_size": 16, "head_ratio": 1}),
    "data2vec-text": Family("bytes", {"type_vocab_size": 1}),
    "deberta": Family("wordpiece", DEBERTA),
    "deberta-v2": Family("unigram", DEBERTA | {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}),
    "distilbert": Family(
        "wordpiece",
        {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32} | dict.fromkeys(set(SIZES) - {"max_position_embeddings"}),
    ),
    "electra": Family("wordpiece", {"embedding_size": 8}),
    "ernie": Family("wordpiece"),
    "esm": Family("wordpiece", {"mask_token_id": 4, "position_embedding_type": "rotary"}),
    "eurobert": Family("bytes", {"num_key_value_heads": 1}),
    "flaubert": Family("wordpiece", XLM),
    "fnet": Family("wordpiece"),
    "funnel": Family(
        "wordpiece",
        {"architectures": ["FunnelModel"], "block_sizes": [1, 1], "d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 32}
        | dict.fromkeys(SIZES),
    ),
    "gte": Family("wordpiece"),
    "ibert": Family("bytes", {"type_vocab_size": 1}),
    "jina_embeddings_v3": Family("unigram", {"type_vocab_size": 1}),
    "layoutlm": Family("wordpiece"),
    "lilt": Family("bytes", {"type_vocab_size": 1, "channel_shrink_ratio": 2, "hidden_size": 24}),
    "longformer": Family("bytes", {"type_vocab_size": 1, "attention_window": 8}),
    "luke": Family("bytes", {"type_vocab_size": 1, "entity_vocab_size": 4, "entity_emb_size": 8}),
    "markuplm": Family("bytes"),
    "megatron-bert": Family("wordpiece"),
    "mobilebert": Family(
        "wordpiece",
        {"embedding_size": 8, "hidden_size": 16, "intra_bottleneck_size": 8, "true_hidden_size": 8, "num_feedforward_networks": 1},
    ),
    "modernbert": Family("wordpiece", ENDS | {"local_attention": 4, "global_attn_every_n_layers": 2}),
    "mpnet": Family("bytes"),
    "mra": Family("bytes"),
    "neomme": Family("wordpiece", {"num_key_value_heads": 1, "head_dim": 16, "embedding_rank": 8}),
    "nomic_bert": Family("wordpiece"),
    "nystromformer": Family("wordpiece", {"segment_means_seq_len": 8, "num_landmarks": 8}),
    "reformer": Family(
        "unigram",
        {
            "attn_layers": ["local"] * LAYERS,
            "axial_pos_embds": False,
            "feed_forward_size": 32,
            "attention_head_size": 8,
            "num_hidden_layers": None,
        },
    ),
    "rembert": Family("unigram", {"input_embedding_size": 8, "output_embedding_size": 12}),
    "roberta": Family("bytes", {"type_vocab_size": 1}),
    "roberta-prelayernorm": Family("bytes", {"type_vocab_size": 1}),
    "roc_bert": Family(
        "wordpiece", {"pronunciation_vocab_size": 8, "shape_vocab_size": 8, "pronunciation_embed_dim": 4, "shape_embed_dim": 4}
    ),
    "roformer": Family("wordpiece", {"embedding_size": 8}),
    "splinter": Family("wordpiece"),
    "squeezebert": Family("wordpiece", {"embedding_size": 16, "q_groups": 2, "k_groups": 2, "v_groups": 2}),
    "t5": Family("unigram", T5),
    "tapas": Family("wordpiece"),
    "ultrabert": Family("wordpiece", {"sliding_window": 4, "num_key_value_heads": 1}),
    "xlm": Family("wordpiece", XLM),
    "xlm-roberta": Family("unigram", {"type_vocab_size": 1}),
    "xlm-roberta-xl": Family("unigram", {"type_vocab_size": 1}),
    "xlnet": Family("unigram", {"d_model": 16, "n_layer": LAYERS, "n_head": 2, "d_inner": 32} | dict.fromkeys(SIZES)),
    "xmod": Family("unigram", {"type_vocab_size": 1, "languages": ["en_XX", "de_DE"], "default_language": "en_XX"}),
    "yoso": Family("wordpiece"),
}


def config_of(name: str, **changes: Any) -> Any:
    """A family's configuration.

    Args:
        name: of FAMILIES.
        **changes: of its content.
    """
    family = FAMILIES[name]
    hf_tokenizer = tokenizer(family.tokenizer)
    content = SIZES | {"vocab_size": len(hf_tokenizer), "pad_token_id": hf_tokenizer.pad_token_id} | dict(family.config) | changes
    return AutoConfig.for_model(name, **{key: value for key, value in content.items() if value is not None})


def build_family(name: str, kind: Any = AutoModel, **changes: Any) -> Any:
    """A family's tiny network in eval mode, the same each time, with weights large enough that texts differ.

    Args:
        name: of FAMILIES.
        kind: transformers' class for its head.
        **changes: of its configuration.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = kind.from_config(config_of(name, **changes))
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.25)
    if name == "funnel":  # transformers does so when it loads one; what others have for padding stays as it was trained
        network.get_input_embeddings().weight.data[network.config.pad_token_id] = 0
    return network.eval()


def save_family(name: str, folder: Path, kind: Any = AutoModel, **changes: Any) -> Path:
    """What `build_family` gives, with its tokenizer, as a transformers folder.

    Args:
        name: of FAMILIES.
        folder: where to.
        kind: transformers' class for its head.
        **changes: of its configuration.
    """
    build_family(name, kind, **changes).save_pretrained(folder)
    tokenizer(FAMILIES[name].tokenizer).save_pretrained(folder)
    return folder
