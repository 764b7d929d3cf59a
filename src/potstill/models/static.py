"""A static student as a network of transformers' kind: one vector a token, whatever stands beside it.

A text's vector is the mean of its tokens' (the pooling `mean`). Nothing else is in it, so that it is
saved under the names that sentence-transformers' StaticEmbedding reads.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class StaticConfig(PretrainedConfig):
    """Sizes of a static student; its layers are 0, always.

    Args:
        vocab_size: rows of the token table.
        hidden_size: width of a token's vector.
        pad_token_id: of the tokenizer.
        **kwargs: as PretrainedConfig has them.
    """

    model_type = "potstill-static"

    def __init__(self, vocab_size: int = 30522, hidden_size: int = 256, pad_token_id: int = 0, **kwargs: Any) -> None:
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, 0
        kwargs.pop("num_hidden_layers", None)
        kwargs["pad_token_id"] = pad_token_id
        super().__init__(**kwargs)


class StaticModel(PreTrainedModel):
    """The token table as a network without layers."""

    config_class = StaticConfig
    base_model_prefix = "static"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layer = nn.ModuleList()
        self.post_init()

    @property
    def embeddings(self) -> nn.Module:
        """The module that gives the embedding output, by the name that other encoders have for it."""
        return self.embedding

    def get_input_embeddings(self) -> nn.Module:
        """The token table."""
        return self.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token table.

        Args:
            value: another one.
        """
        self.embedding = value  # type: ignore[assignment]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool | None = None, return_dict: bool | None = None
    ) -> BaseModelOutput:
        """Look up the tokens' vectors.

        Args:
            input_ids: (b, l).
            attention_mask: not read: padding is the pooling's business.
            output_hidden_states: whether the vectors are given as `hidden_states[0]` too.
            return_dict: not read; transformers passes it.

        Returns:
            last_hidden_state (b, l, hidden_size).
        """
        tokens = self.embedding(input_ids)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,) if output_hidden_states else None)


AutoConfig.register(StaticConfig.model_type, StaticConfig)
AutoModel.register(StaticConfig, StaticModel)
