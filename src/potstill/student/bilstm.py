"""A BiLSTM student with an encoder's pieces and, on request, the PCA of their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from sklearn.decomposition import PCA

from potstill.errors import PotstillError
from potstill.models.bilstm import SPREAD, BiLSTMConfig
from potstill.models.encoder import EncoderModel
from potstill.models.heads import HEADS, name_labels, new_network

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def build_bilstm(
    source: EncoderModel,
    *,
    kind: str,
    labels: Sequence[str],
    pairs: bool,
    layers: int,
    width: int,
    embedding: int,
    table: str,
    dense: int,
    activation: str,
    pooling: str,
    normalize: bool,
    max_length: int,
    seed: int,
) -> EncoderModel:
    """A BiLSTM student with the source's tokenizer, drawn with `seed`.

    Args:
        source: an encoder; of its network only the token table is read.
        kind: "embed", or a head for texts.
        labels: what the head tells apart; empty for "embed".
        pairs: whether the texts of that head come in pairs: the network is then siamese.
        layers: BiLSTM layers.
        width: of each direction.
        embedding: width of the token table.
        table: "random", or "pca": the principal components of the source's token table, scaled to the standard deviation
            of a random one.
        dense: width of the layer between a text's features and the output.
        activation: of that layer: a name of ACTIVATIONS.
        pooling: of a network without a head: a name of models/pooling.py.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to.
        seed: what the weights are drawn with.

    Raises:
        PotstillError: a kind of head that a BiLSTM does not have. One from below comes through: `embedding` is too great
            for the source's table, or the tokenizer does not tell the texts of a pair apart.
    """
    if kind != "embed" and (kind not in HEADS or HEADS[kind][0] != "AutoModelForSequenceClassification"):
        raise PotstillError("student.kind", f"a bilstm has no head for {kind}", "use a transformer student")
    found: Any = source.backbone.get_input_embeddings()
    siamese = pairs and kind != "embed"
    config = BiLSTMConfig(
        vocab_size=len(found.weight),
        hidden_size=2 * width,
        num_hidden_layers=layers,
        embedding_size=embedding,
        dense_size=dense,
        activation=activation,
        siamese=siamese,
        shared_first=siamese and _begins_with_special(source.tokenizer),
        pad_token_id=source.pad_id,
    )
    if kind != "embed":
        name_labels(config, kind, labels)
    network = new_network(config, kind, seed)
    if table == "pca":
        weights: Any = network.get_input_embeddings()
        with torch.no_grad():
            weights.weight.copy_(_cut_table(found.weight, embedding))
            weights.weight[config.pad_token_id] = 0
    layout = source.layout.without_steps()  # it reads texts as its source does
    return EncoderModel(network, source.hf_tokenizer, pooling=pooling, normalize=normalize, max_length=max_length, layout=layout)


def _cut_table(table: torch.Tensor, width: int) -> torch.Tensor:
    """(pieces, d) → (pieces, width) along the axes of greatest variance, with the standard deviation of a random table.

    Raises:
        PotstillError: the width is too great for the table.
    """
    if width > min(table.shape):
        problem = f"the source's {len(table)} token vectors have {table.shape[1]} dimensions, and {width} are asked"
        raise PotstillError("student.embedding", problem, f"ask for {min(table.shape)} at most, or set student.table to random")
    # The covariance matrix is small beside the table: "full", which takes the table apart, needs twenty times as long.
    axes = PCA(width, svd_solver="covariance_eigh")
    cut = torch.from_numpy(axes.fit_transform(table.detach().double().cpu().numpy())).float()
    return cut * (SPREAD / cut.std())


def _begins_with_special(tokenizer: Tokenizer) -> bool:
    """Whether a pair begins with a token that is no part of its first text.

    Raises:
        PotstillError: the tokenizer does not tell the texts of a pair apart.
    """
    pair = tokenizer.encode("a", "a")
    if 1 not in pair.type_ids:
        raise PotstillError(
            "student.model", "its tokenizer does not tell the texts of a pair apart by token types", "name a model with BERT's tokenizer"
        )
    return bool(pair.special_tokens_mask[0])
