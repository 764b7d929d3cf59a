"""A BERT whose parts are smaller than BERT's own configuration can say, as a network of transformers' kind ("potstill-bert").

Fewer attention heads than its width holds; a token table of few columns, and a matrix that widens them
(as ALBERT and ELECTRA have it); feed-forward matrices that are products of two thin ones. student/head_pruning.py
and student/low_rank.py fill it with a BERT's weights; all that takes a BERT takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedModel,
)
from transformers.models.bert.modeling_bert import BertEmbeddings, BertPredictionHeadTransform

from potstill.errors import PotstillError


class CompactConfig(BertConfig):
    """BERT's sizes, and what it has no word for; 0 stands for what BERT has.

    Args:
        head_size: of an attention head; BERT's is the width over the number of heads.
        embedding_size: columns of the token table; BERT's is the width.
        ffn_rank: of both feed-forward matrices; BERT's are whole.
    """

    model_type = "potstill-bert"

    def __init__(self, head_size: int = 0, embedding_size: int = 0, ffn_rank: int = 0, **kwargs: Any) -> None:
        # BERT's attention takes a number of heads that does not divide the width only where there is an `embedding_size`.
        self.head_size, self.embedding_size, self.ffn_rank = head_size, embedding_size, ffn_rank
        super().__init__(**kwargs)


class LowRankLinear(nn.Module):
    """x → up(down(x)): a matrix (outputs, inputs) as the product of (outputs, rank) and (rank, inputs).

    Args:
        inputs: width of what it reads.
        outputs: width of what it gives.
        rank: width in between.
    """

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs)

    def forward(self, states: Tensor) -> Tensor:
        """Multiply by both matrices and add the bias of the second.

        Args:
            states: (…, inputs).

        Returns:
            (…, outputs).
        """
        return self.up(self.down(states))


class FactoredEmbeddings(BertEmbeddings):
    """BERT's embeddings over a table of `embedding_size` columns."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.word_projection = nn.Linear(config.embedding_size, config.hidden_size, bias=False)

    def forward(  # type: ignore[override]  # by name, as BERT calls it
        self, input_ids: Tensor | None = None, inputs_embeds: Tensor | None = None, **others: Any
    ) -> Tensor:
        """Look up and widen the tokens' vectors; the rest is BERT's own.

        Args:
            input_ids: (b, l).
            inputs_embeds: (b, l, hidden_size), read in place of `input_ids` where given.
            **others: as BertEmbeddings has them.

        Returns:
            (b, l, hidden_size).
        """
        if inputs_embeds is None:
            inputs_embeds = self.word_projection(self.word_embeddings(input_ids))
        return super().forward(inputs_embeds=inputs_embeds, **others)


class NarrowTransform(BertPredictionHeadTransform):
    """What stands before a language model's output matrix, which is the narrow token table."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__(config)
        self.narrow = nn.Linear(config.hidden_size, config.embedding_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Compute what the output matrix reads.

        Args:
            hidden_states: (…, hidden_size).

        Returns:
            (…, embedding_size).
        """
        return self.narrow(super().forward(hidden_states))


class _Compact:
    """Before a class of BERT's: the same in the shape that a CompactConfig says."""

    config_class = CompactConfig

    def __init__(self, config: CompactConfig, **options: Any) -> None:
        super().__init__(config, **options)  # type: ignore[call-arg]  # BERT's
        _shape(self, config)  # type: ignore[arg-type]
        self.post_init()  # type: ignore[attr-defined]  # draws and ties what is new


class CompactBertModel(_Compact, BertModel):  # type: ignore[misc]  # a configuration of its own
    """The stack without a head."""


class CompactBertForSequenceClassification(_Compact, BertForSequenceClassification):  # type: ignore[misc]
    """A text's logits."""


class CompactBertForTokenClassification(_Compact, BertForTokenClassification):  # type: ignore[misc]
    """Each token's logits."""


class CompactBertForMaskedLM(_Compact, BertForMaskedLM):  # type: ignore[misc]
    """A language model; its output matrix is the token table."""


def _shape(network: PreTrainedModel, config: CompactConfig) -> None:
    """Replace the parts of a BERT that are of another shape."""
    bert: Any = network.base_model
    width, wide, rank = config.hidden_size, config.intermediate_size, config.ffn_rank
    if config.embedding_size:
        bert.embeddings = FactoredEmbeddings(config)
        if isinstance(network, BertForMaskedLM):
            predictions = network.cls.predictions
            predictions.transform = NarrowTransform(config)
            predictions.decoder = nn.Linear(config.embedding_size, config.vocab_size)
    for layer in bert.encoder.layer:
        attention = layer.attention.self
        size = config.head_size or attention.attention_head_size
        inner = size * config.num_attention_heads
        if inner != width:
            attention.attention_head_size, attention.all_head_size, attention.scaling = size, inner, size**-0.5
            attention.query, attention.key, attention.value = (nn.Linear(width, inner) for _ in range(3))
            layer.attention.output.dense = nn.Linear(inner, width)
        if rank:
            layer.intermediate.dense = LowRankLinear(width, wide, rank)
            layer.output.dense = LowRankLinear(wide, width, rank)


def compact_config(content: Mapping[str, Any], **sizes: int) -> CompactConfig:
    """A BERT's configuration with other sizes; its heads stay as large as they are.

    Args:
        content: the configuration as config.json has it.
        **sizes: fields of CompactConfig and their values.
    """
    own = {key: value for key, value in content.items() if key != "model_type"}
    head_size = own.get("head_size") or own["hidden_size"] // own["num_attention_heads"]
    return CompactConfig.from_dict(own | {"head_size": head_size} | sizes)


def counted(config: CompactConfig) -> tuple[int, int]:
    """How many parameters a BERT without a head has; no weight is allocated.

    Returns:
        (parameters of the embedding tables, all others).
    """
    with torch.device("meta"):
        network = CompactBertModel(config, add_pooling_layer=False)
    tables = sum(p.numel() for module in network.modules() if isinstance(module, nn.Embedding) for p in module.parameters())
    return tables, sum(p.numel() for p in network.parameters()) - tables


def require_bert(model_type: str, place: str) -> None:
    """Check that a network is of a kind that this module makes smaller.

    Args:
        model_type: of its configuration.
        place: what the error names.

    Raises:
        PotstillError: it is not.
    """
    if model_type not in (BertConfig.model_type, CompactConfig.model_type):
        raise PotstillError(place, f"is for a BERT, and the source is a {model_type}", "name a BERT as student.model, or drop it")


AutoConfig.register(CompactConfig.model_type, CompactConfig)
AutoModel.register(CompactConfig, CompactBertModel)
AutoModelForSequenceClassification.register(CompactConfig, CompactBertForSequenceClassification)
AutoModelForTokenClassification.register(CompactConfig, CompactBertForTokenClassification)
AutoModelForMaskedLM.register(CompactConfig, CompactBertForMaskedLM)
