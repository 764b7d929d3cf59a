"""Means over segments against a plain loop."""

from __future__ import annotations

import torch

from potstill.models.output import EncoderOutput, Field
from potstill.teacher.aligned import by_segment

HIDDEN, CLS = Field("hidden_states", 2), Field("cls_states", 2)


def test_means_over_segments_are_those_of_a_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    states = torch.randn(2, 5, 3, generator=generator, requires_grad=True)
    first = torch.randn(2, 3, generator=generator)
    segments = torch.tensor([[0, 2, 2, -1, 1], [0, 1, -1, -1, -1]])
    output = by_segment(EncoderOutput(torch.ones(2, 5), {HIDDEN: states, CLS: first}), segments)
    assert output.mask is not None and output.mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    for row in range(2):
        for segment in range(int(output.mask[row].sum())):
            members = [states[row, place] for place in range(5) if segments[row, place] == segment]
            torch.testing.assert_close(output[HIDDEN][row, segment], torch.stack(members).mean(0))
    assert output[HIDDEN][1, 2].tolist() == [0, 0, 0] and output[CLS] is first
    output[HIDDEN].sum().backward()
    assert states.grad is not None and states.grad[0, 3].abs().sum() == 0 and states.grad[0, 1].tolist() == [0.5] * 3
