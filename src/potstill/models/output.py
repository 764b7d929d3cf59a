"""The one record in which every model shows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from torch import Tensor


class Field(NamedTuple):
    """Something that a model can give: a name of FIELDS, with the number of a layer where it is one of LAYERED."""

    name: str
    layer: int | None = None

    def __str__(self) -> str:
        return self.name if self.layer is None else f"{self.name}-{self.layer}"


class FieldShape(NamedTuple):
    """What a field looks like.

    Attributes:
        axis: what there is a line of numbers for: a "text", a "token", or a "pair" of tokens. Logits that tag words have one
            a token.
        width: whose size the last axis has: "embedding" (the pooled vector), "hidden" (a layer's states), "inside" (queries, keys
            and values), "heads", "pooled" (what the output layer reads) or "logits".
        meaning: its shape of `b` texts padded to `l` tokens, and what it is.
        layered: whether there is one for each layer. Layer 0 is the embedding output, layer k the output of the k-th layer.
        inside: whether it is computed within attention, which not every model shows.
    """

    axis: Literal["text", "token", "pair"]
    width: Literal["embedding", "hidden", "inside", "heads", "pooled", "logits"]
    meaning: str
    layered: bool = True
    inside: bool = False


FIELDS: dict[str, FieldShape] = {
    "embedding": FieldShape("text", "embedding", "(b, d) the pooled vector, of unit length when the model normalises", layered=False),
    "pooled": FieldShape(
        "text",
        "pooled",
        "(b, d) what the layer that gives a text's logits reads: BERT's pooled first token, a BiLSTM's dense layer",
        layered=False,
    ),
    "logits": FieldShape("text", "logits", "(b, classes), (b, l, tags) or (b, l, vocabulary): what the head gives", layered=False),
    "hidden_states": FieldShape("token", "hidden", "(b, l, d) every token's vector; layers 0 to N"),
    "cls_states": FieldShape("text", "hidden", "(b, d) the first token's vector; layers 0 to N"),
    "mean_states": FieldShape("text", "hidden", "(b, d) mean over real tokens; layers 0 to N"),
    "attention_scores": FieldShape(
        "pair", "heads", "(b, heads, l, l) before the softmax, scaled, without the mask; layers 1 to N", inside=True
    ),
    "queries": FieldShape("token", "inside", "(b, l, d) after the bias, heads side by side; layers 1 to N", inside=True),
    "keys": FieldShape("token", "inside", "(b, l, d) likewise", inside=True),
    "values": FieldShape("token", "inside", "(b, l, d) likewise", inside=True),
}
LAYERED = frozenset(name for name, shape in FIELDS.items() if shape.layered)
INSIDE = frozenset(name for name, shape in FIELDS.items() if shape.inside)
STATES = LAYERED - INSIDE
TOKENS = frozenset(name for name, shape in FIELDS.items() if shape.axis == "token")
PAIRS = frozenset(name for name, shape in FIELDS.items() if shape.axis == "pair")


@dataclass(frozen=True)
class EncoderOutput:
    """What a model computed for a batch of `b` texts padded to `l` tokens: only what was asked for.

    Teacher or student, live or cached, transformer or not: losses and the objective see this and
    never the model.

    Attributes:
        mask: (b, l) 1 at real tokens, 0 at padding; None where nothing here has an axis of tokens.
        values: each field that was asked for; FIELDS has the shapes.
    """

    mask: Tensor | None = None
    values: Mapping[Field, Tensor] = field(default_factory=dict)

    def __getitem__(self, wanted: Field) -> Tensor:
        if wanted not in self.values:
            raise KeyError(f"{wanted} was not asked of the model")
        return self.values[wanted]

    @property
    def embedding(self) -> Tensor:
        """(b, d) the pooled vectors. A KeyError where they were not asked for."""
        return self[EMBEDDING]

    @property
    def logits(self) -> Tensor:
        """What the head gives, in the shape that FIELDS has. A KeyError where they were not asked for."""
        return self[LOGITS]


EMBEDDING, POOLED, LOGITS = Field("embedding"), Field("pooled"), Field("logits")
