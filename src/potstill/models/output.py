"""The one record in which every model shows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


class Field(NamedTuple):
    """Something that a model can give: a name of WHOLE, or a name of LAYERED with the number of a layer."""

    name: str
    layer: int | None = None

    def __str__(self) -> str:
        return self.name if self.layer is None else f"{self.name}-{self.layer}"


WHOLE = {
    "embedding": "(b, d) the pooled vector, of unit length when the model normalises",
    "pooled": "(b, d) what the layer that gives a text's logits reads: BERT's pooled first token, a BiLSTM's dense layer",
    "logits": "(b, classes), (b, l, tags) or (b, l, vocabulary): what the head gives",
}
# Layer 0 is the embedding output, layer k the output of the k-th layer.
LAYERED = {
    "hidden_states": "(b, l, d) every token's vector; layers 0 to N",
    "cls_states": "(b, d) the first token's vector; layers 0 to N",
    "mean_states": "(b, d) mean over real tokens; layers 0 to N",
    "attention_scores": "(b, heads, l, l) before the softmax, scaled, without the mask; layers 1 to N",
    "queries": "(b, l, d) after the bias, heads side by side; layers 1 to N",
    "keys": "(b, l, d) likewise",
    "values": "(b, l, d) likewise",
}
INSIDE = frozenset({"attention_scores", "queries", "keys", "values"})  # computed within attention: not every model shows them


@dataclass(frozen=True)
class EncoderOutput:
    """What a model computed for a batch of `b` texts padded to `l` tokens: only what was asked for.

    Teacher or student, live or cached, transformer or not: losses and the objective see this and
    never the model.

    Attributes:
        mask: (b, l) 1 at real tokens, 0 at padding; None where nothing here has an axis of tokens.
        values: each field that was asked for. WHOLE and LAYERED give the shapes.
    """

    mask: Tensor | None = None
    values: Mapping[Field, Tensor] = field(default_factory=dict)

    def __getitem__(self, wanted: Field) -> Tensor:
        if wanted not in self.values:
            raise KeyError(f"{wanted} was not asked of the model")
        return self.values[wanted]

    @property
    def embedding(self) -> Tensor:
        return self[EMBEDDING]

    @property
    def logits(self) -> Tensor:
        return self[LOGITS]


EMBEDDING, POOLED, LOGITS = Field("embedding"), Field("pooled"), Field("logits")
