"""A static student made of an encoder: each piece's own vector, along the main axes, weighed by how rare the piece is.

Source: Tulkens & van Dongen 2024, model2vec; Arora et al. 2017 for the weight a / (a + p).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch

from potstill.data.batches import TokenizedTexts
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.main_axes import main_axes
from potstill.models.static import StaticConfig, StaticModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPREAD = 0.1  # of a new table's numbers; a text's vector has no length of its own, but Adam's steps have


def pieces_alone(source: EncoderModel) -> TokenizedTexts:
    """Each piece of the source's vocabulary, in the order of their numbers, as a text of its own: [CLS] piece [SEP].

    By number, since a piece from within a word cannot be written as a text.
    """
    example = source.tokenizer.encode("a")
    special = np.array(example.special_tokens_mask, dtype=bool)
    own = np.flatnonzero(~special)
    before, after = (example.ids[: own[0]], example.ids[own[-1] + 1 :]) if len(own) else (example.ids, [])
    count = max(source.tokenizer.get_vocab().values()) + 1
    ids = np.tile(np.array([*before, 0, *after], dtype=np.int32), (count, 1))
    ids[:, len(before)] = np.arange(count)
    return TokenizedTexts(ids.ravel(), np.arange(count + 1, dtype=np.int64) * ids.shape[1])


def build_static(
    source: EncoderModel, vectors: np.ndarray, counts: np.ndarray, *, width: int, frequency: float, normalize: bool, max_length: int
) -> EncoderModel:
    """A static student with the source's pieces; no token is added around a text.

    Args:
        vectors: (pieces, d) of each piece alone, as the source gives them.
        counts: (pieces,) how often each is among the training texts.
        width: at most d.
        frequency: a > 0 of the weight a / (a + p); p is a piece's share of all, each counted once more.

    Raises:
        PotstillError: `width` is above d.
    """
    if width > vectors.shape[1]:
        problem = f"the source's vectors have {vectors.shape[1]} dimensions, and {width} are asked"
        raise PotstillError("student.width", problem, f"ask for {vectors.shape[1]} at most")
    share = torch.from_numpy((counts + 1) / (counts + 1).sum()).float()
    table = main_axes(torch.from_numpy(vectors), width) * (frequency / (frequency + share))[:, None]
    table *= SPREAD / table.std()
    table[[number for number in source.hf_tokenizer.all_special_ids if number != source.hf_tokenizer.unk_token_id]] = 0
    network = StaticModel(StaticConfig(vocab_size=len(table), hidden_size=width, pad_token_id=source.pad_id))
    with torch.no_grad():
        network.embedding.weight.copy_(table)
    return EncoderModel(network, bare(source.hf_tokenizer, max_length), normalize=normalize, max_length=max_length)


def bare(tokenizer: PreTrainedTokenizerFast, max_length: int) -> PreTrainedTokenizerFast:
    """The same tokenizer, without the tokens that it adds around a text, cutting to `max_length`.

    As sentence-transformers' StaticEmbedding reads texts: it leaves those tokens out, but cuts where the file says.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"post_processor": None, "padding": None}
    backend = Tokenizer.from_str(json.dumps(content))
    backend.enable_truncation(max_length)
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=max_length, **tokenizer.special_tokens_map)
