"""Dual training's loss of the teacher: each vocabulary has a softmax of its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from potstill.training.dual import two_softmaxes


def test_two_softmaxes_are_two_cross_entropies() -> None:
    generator = torch.Generator().manual_seed(5)
    read, decoder = torch.randn(3, 8, generator=generator), nn.Linear(8, 7)
    labels = torch.tensor([2, 6, 4])  # of 4 pieces of the one and 3 of the other vocabulary
    terms = []
    for logits, label in zip(decoder(read), labels.tolist()):
        own = logits[:4] if label < 4 else logits[4:]
        terms.append(-own.log_softmax(-1)[label if label < 4 else label - 4].item())
    assert two_softmaxes(read, labels, decoder, 4).item() == pytest.approx(sum(terms) / 3, rel=1e-5)
    assert two_softmaxes(read[:0], labels[:0], decoder, 4).item() == 0
