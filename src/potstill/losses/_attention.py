"""What losses of attention scores share: the check of the heads, and the KL between softmaxes."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import log_softmax

from potstill.errors import PotstillError


def same_heads(student: Tensor, teacher: Tensor, place: str) -> None:
    """Check that both sides have the same number of attention heads.

    Args:
        student: (b, heads, l, l).
        teacher: (b, heads, l, l).
        place: name of the loss, for the error.

    Raises:
        PotstillError: the numbers of heads differ.
    """
    if student.shape[1] != teacher.shape[1]:
        raise PotstillError(
            place,
            f"the student has {student.shape[1]} attention heads, the teacher {teacher.shape[1]}",
            f"make a student of {teacher.shape[1]} heads, or use the loss relation, which re-splits them",
        )


def softmax_kl(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher ‖ student) of the softmaxes over real keys.

    The mean is taken over the heads and real queries of a text, then over texts.

    Args:
        student: (b, heads, l, l) scores before the softmax.
        teacher: (b, heads, l, l) scores before the softmax.
        mask: (b, l), 1 at real tokens.

    Returns:
        Scalar.
    """
    padded = ~mask.bool()
    keys = padded[:, None, None, :]  # (b, 1, 1, l)
    # Not -inf: at padded keys the difference below has to stay finite for its weight of 0 to remove it.
    log_s = log_softmax(student.masked_fill(keys, -1e9), dim=-1)
    log_t = log_softmax(teacher.masked_fill(keys, -1e9), dim=-1)
    divergence = (log_t.exp() * (log_t - log_s)).sum(-1)  # (b, heads, l)
    by_text = divergence.masked_fill(padded[:, None, :], 0.0).sum((1, 2))  # (b,)
    return (by_text / (student.shape[1] * mask.sum(-1))).mean()
