"""Students made from a transformer: some of its layers, or the same architecture built small."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from potstill.errors import PotstillError, unknown
from potstill.models.encoder import EncoderModel, keep_layers, keep_listed, listed
from potstill.models.heads import kind_of, new_network
from potstill.models.layer_rules import IMPORTANCE, LAYER_RULES, RULES
from potstill.models.loading import position_limit
from potstill.student.layer_importance import most_important

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from potstill.models.layout import Layout


def choose_layers(
    layers: int | Sequence[int] | None,
    rule: str,
    total: int,
    place: str = "student.layers",
    importance: Sequence[float] | None = None,
) -> list[int]:
    """The layers that a student keeps.

    Args:
        layers: how many, or which (numbers from 1), or None for all.
        rule: a name of RULES, read when `layers` is a number.
        total: layers of the source.
        place: where the recipe says so, for errors.
        importance: of each of the `total` layers; the rule IMPORTANCE needs it.

    Returns:
        Numbers from 1, in rising order.

    Raises:
        PotstillError: a layer that the model lacks, twice the same, or an unknown rule.
    """
    if rule not in RULES:
        error = unknown("rule", rule, RULES, f"{place.removesuffix('layers')}rule")
        raise error
    if layers is None:
        return list(range(1, total + 1))
    if isinstance(layers, int):
        if layers > total:
            raise PotstillError(place, f"{layers} layers asked of a model that has {total}", f"ask for 1 to {total}")
        if rule == IMPORTANCE:
            assert importance is not None, "the caller measures it for this rule"
            return most_important(importance, layers)
        return LAYER_RULES[rule].choose(layers, total)
    missing = [layer for layer in layers if not 1 <= layer <= total]
    if missing:
        raise PotstillError(place, f"the model has no layer {missing[0]}", f"layers count from 1 to {total}")
    if sorted(set(layers)) != list(layers):
        raise PotstillError(place, f"{list(layers)} is not in rising order without repeats", f"give some of 1 to {total}")
    return list(layers)


def cut_student(
    source: EncoderModel, layers: Sequence[int], *, pooling: str | None = None, normalize: bool = True, max_length: int = 128
) -> EncoderModel:
    """A student that keeps the source's embeddings, its head, and some layers of its stack.

    Args:
        source: it is copied and left as it is.
        layers: which, numbers from 1.
        pooling: of the student. Default: the source's, together with all that stands before and behind it and, where the
            student has as many layers, its weights of layers.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to; fewer where the source has fewer positions.

    Raises:
        PotstillError: these layers could not be loaded again, since the configuration has no word for their parts. One
            from `stack_place` comes through: the source has no one stack of layers.
    """
    network = copy.deepcopy(source.network)
    keep_layers(_wrap(network, source, "mean", normalize, max_length), layers)
    _stand_as_configured(network, layers)
    # Only now, since a pooling may ask for more layers than are left.
    if pooling is not None:
        return _wrap(network, source, pooling, normalize, max_length)
    return _wrap(network, source, None, normalize, max_length, copy.deepcopy(source.layout))


def build_student(
    source: EncoderModel, *, layers: int, width: int, heads: int, ffn: int, pooling: str, normalize: bool, max_length: int, seed: int
) -> EncoderModel:
    """A randomly initialised student of the source's architecture, vocabulary and kind of head.

    Args:
        source: an encoder; of its network only the configuration and the kind of head are read.
        layers: how many.
        width: of the hidden states.
        heads: attention heads of a layer, which divide the width.
        ffn: inner width of the feed-forward layers.
        pooling: of the student.
        normalize: whether vectors are scaled to unit length.
        max_length: tokens a text is cut to; fewer where the source has fewer positions.
        seed: what the weights are drawn with.

    Raises:
        PotstillError: the width is not divisible by the heads; more layers than a configuration lists one by one.
    """
    if width % heads:
        raise PotstillError("student.width", f"{width} is not divisible by heads {heads}", "choose a divisor")
    config = copy.deepcopy(source.network.config)
    names, total = listed(config), int(config.num_hidden_layers)
    if names and layers > total:
        problem = f"{layers} layers after a {config.model_type} whose {names[0]} is told of {total}"
        raise PotstillError("student.layers", problem, f"ask for {total} at most")
    if names:
        keep_listed(config, range(1, layers + 1))  # as its own stack begins
    config.num_hidden_layers, config.hidden_size, config.num_attention_heads = layers, width, heads
    # DistilBERT calls its inner width hidden_dim and maps no common name to it.
    setattr(config, "hidden_dim" if config.model_type == "distilbert" else "intermediate_size", ffn)
    return _wrap(new_network(config, kind_of(source.network), seed), source, pooling, normalize, max_length)


def _stand_as_configured(network: PreTrainedModel, layers: Sequence[int]) -> None:
    """Make a stack of kept layers what transformers makes of the configuration, so that loading it again changes nothing.

    Layers may know where they stand: by a number, or by a part that is only in some places. ModernBERT's first layer
    has no normalisation before its attention, since what it reads is normalised already.

    Args:
        network: it is changed in place.
        layers: the numbers that they had, for errors.

    Raises:
        PotstillError: the configuration has no word for what they are.
    """
    named = f"layers {', '.join(map(str, layers))} of a {network.config.model_type} could not be loaded again"
    try:
        with torch.device("meta"):
            twin = new_network(type(network.config).from_dict(network.config.to_dict()), kind_of(network), seed=0)
    except ValueError as error:  # a configuration that contradicts itself
        raise PotstillError("student.layers", f"{named} ({error})", "keep all") from error
    own = dict(network.named_modules())
    for name, module in twin.named_modules():
        there = own.get(name)
        if isinstance(module, nn.Identity) and isinstance(there, nn.LayerNorm):
            _drop_norm(network.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
        elif there is not None:
            for key, value in vars(module).items():
                if not key.startswith("_") and type(value) in (int, set):
                    setattr(there, key, value)
    weights, expected = ({key: value.shape for key, value in side.state_dict().items()} for side in (network, twin))
    if weights != expected:
        part = sorted(key for key in weights.keys() | expected.keys() if weights.get(key) != expected.get(key))[0]
        raise PotstillError("student.layers", f"{named} ({part})", "keep others, or all")


def _drop_norm(layer: Any, name: str) -> None:
    """Leave a normalisation out of a layer; what it multiplies by goes into the matrix of ModernBERT's attention, which reads it."""
    norm = getattr(layer, name)
    if name == "attn_norm":
        with torch.no_grad():
            layer.attn.Wqkv.weight.mul_(norm.weight)  # (3d, d) · (d,)
    setattr(layer, name, nn.Identity())


def _wrap(
    network: PreTrainedModel, source: EncoderModel, pooling: str | None, normalize: bool, max_length: int, layout: Layout | None = None
) -> EncoderModel:
    """An encoder that reads texts as its source does: behind its prompt, and in lower case where it does so."""
    length, own = min(max_length, position_limit(network)), layout or source.layout.without_steps()
    settings = {"pooling": pooling, "normalize": normalize, "max_length": length, "head": source.head}
    return EncoderModel(network, source.hf_tokenizer, layout=own, **settings)  # type: ignore[arg-type]
