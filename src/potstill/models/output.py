"""The one record in which every model shows itself."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class EncoderOutput:
    """What a model computed for a batch of `b` texts padded to `l` tokens; what nobody asked for is None.

    Teacher or student, live or cached, transformer or not: losses and the objective see this and
    never the model.

    Attributes:
        mask: (b, l) 1 at real tokens, 0 at padding.
        embedding: (b, d) the pooled vector, of unit length when the model normalises.
        hidden_states: N + 1 tensors (b, l, d); 0 is the embedding output, k the output of layer k.
        attention_scores: N tensors (b, heads, l, l), before the softmax.
        relations: name → (b, heads, l, l), query-query, key-key and value-value relations.
        logits: (b, classes) or (b, l, tags).
    """

    mask: Tensor | None = None
    embedding: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attention_scores: tuple[Tensor, ...] | None = None
    relations: dict[str, Tensor] | None = None
    logits: Tensor | None = None
