"""Queries, keys, values and attention scores, seen from inside transformers' attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from potstill.errors import PotstillError
from potstill.models.output import Field

IMPLEMENTATION = "potstill_recording"


@dataclass
class Recorder:
    """What is wanted of which attention module, and what was found in the pass that is running."""

    wanted: dict[nn.Module, list[Field]]
    found: dict[Field, Tensor] = field(default_factory=dict)


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Attention written out. query, key, value: (b, heads, l, d_k); mask (b, 1, l, l), added → (b, l, heads, d_k)."""
    scores = torch.matmul(query, key.transpose(2, 3)) * (query.shape[-1] ** -0.5 if scaling is None else scaling)  # (b, heads, l, l)
    recorder = _recorder.get()
    for wanted in recorder.wanted.get(module, ()) if recorder is not None else ():
        if wanted.name == "attention_scores":
            seen = scores
        else:
            seen = {"queries": query, "keys": key, "values": value}[wanted.name].transpose(1, 2).flatten(2)  # (b, l, d)
        recorder.found[wanted] = seen  # type: ignore[union-attr]
    weights = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


AttentionInterface.register(IMPLEMENTATION, attention)
AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)


@contextmanager
def recording(layers: Iterable[nn.Module], wanted: Iterable[Field]) -> Iterator[dict[Field, Tensor]]:
    """Within the block a forward pass of the layers' model fills the dict that is given.

    The model must have been told `set_attn_implementation(IMPLEMENTATION)`.

    Args:
        layers: the stack, from layer 1 on.
        wanted: fields whose name is in output.INSIDE; an empty set costs nothing.
    """
    wanted = list(wanted)
    if not wanted:
        yield {}
        return
    stack = list(layers)
    by_module: dict[nn.Module, list[Field]] = {}
    for item in wanted:
        assert item.layer is not None
        # Whichever module inside the layer calls the attention function, it is one of these.
        for module in stack[item.layer - 1].modules():
            by_module.setdefault(module, []).append(item)
    recorder = Recorder(by_module)
    token = _recorder.set(recorder)
    try:
        yield recorder.found
    finally:
        _recorder.reset(token)


def require_recordable(network: PreTrainedModel, place: str) -> None:
    """Raise a PotstillError where a model computes its attention by itself, so that nothing inside can be read."""
    if not shows_attention(type(network)):
        raise PotstillError(
            place,
            f"a {network.config.model_type} computes attention by itself: its scores, queries, keys and values cannot be read",
            "use terms that read hidden_states or logits, or a BERT-like model",
        )


def shows_attention(kind: type[PreTrainedModel]) -> bool:
    """Whether models of this class call the attention function that they are told, so that it can be recorded."""
    return bool(getattr(kind, "_supports_attention_backend", False))
