"""Token by token between two vocabularies: both sides' vectors as means over the segments that they share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from potstill.data.alignment import Segments
from potstill.models.output import TOKENS, EncoderOutput
from potstill.teacher.answers import Teacher


def by_segment(output: EncoderOutput, segments: Tensor) -> EncoderOutput:
    """An output whose vectors of tokens are means over segments.

    Args:
        output: with a mask (b, l).
        segments: (b, l) each token's segment in its text, from 0; -1 where it has none (data/alignment.py).

    Returns:
        Fields of tokens (b, s, d) in fp32, s the most segments of a text; the other fields as they are; the mask (b, s).
    """
    count = int(segments.max()) + 1
    member = segments[:, None, :] == torch.arange(count, device=segments.device)[None, :, None]  # (b, s, l)
    sizes = member.sum(-1, keepdim=True)  # (b, s, 1)
    weights = member / sizes.clamp(min=1)
    values = {
        field: (weights @ value.float() if field.name in TOKENS else value)  # fp32: a mean in half precision loses what it is for
        for field, value in output.values.items()
    }
    return EncoderOutput((sizes[..., 0] > 0).long(), values)


class AlignedTeacher(Teacher):
    """A teacher that shows its vectors of tokens by the segments that it shares with a student of another vocabulary.

    Args:
        teacher: over texts in its own pieces.
        segments: of its tokens, text by text.
    """

    def __init__(self, teacher: Teacher, segments: Segments) -> None:
        self.teacher, self.segments, self.reads = teacher, segments, teacher.reads

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        """What the teacher answers, its vectors of tokens (rows, s, d) by segments, and then the mask (rows, s) of these."""
        output = self.teacher.giving(self.reads)(rows, device, inputs)
        if not any(field.name in TOKENS for field in self.reads):
            return output
        return by_segment(output, torch.from_numpy(self.segments.pad(rows)).to(device))
