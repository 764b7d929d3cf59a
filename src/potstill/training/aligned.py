"""Token by token between two vocabularies: both sides' vectors as means over the segments that they share."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from potstill.data.alignment import Segments
from potstill.models.output import EncoderOutput
from potstill.training.cache_budget import TOKENS
from potstill.training.teacher import Teacher


def by_segment(output: EncoderOutput, segments: Tensor) -> EncoderOutput:
    """The same record, its vectors of tokens (b, l, d) as means over segments (b, s, d), its mask (b, s).

    Args:
        segments: (b, l) each token's segment in its text, -1 where it has none (data/alignment.py).
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
    """A teacher that shows its vectors of tokens by the segments that it shares with a student of another vocabulary."""

    def __init__(self, teacher: Teacher, segments: Segments) -> None:
        self.teacher, self.segments, self.reads = teacher, segments, teacher.reads

    def __call__(self, rows: np.ndarray, device: torch.device, inputs: Mapping[str, Tensor] | None = None) -> EncoderOutput:
        output = self.teacher.giving(self.reads)(rows, device, inputs)
        if not any(field.name in TOKENS for field in self.reads):
            return output
        return by_segment(output, torch.from_numpy(self.segments.pad(rows)).to(device))
