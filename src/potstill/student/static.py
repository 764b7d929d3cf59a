"""A static student made of an encoder: the PCA of each piece's own vector, weighted by how rare the piece is.

Source: Tulkens & van Dongen 2024, model2vec; Arora et al. 2017 for the weight a / (a + p).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.decomposition import PCA

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.layout import Layout
from potstill.models.static import StaticConfig, StaticModel
from potstill.runtime.tokens import TokenizedTexts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPREAD = 0.1  # standard deviation of a new table: the length of a text's vector means nothing, but Adam's steps have a length


def pieces_alone(source: EncoderModel) -> TokenizedTexts:
    """Each piece of the source's vocabulary as a text of its own: [CLS] piece [SEP].

    The texts are made of numbers, since a piece from within a word cannot be written as a text.

    Args:
        source: of its tokenizer the vocabulary and the added tokens are read.

    Returns:
        One text a piece, in the order of the pieces' numbers.
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
    source: EncoderModel, vectors: np.ndarray, counts: np.ndarray, *, width: int, sif_coefficient: float, normalize: bool, max_length: int
) -> EncoderModel:
    """A static student with the source's pieces; no token is added around a text.

    Args:
        source: an encoder; of it only the tokenizer is read.
        vectors: (pieces, d) of each piece alone, as the source gives them.
        counts: (pieces,) how often each is among the training texts.
        width: of the student's vectors, at most d and at most the number of pieces.
        sif_coefficient: a > 0 of the weight a / (a + p); p is a piece's share of all pieces, each counted once more.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to.

    Raises:
        PotstillError: the width is too great for the vectors.
    """
    if width > min(vectors.shape):
        problem = f"the source's {len(vectors)} vectors have {vectors.shape[1]} dimensions, and {width} are asked"
        raise PotstillError("student.width", problem, f"ask for {min(vectors.shape)} at most")
    share = torch.from_numpy((counts + 1) / (counts + 1).sum()).float()
    # The covariance matrix is small beside the vectors: "full", which takes these apart, needs twenty times as long.
    axes = PCA(width, svd_solver="covariance_eigh")
    table = torch.from_numpy(axes.fit_transform(vectors.astype(np.float64))).float()
    table *= (sif_coefficient / (sif_coefficient + share))[:, None]
    table *= SPREAD / table.std()
    table[[number for number in source.hf_tokenizer.all_special_ids if number != source.hf_tokenizer.unk_token_id]] = 0
    network = StaticModel(StaticConfig(vocab_size=len(table), hidden_size=width, pad_token_id=source.pad_id))
    with torch.no_grad():
        network.embedding.weight.copy_(table)
    # No prompt: there is no context for it to change, and it would put the same pieces into every text's mean.
    layout = Layout(similarity=source.layout.similarity)
    return EncoderModel(network, bare(source.hf_tokenizer, max_length), normalize=normalize, max_length=max_length, layout=layout)


def bare(tokenizer: PreTrainedTokenizerFast, max_length: int) -> PreTrainedTokenizerFast:
    """A copy of a tokenizer that adds no tokens around a text and truncates.

    This is how sentence-transformers' StaticEmbedding reads texts: it adds no tokens, but truncates where the file says.

    Args:
        tokenizer: it is left as it is.
        max_length: tokens a text is cut to.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    from potstill.runtime.tokens import cut_to

    content = json.loads(tokenizer.backend_tokenizer.to_str()) | {"post_processor": None, "padding": None}
    backend = Tokenizer.from_str(json.dumps(content))
    side = tokenizer.truncation_side
    cut_to(backend, max_length, side)
    own = {"model_max_length": max_length, "truncation_side": side, **tokenizer.special_tokens_map}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **own)
