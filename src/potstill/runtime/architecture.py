"""A transformers configuration, read without transformers: one table of what the families call the same number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Names of one number, BERT's first, then DistilBERT's, then T5's.
WIDTH = ("hidden_size", "dim", "d_model")
LAYERS = ("num_hidden_layers", "n_layers", "num_layers")
HEADS = ("num_attention_heads", "n_heads", "num_heads")
HEAD_SIZE = ("head_size", "head_dim", "attention_head_size")
NARROWED = ("true_hidden_size",)  # MobileBERT's layers work on narrower states than they give


def width_of(config: Mapping[str, Any]) -> int:
    """Width of a hidden state; 0 where the configuration does not say it."""
    return _number(config, WIDTH)


def layers_of(config: Mapping[str, Any]) -> int:
    """Number of layers, the embedding output not counted; 0 of a static model, and where the configuration does not say it."""
    return _number(config, LAYERS)


def heads_of(config: Mapping[str, Any]) -> int:
    """Number of attention heads of a layer; 0 where the configuration does not say it."""
    return _number(config, HEADS)


def inside_of(config: Mapping[str, Any], heads: int | None = None) -> int:
    """Width of queries, keys and values: heads × width of a head.

    Args:
        config: the content of config.json. Its size of a head counts where it has one: heads that were pruned keep their width.
        heads: how many heads; default all of the configuration's.

    Returns:
        The width; 0 where the configuration does not say how many heads there are.
    """
    own = heads_of(config)
    size = _number(config, HEAD_SIZE) or ((_number(config, NARROWED) or width_of(config)) // own if own else 0)
    return (heads or own) * size


def dense_of(config: Mapping[str, Any]) -> int:
    """Width of a BiLSTM's dense layer, which its output layer reads; 0 for others, whose output layers read the hidden states."""
    return _number(config, ("dense_size",))


def _number(config: Mapping[str, Any], names: Sequence[str]) -> int:
    found = (config.get(name) for name in names)
    # type() and not isinstance: True is an int to Python.
    return next((value for value in found if type(value) is int), 0)
