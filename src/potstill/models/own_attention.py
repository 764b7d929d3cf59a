"""Inside the attention of networks that compute it by themselves: MPNet, DeBERTa, and DeBERTa v2 and v3.

They call no attention function that could be told, so hooks see what goes into their softmax. The network computes
what it always computes; only the scores are made a second time, out of the queries, the keys and what is added to
their product.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention as DebertaAttention
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention as DebertaV2Attention
from transformers.models.mpnet.modeling_mpnet import MPNetSelfAttention

from potstill.models.output import Field

Seen = dict[str, Tensor]  # what a forward pass left: the first output of each child and method that is watched, by name


class Own(NamedTuple):
    """How a class of attention modules computes queries, keys, values and scores.

    Attributes:
        watched: children whose outputs are needed.
        bias: what is added to the scaled product of queries and keys: an argument of its forward, or a method.
        heads: (module, seen) → queries, keys and values, (b, heads, l, d_k) each, after their biases.
        parts: module → how many products the scores are the sum of; each is divided by √(d_k · parts).
    """

    watched: tuple[str, ...]
    bias: str
    heads: Callable[[Any, Seen], tuple[Tensor, Tensor, Tensor]]
    parts: Callable[[Any], int]


def _three(*names: str) -> Callable[[Any, Seen], tuple[Tensor, Tensor, Tensor]]:
    """Of a module with a projection each for queries, keys and values: (b, l, heads · d_k) → (b, heads, l, d_k)."""

    def heads(module: Any, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = (seen[name].unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2) for name in names)
        return query, key, value

    return heads


def _fused(module: Any, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """Of the first DeBERTa: one projection, (b, l, heads · 3 · d_k), and biases of queries and values apart from it."""
    query, key, value = seen["in_proj"].unflatten(-1, (module.num_attention_heads, -1)).transpose(1, 2).chunk(3, dim=-1)
    q_bias, v_bias = (bias.unflatten(0, (module.num_attention_heads, 1, -1)) for bias in (module.q_bias, module.v_bias))
    return query + q_bias, key, value + v_bias


# He et al. 2021, "DeBERTa", equation 4: content to content, content to position and position to content.
OWN: dict[type[nn.Module], Own] = {
    MPNetSelfAttention: Own(("q", "k", "v"), "position_bias", _three("q", "k", "v"), lambda module: 1),
    DebertaV2Attention: Own(
        ("query_proj", "key_proj", "value_proj"),
        "disentangled_attention_bias",
        _three("query_proj", "key_proj", "value_proj"),
        lambda module: 1 + len({"c2p", "p2c"} & set(module.pos_att_type)),
    ),
    DebertaAttention: Own(("in_proj", "head_logits_proj"), "disentangled_att_bias", _fused, lambda module: 1 + len(module.pos_att_type)),
}
#: Their names in transformers' configurations.
FAMILIES = frozenset({"mpnet", "deberta", "deberta-v2"})


@contextmanager
def watching(module: nn.Module, wanted: Sequence[Field], found: dict[Field, Tensor]) -> Iterator[None]:
    """Within the block each forward pass of an attention module leaves what is wanted of it.

    Args:
        module: an instance of a class of OWN.
        wanted: fields of output.INSIDE, of this module's layer.
        found: what the fields are written to, each with its shape in output.FIELDS. Scores are those that the softmax
            reads, but for the mask: relative positions are in them, and what DeBERTa's talking heads make of them.

    Yields:
        Nothing.
    """
    own, seen = OWN[type(module)], Seen()
    names = list(inspect.signature(module.forward).parameters)

    def note(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            # The first time only: with shared keys DeBERTa projects its table of positions by the same matrices.
            seen.setdefault(name, output)

        return hook

    def keep(part: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        added = (dict(zip(names, inputs)) | named).get(own.bias, seen.get(own.bias))
        query, key, value = own.heads(module, seen)
        for item in wanted:
            if item.name == "attention_scores":
                found[item] = _scores(module, seen, query, key, own.parts(module), added)
            else:
                found[item] = {"queries": query, "keys": key, "values": value}[item.name].transpose(1, 2).flatten(2)  # (b, l, d)
        seen.clear()

    children = {name: child for name in own.watched if isinstance(child := getattr(module, name), nn.Module)}
    hooks = [child.register_forward_hook(note(name)) for name, child in children.items()]
    hooks.append(module.register_forward_hook(keep, with_kwargs=True))
    method = getattr(module, own.bias, None)
    if method is not None:
        # Not called once more: in training its dropout would draw another bias than the softmax reads.
        setattr(module, own.bias, lambda *inputs, **named: seen.setdefault(own.bias, method(*inputs, **named)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if method is not None:
            delattr(module, own.bias)


def _scores(module: Any, seen: Seen, query: Tensor, key: Tensor, parts: int, added: Tensor | int | None) -> Tensor:
    """(b, heads, l, l)."""
    if "head_logits_proj" in seen:
        return seen["head_logits_proj"].permute(0, 3, 1, 2)
    scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(query.shape[-1] * parts)
    # DeBERTa v2 has its bias as (b · heads, l, l). Without relative positions there is none, or a plain 0.
    return scores + added.view_as(scores) if isinstance(added, Tensor) else scores
