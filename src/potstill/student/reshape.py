"""A BERT in another shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from potstill.models.compact import compact_config
from potstill.models.heads import kind_of, new_network


def reshaped(network: PreTrainedModel, weights: Mapping[str, Tensor], **sizes: int) -> PreTrainedModel:
    """A copy of a BERT in another shape, with its head, on its device.

    Args:
        network: it is left as it is.
        weights: of the parts that are of another shape, by name; all others are the network's.
        **sizes: fields of CompactConfig and their values.
    """
    twin: Any = new_network(compact_config(network.config.to_dict(), **sizes), kind_of(network), seed=0)
    own = network.state_dict()
    twin.load_state_dict({name: weights[name] if name in weights else own[name] for name in twin.state_dict()})
    return twin.to(network.device).train(network.training)
