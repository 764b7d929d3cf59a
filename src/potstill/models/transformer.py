"""Students made from a transformer: some of its layers, or the same architecture built small."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from potstill.errors import PotstillError, did_you_mean
from potstill.models.encoder import EncoderModel
from potstill.models.heads import kind_of, new_network
from potstill.models.layer_importance import most_important
from potstill.models.loading import position_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Which `count` of `total` layers a student keeps; layers count from 1, as hidden_states[k] is the output of layer k.
RULES: dict[str, Callable[[int, int], list[int]]] = {
    # Evenly apart, the last one kept: 6 → 3 gives 2, 4, 6.
    "uniform": lambda count, total: [round((k + 1) * total / count) for k in range(count)],
    # Evenly apart, the first and the last kept: 6 → 3 gives 1, 3, 6.
    "spread": lambda count, total: [total] if count == 1 else [1 + k * (total - 1) // (count - 1) for k in range(count)],
    "first": lambda count, total: list(range(1, count + 1)),
    "last": lambda count, total: list(range(total - count + 1, total + 1)),
}
IMPORTANCE = "importance"  # the one rule that asks what the layers do: models/layer_importance.py


def choose_layers(
    layers: int | Sequence[int] | None,
    rule: str,
    total: int,
    place: str = "student.layers",
    importance: Sequence[float] | None = None,
) -> list[int]:
    """Numbers (from 1) of the layers to keep out of `total`.

    Args:
        layers: how many, or which, or None for all.
        rule: a name of RULES, or IMPORTANCE, used when `layers` is a number.
        importance: of each of the `total` layers, for that rule.

    Raises:
        PotstillError: a layer that the model lacks, twice the same, or an unknown rule.
    """
    rules = RULES if importance is None else RULES | {IMPORTANCE: lambda count, total: most_important(importance, count)}
    if rule not in rules and (rule != IMPORTANCE or isinstance(layers, int)):
        raise PotstillError(f"{place} rule", f"unknown rule {rule!r}", did_you_mean(rule, [*RULES, IMPORTANCE]))
    if layers is None:
        return list(range(1, total + 1))
    if isinstance(layers, int):
        if layers > total:
            raise PotstillError(place, f"{layers} layers asked of a model that has {total}", f"ask for 1 to {total}")
        return rules[rule](layers, total)
    missing = [layer for layer in layers if not 1 <= layer <= total]
    if missing:
        raise PotstillError(place, f"the model has no layer {missing[0]}", f"layers count from 1 to {total}")
    if sorted(set(layers)) != list(layers):
        raise PotstillError(place, f"{list(layers)} is not in rising order without repeats", f"give some of 1 to {total}")
    return list(layers)


def cut_student(
    source: EncoderModel, layers: Sequence[int], *, pooling: str | None = None, normalize: bool = True, max_length: int = 128
) -> EncoderModel:
    """A student that keeps the source's embeddings, its head, and the `layers` (numbers from 1) of its stack.

    Args:
        pooling: default the source's, with what belongs to it: its dense layers, and its weights of
            layers where the student has as many layers.
    """
    network = copy.deepcopy(source.network)
    keep_layers(_wrap(network, source, "mean", normalize, max_length), layers)
    # Only now, since a pooling may ask for more layers than are left.
    if pooling is not None:
        return _wrap(network, source, pooling, normalize, max_length)
    own = {"dense": copy.deepcopy(list(source.dense)), "layer_weights": source.layer_weights}
    return _wrap(network, source, source.pooling, normalize, max_length, **own)


def keep_layers(model: EncoderModel, layers: Sequence[int]) -> None:
    """Drop every layer of `model` but these (numbers from 1)."""
    parent, name = model.stack_place()
    stack = getattr(parent, name)
    setattr(parent, name, nn.ModuleList(stack[layer - 1] for layer in layers))
    config = model.backbone.config  # the head's too: it is one object
    config.num_hidden_layers = len(layers)
    types = getattr(config, "layer_types", None)
    if types:  # ModernBERT: which layers attend locally
        config.layer_types = [types[layer - 1] for layer in layers]


def build_student(
    source: EncoderModel, *, layers: int, width: int, heads: int, ffn: int, pooling: str, normalize: bool, max_length: int, seed: int
) -> EncoderModel:
    """A randomly initialised student of the source's architecture, vocabulary and kind of head.

    Raises:
        PotstillError: the width is not divisible by the heads.
    """
    if width % heads:
        raise PotstillError("student.width", f"{width} is not divisible by heads {heads}", "choose a divisor")
    config = copy.deepcopy(source.network.config)
    config.num_hidden_layers, config.hidden_size, config.num_attention_heads = layers, width, heads
    # DistilBERT calls its inner width hidden_dim and maps no common name to it.
    setattr(config, "hidden_dim" if config.model_type == "distilbert" else "intermediate_size", ffn)
    return _wrap(new_network(config, kind_of(source.network), seed), source, pooling, normalize, max_length)


def _wrap(network: PreTrainedModel, source: EncoderModel, pooling: str, normalize: bool, max_length: int, **own: Any) -> EncoderModel:
    length = min(max_length, position_limit(network))
    return EncoderModel(network, source.hf_tokenizer, pooling=pooling, normalize=normalize, max_length=length, kind=source.kind, **own)
