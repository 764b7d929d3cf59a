"""From token vectors to one vector a text: which layers, and how they and the tokens are put together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.errors import PotstillError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel


def mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens.

    Args:
        tokens: (b, l, d).
        mask: (b, l) 1 at real tokens.

    Returns:
        (b, d); zeros for a text without a real token.
    """
    weights = mask.unsqueeze(-1).to(tokens.dtype)  # (b, l, 1)
    # A row without a real token would divide by zero; it gets the zero vector.
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def cls(tokens: Tensor, mask: Tensor) -> Tensor:
    """The first token's vector.

    Args:
        tokens: (b, l, d).
        mask: not read; every pooling of tokens is called alike.

    Returns:
        (b, d).
    """
    return tokens[:, 0]


def max(tokens: Tensor, mask: Tensor) -> Tensor:  # named as the field names it
    """Greatest value of each dimension over real tokens.

    Args:
        tokens: (b, l, d).
        mask: (b, l) 1 at real tokens.

    Returns:
        (b, d).
    """
    import torch

    # Padding must lose against every real value, negative ones too: the type's lowest, not 0.
    return tokens.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(tokens.dtype).min).amax(1)


def mean_sqrt_len(tokens: Tensor, mask: Tensor) -> Tensor:
    """Sum over real tokens, divided by the square root of their number.

    Args:
        tokens: (b, l, d).
        mask: (b, l) 1 at real tokens.

    Returns:
        (b, d); zeros for a text without a real token.
    """
    weights = mask.unsqueeze(-1).to(tokens.dtype)  # (b, l, 1)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0).sqrt()


def weighted_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens, each weighted by its position: 1 for the first token, 2 for the next.

    Source: Muennighoff 2022, SGPT.

    Args:
        tokens: (b, l, d), padded at the end.
        mask: (b, l) 1 at real tokens.

    Returns:
        (b, d); zeros for a text without a real token.
    """
    weights = (mask.cumsum(1) * mask).unsqueeze(-1).to(tokens.dtype)  # (b, l, 1): 1, 2, … and 0 at padding
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1.0)


def last_token(tokens: Tensor, mask: Tensor) -> Tensor:
    """The last real token's vector.

    Args:
        tokens: (b, l, d), padded at the end.
        mask: (b, l) 1 at real tokens.

    Returns:
        (b, d); zeros for a text without a real token.
    """
    last = (mask.cumsum(1) == mask.sum(1, keepdim=True)) & (mask > 0)  # (b, l), True at one token of a row
    return (tokens * last.unsqueeze(-1).to(tokens.dtype)).sum(1)


# What a pooling of one layer may do to its tokens, in the order in which sentence-transformers puts several one after the other.
MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": cls,
    "max": max,
    "mean": mean,
    "mean_sqrt_len_tokens": mean_sqrt_len,
    "weightedmean": weighted_mean,
    "lasttoken": last_token,
}
SEVERAL = "+"  # between the names of modes whose vectors stand one after the other

# Numbers of the hidden states that a pooling reads, of a model of n layers: 0 is the embedding output, n the last.
# SimCSE's paper takes the embedding output for "first", its code layer 1 (issue 285 there): both have a name here.
LAYERS: dict[str, tuple[Callable[[int], list[int]], str]] = {
    "last": (lambda n: [n], "the last layer"),
    "second_to_last": (lambda n: [n - 1], "the layer before the last"),
    "last_two": (lambda n: [n - 1, n], "the last two layers"),
    "last_four": (lambda n: [n - 3, n - 2, n - 1, n], "the last four layers"),
    "first_last": (lambda n: [0, n], "the embedding output and the last layer"),
    "layer1_last": (lambda n: [1, n], "layer 1 and the last layer"),
    "all": (lambda n: list(range(n + 1)), "the embedding output and all layers"),
    "all_layers": (lambda n: list(range(1, n + 1)), "all layers"),
}
WEIGHTED = "weighted"


@dataclass(frozen=True)
class Pooling:
    """One way from hidden states to a vector.

    Attributes:
        reduce: "mean" over tokens and layers alike; "max", the greatest value over all real tokens
            of all the layers together; "cls", the first token; "concat", each layer's mean over
            tokens, one after the other; "weighted", like mean, each layer with a learned weight. Of the
            last layer alone any other name of MODES too, or several with SEVERAL between them, whose
            vectors stand one after the other.
        layers: a name of LAYERS.
    """

    reduce: str
    layers: str = "last"

    @property
    def name(self) -> str:
        """What recipes call it."""
        return self.reduce if self.layers == "last" or self.reduce == WEIGHTED else f"{self.reduce}_{self.layers}"

    def describe(self) -> str:
        """What it computes, for listing."""
        how = {
            "mean": "mean over real tokens of",
            "max": "greatest value over real tokens of",
            "cls": "the first token's vector of",
            "concat": "each layer's mean over real tokens, one after the other, of",
            WEIGHTED: "mean over real tokens, each layer with a learned weight, of",
            "mean_sqrt_len_tokens": "sum over real tokens, divided by the square root of their number, of",
            "weightedmean": "mean over real tokens, the later ones weighing more, of",
            "lasttoken": "the last real token's vector of",
        }
        return f"{how[self.reduce]} {LAYERS[self.layers][1]}"

    def numbers(self, total: int, place: str = "pooling") -> list[int]:
        """Which hidden states are read.

        Args:
            total: layers of the model.
            place: what an error names.

        Returns:
            Numbers of hidden states in rising order: 0 is the embedding output, `total` the last layer's output.

        Raises:
            PotstillError: the model has fewer layers than the name says.
        """
        numbers = LAYERS[self.layers][0](total)
        least = 0 if self.layers in ("last", "first_last", "all") else 1  # a static student has no layer but 0
        if numbers[0] < least or len(set(numbers)) < len(numbers):
            needed = {"last_four": 4}.get(self.layers, 2)
            raise PotstillError(place, f"{self.name} needs {needed} layers, and the model has {total}", "choose mean, or a deeper student")
        return numbers

    def width(self, width: int) -> int:
        """Dimensions of the vector, of hidden states of `width`."""
        return width * (len(LAYERS[self.layers][0](9)) if self.reduce == "concat" else len(self.reduce.split(SEVERAL)))

    def __call__(self, states: Sequence[Tensor], mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """Pool in fp32.

        Args:
            states: (b, l, d) of each layer of `numbers`.
            mask: (b, l) 1 at real tokens.
            weights: (layers,) of "weighted"; None weighs all the same.

        Returns:
            (b, d); of "concat" (b, layers · d), of several modes (b, modes · d).
        """
        import torch

        found = [state.float() for state in states]
        if self.reduce == "max":
            return torch.stack([max(state, mask) for state in found]).amax(0)
        if self.layers == "last":
            vectors = [MODES[mode](found[-1], mask) for mode in self.reduce.split(SEVERAL)]
            return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)
        means = [mean(state, mask) for state in found]
        if self.reduce == "concat":
            return torch.cat(means, dim=-1)
        if weights is not None:
            return torch.einsum("k,kbd->bd", weights.float() / weights.float().sum(), torch.stack(means))
        return means[0] if len(means) == 1 else torch.stack(means).mean(0)


POOLINGS: dict[str, Pooling] = {
    pooling.name: pooling
    for pooling in (
        *(Pooling("mean", layers) for layers in LAYERS),
        *(Pooling("max", layers) for layers in LAYERS),
        *(Pooling(mode) for mode in MODES if mode not in ("mean", "max")),
        Pooling("concat", "last_two"),
        Pooling("concat", "last_four"),
        Pooling(WEIGHTED, "all"),
    )
}
CLS_POOLER = "cls_pooler"  # not one more pooling, but cls with the network's own dense layer and tanh behind it


def pooling_named(name: str, place: str = "pooling") -> Pooling:
    """The pooling of that name; several names of MODES with SEVERAL between them make one too.

    Raises:
        PotstillError: there is none.
    """
    if SEVERAL in name and all(mode in MODES for mode in name.split(SEVERAL)):
        return Pooling(name)
    if name not in POOLINGS:
        raise PotstillError(place, f"unknown pooling {name!r}", did_you_mean(name, [*POOLINGS, CLS_POOLER]))
    return POOLINGS[name]


def check_pooling(name: str, total: int | None, place: str = "pooling") -> None:
    """Check that a model can be pooled so.

    A PotstillError from `pooling_named` or Pooling.numbers comes through: no pooling has that name, or the model has
    too few layers for it.

    Args:
        name: of a pooling, or CLS_POOLER.
        total: layers of the model; None where that is unknown.
        place: what an error names.
    """
    if name != CLS_POOLER:
        pooling = pooling_named(name, place)
        if total is not None:
            pooling.numbers(total, place)


def describe() -> dict[str, str]:
    """Every name that a recipe may give → what it does."""
    own = {CLS_POOLER: "the first token's vector through the network's own dense layer and tanh"}
    return {name: pooling.describe() for name, pooling in POOLINGS.items()} | own


def pooler_of(network: PreTrainedModel) -> Sequence[nn.Module]:
    """Copies of the dense layer and the tanh that a BERT puts behind its first token, for CLS_POOLER.

    Raises:
        PotstillError: the network has no such layer.
    """
    from torch import nn

    dense = getattr(getattr(network.base_model, "pooler", None), "dense", None)
    if not isinstance(dense, nn.Linear):
        raise PotstillError("pooling", f"a {network.config.model_type} has no pooler", "choose cls")
    return copy.deepcopy(dense), nn.Tanh()
