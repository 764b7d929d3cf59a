"""Queries, keys, values and attention scores, seen from inside transformers' attention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from potstill.errors import PotstillError
from potstill.models.output import INSIDE, Field
from potstill.models.own_attention import FAMILIES, OWN, watching

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
        query: (b, heads, l, d_k).
        key: (b, heads or a divisor of it, l, d_k).
        value: like key.
        attention_mask: (b, 1, l, l), added to the scores: 0 at real tokens, very low at padding.
        scaling: of the scores; default 1 / √d_k.
        dropout: probability for the weights, in training.
        **kwargs: what transformers passes beside; only whether it changes the scores is looked at.

    Returns:
        (b, l, heads, d_k), and the weights (b, heads, l, l).

    Raises:
        PotstillError: the network bounds its scores, or adds more to them than a mask.
    """
    other = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if other:
        kind = type(module).__name__
        raise PotstillError("terms", f"a {kind} computes attention with {other[0]}, which is not recorded", "use hidden_states or logits")
    if key.shape[1] < query.shape[1]:  # several heads share keys and values
        key, value = (part.repeat_interleave(query.shape[1] // part.shape[1], dim=1) for part in (key, value))
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

    `prepare_inside` must have been called on the model. Queries and keys are those whose products the scores are:
    where positions are rotary (ModernBERT) they are turned already, and where several heads share keys and values
    each has them. A layer that attends within a window alone has scores of all pairs, those beyond the window too,
    which its softmax leaves out as it does padding.

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
    by_layer: dict[nn.Module, list[Field]] = {}
    for item in wanted:
        assert item.layer is not None
        by_layer.setdefault(stack[item.layer - 1], []).append(item)
    # Whichever module inside the layer calls the attention function, it is one of these.
    recorder = Recorder({module: fields for layer, fields in by_layer.items() for module in layer.modules()})
    token = _recorder.set(recorder)
    try:
        with ExitStack() as watched:
            for module, fields in recorder.wanted.items():
                if type(module) in OWN:
                    watched.enter_context(watching(module, fields, recorder.found))
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
            "use terms that read hidden_states or logits, or another model",
        )


def shows_attention(kind: type[PreTrainedModel]) -> bool:
    """Whether what models of this class compute inside attention can be recorded.

    They call the attention function that they are told, or are of a family that own_attention.py knows.
    """
    return _calls_attention(kind) or getattr(kind.config_class, "model_type", "") in FAMILIES


def prepare_inside(network: PreTrainedModel, reads: Iterable[Field], otherwise: str | None = None) -> None:
    """Choose how a network computes attention: so that what is read from inside it is recorded, else as is said.

    A PotstillError from `require_recordable` comes through: something inside is read, and nobody can see it.

    Args:
        network: it is changed in place.
        reads: fields that will be asked of it.
        otherwise: transformers' name of the attention to use where nothing inside is read; None leaves it as it is.
    """
    inside = any(field.name in INSIDE for field in reads)
    if inside:
        require_recordable(network, "terms")
    if inside and _calls_attention(type(network)):
        network.set_attn_implementation(IMPLEMENTATION)
    elif otherwise is not None:
        network.set_attn_implementation(otherwise)


def _calls_attention(kind: type[PreTrainedModel]) -> bool:
    return bool(getattr(kind, "_supports_attention_backend", False))
