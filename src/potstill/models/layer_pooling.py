"""Poolings of several layers that sentence-transformers has no module for, as a module of its kind."""

from __future__ import annotations

from typing import Any

from sentence_transformers.models import Module
from torch import Tensor

from potstill.models.pooling import pooling_named


class LayerPooling(Module):
    """The greatest values of several layers, or layers one after the other, behind a Transformer with output_hidden_states.

    Args:
        pooling: a name of models/pooling.py.
        embedding_dimension: of the vectors that come out.
    """

    config_keys = ["pooling", "embedding_dimension"]  # noqa: RUF012  # the library's own way to say it

    def __init__(self, pooling: str, embedding_dimension: int) -> None:
        super().__init__()
        self.pooling, self.embedding_dimension = pooling, embedding_dimension
        self._pool = pooling_named(pooling)

    def forward(self, features: dict[str, Tensor], **kwargs: Any) -> dict[str, Tensor]:
        """Pool a batch.

        Args:
            features: `all_layer_embeddings`, the hidden states (b, l, d) with the embedding output first, and
                `attention_mask` (b, l).
            **kwargs: not read; the library passes them.

        Returns:
            The same with `sentence_embedding`, (b, embedding_dimension).
        """
        states: Any = features["all_layer_embeddings"]
        read = [states[number] for number in self._pool.numbers(len(states) - 1)]
        features["sentence_embedding"] = self._pool(read, features["attention_mask"])
        return features

    def get_embedding_dimension(self) -> int:
        """Width of a text's vector."""
        return self.embedding_dimension

    def get_sentence_embedding_dimension(self) -> int:
        """Width of a text's vector, under the name that the library had for it before release 6."""
        return self.embedding_dimension

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write its configuration; it has no weights.

        Args:
            output_path: an existing folder.
            *args: not read; the library passes them.
            **kwargs: likewise.
        """
        self.save_config(output_path)
