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
            tokens, one after the other; "weighted", like mean, each layer with a learned weight.
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
        return width * (len(LAYERS[self.layers][0](9)) if self.reduce == "concat" else 1)

    def __call__(self, states: Sequence[Tensor], mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """Pool in fp32.

        Args:
            states: (b, l, d) of each layer of `numbers`.
            mask: (b, l) 1 at real tokens.
            weights: (layers,) of "weighted"; None weighs all the same.

        Returns:
            (b, d); of "concat" (b, layers · d).
        """
        import torch

        found = [state.float() for state in states]
        if self.reduce == "cls":
            return cls(found[-1], mask)
        if self.reduce == "max":
            return torch.stack([max(state, mask) for state in found]).amax(0)
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
        Pooling("cls"),
        Pooling("concat", "last_two"),
        Pooling("concat", "last_four"),
        Pooling(WEIGHTED, "all"),
    )
}
CLS_POOLER = "cls_pooler"  # not one more pooling, but cls with the network's own dense layer and tanh behind it


def pooling_named(name: str, place: str = "pooling") -> Pooling:
    """The pooling of that name.

    Raises:
        PotstillError: there is none.
    """
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
    own = {CLS_POOLER: "the first token's vector through the network's own dense layer and tanh; a new one where it has none saved"}
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
