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
        states: Any = features["all_layer_embeddings"]
        read = [states[number] for number in self._pool.numbers(len(states) - 1)]
        features["sentence_embedding"] = self._pool(read, features["attention_mask"])
        return features

    def get_embedding_dimension(self) -> int:
        return self.embedding_dimension

    def get_sentence_embedding_dimension(self) -> int:  # its name before release 6
        return self.embedding_dimension

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        self.save_config(output_path)
