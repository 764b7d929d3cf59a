"""How much each layer of an encoder changes what goes through it, as a ground to keep it (Men et al. 2024, ShortGPT)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from potstill.models.encoder import EncoderModel
from potstill.models.output import Field
from potstill.runtime.tokens import TokenizedTexts


def layer_importance(model: EncoderModel, tokens: TokenizedTexts) -> list[float]:
    """Block influence of every layer: 1 − mean over real tokens of cos(h_in, h_out), 0 … 2.

    A layer that hands on what it gets has 0. Source: ShortGPT, section 2.2, equation 1.

    Args:
        model: any encoder.
        tokens: texts in its pieces.

    Returns:
        One number a layer, from layer 1 on.
    """
    layers = len(model.layers)
    total = torch.zeros(layers, dtype=torch.float64)
    for _, output in model.run(tokens, [Field("hidden_states", number) for number in range(layers + 1)]):
        real = output.mask.bool()  # type: ignore[union-attr]  # states have a mask
        states = [output[Field("hidden_states", number)][real].double() for number in range(layers + 1)]  # (real tokens, d) each
        for number in range(layers):
            total[number] += (1 - torch.cosine_similarity(states[number], states[number + 1], dim=-1)).sum().cpu()
    return (total / len(tokens.ids)).tolist()


def most_important(importance: Sequence[float], count: int) -> list[int]:
    """The layers of greatest importance; of equally important ones the lower.

    Args:
        importance: of every layer, from layer 1 on.
        count: how many to take.

    Returns:
        Numbers from 1, in rising order.
    """
    ordered = sorted(range(len(importance)), key=lambda number: (-importance[number], number))
    return sorted(number + 1 for number in ordered[:count])
