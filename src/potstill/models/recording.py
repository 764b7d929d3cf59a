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
from potstill.models.output import INSIDE, Field

IMPLEMENTATION = "potstill_recording"


@dataclass
class Recorder:
    """What is wanted of the attention modules, and what the running forward pass has found.

    Attributes:
        wanted: for each module the fields that its attention gives.
        found: each field of FIELDS, with its shape there.
    """

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
    """Attention written out, softmax(q kᵀ · scaling + mask) v; what a Recorder wants of it is kept.

    Source: Vaswani et al. 2017, section 3.2.1, equation 1.

    Args:
        module: whose attention it is.
        query: (b, heads, l, d_k), like key and value.
        key: (b, heads, l, d_k).
        value: (b, heads, l, d_k).
        attention_mask: (b, 1, l, l), added to the scores: 0 at real tokens, very low at padding.
        scaling: of the scores; default 1 / √d_k.
        dropout: probability for the weights, in training.
        **kwargs: not read; transformers passes them.

    Returns:
        (b, l, heads, d_k), and the weights (b, heads, l, l).
    """
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
    """Within the block a forward pass of the layers' model records what is wanted.

    The model must have been told `set_attn_implementation(IMPLEMENTATION)`.

    Args:
        layers: the stack, from layer 1 on.
        wanted: fields whose name is in output.INSIDE; an empty set costs nothing.

    Yields:
        The dict that the forward pass fills.
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
    """Check that what a network computes inside attention can be read.

    Args:
        network: any.
        place: what the error names.

    Raises:
        PotstillError: it computes attention by itself.
    """
    if not shows_attention(type(network)):
        raise PotstillError(
            place,
            f"a {network.config.model_type} computes attention by itself: its scores, queries, keys and values cannot be read",
            "use terms that read hidden_states or logits, or a BERT-like model",
        )


def shows_attention(kind: type[PreTrainedModel]) -> bool:
    """Whether models of this class call the attention function that they are told, so that it can be recorded."""
    return bool(getattr(kind, "_supports_attention_backend", False))


def prepare_inside(network: PreTrainedModel, reads: Iterable[Field], otherwise: str | None = None) -> None:
    """Choose how a network computes attention: so that what is read from inside it is recorded, else as is said.

    A PotstillError from `require_recordable` comes through: something inside is read, and the network computes
    attention by itself.

    Args:
        network: it is changed in place.
        reads: fields that will be asked of it.
        otherwise: transformers' name of the attention to use where nothing inside is read; None leaves it as it is.
    """
    if any(field.name in INSIDE for field in reads):
        require_recordable(network, "terms")
        network.set_attn_implementation(IMPLEMENTATION)
    elif otherwise is not None:
        network.set_attn_implementation(otherwise)
