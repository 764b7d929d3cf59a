"""What a recipe may say of its student: one class for each kind of student."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Discriminator, Field, Tag, field_validator, model_validator

from potstill.recipe.part import Count, Named, Part, Positive, TextSource


class Vocabulary(Part):
    """A WordPiece vocabulary of the student's own. Teacher and student then read the same texts, each in its own pieces."""

    method: Literal["trim", "train"] = Field(
        description="trim: the source's pieces that the texts use, rows kept; train: new ones, rows from the source's pieces"
    )
    size: Count | None = Field(
        None, description="pieces, special tokens included; of `trim` those used most, made up by the source's first; default all used"
    )
    texts: list[Named | TextSource] = Field([], description="what it is made on; default: the texts that the student is trained on")

    @model_validator(mode="after")
    def _sized(self) -> Vocabulary:
        if self.method == "train" and self.size is None:
            raise ValueError("a vocabulary to be trained needs a `size`; give one")
        return self


class AnyStudent(Part):
    """What a recipe may say of every student, whatever its kind.

    Attributes:
        pooling: from token vectors to a text's vector (`potstill list poolings`); default: the source's.
        normalize: whether vectors are scaled to length 1.
        max_length: tokens that a text is cut to, special tokens included.
        dimensions: of a vector; its first so many are taught to serve alone (Matryoshka).
    """

    model: Named | None = Field(
        None, description="the encoder that the student is cut from, or takes its pieces and their vectors from; default: the teacher"
    )
    vocabulary: Vocabulary | None = Field(None, description="default: the source's")
    pooling: str | None = None
    normalize: bool = True
    align: Literal["teacher"] | None = Field(
        None,
        description="teacher: vectors in the teacher's space, by a dense layer from the student's width to the teacher's that stays in "
        "the student; of the task embed",
    )
    max_length: Count = 128
    dimensions: list[Count] = Field([], description="teach the first so many of a vector to serve alone (Matryoshka); e.g. [256, 128, 64]")

    @field_validator("dimensions")
    @classmethod
    def _each_once(cls, dimensions: list[int]) -> list[int]:
        if twice := [number for number in dimensions if dimensions.count(number) > 1]:
            raise ValueError(f"{twice[0]} is twice in it; name each once")
        return sorted(dimensions, reverse=True)

    @property
    def built(self) -> bool:
        """Whether the student is a network of its own size instead of layers of its source."""
        return True

    @property
    def hidden(self) -> int | None:
        """Width of the student's token vectors; None: its source's."""
        return None

    @property
    def table_width(self) -> int | None:
        """Width of the student's token embedding table; None: its source's."""
        return self.hidden


class TransformerStudent(AnyStudent):
    """Layers of an encoder, or a smaller network of the same architecture.

    Attributes:
        kind: tells the kinds of students apart.
        width: of the hidden states. With it the student is built with random weights, and `heads` and `ffn` must be given too.
        heads: attention heads of each layer.
        ffn: inner width of each layer's feed-forward block.
    """

    kind: Literal["transformer"] = "transformer"
    layers: Count | list[Count] | None = Field(None, description="how many layers, or which, counted from 1; default: all")
    rule: str = Field(
        "uniform",
        description="which layers to keep when `layers` is a number: uniform, spread, skip, first, last, or those of most importance",
    )
    keep_heads: Count | None = Field(None, description="attention heads of each layer, those that give most; default: all; of a BERT")
    embedding_rank: Count | None = Field(None, description="the token table (V, d) as (V, r)·(r, d); default: whole; of a BERT")
    ffn_rank: Count | None = Field(None, description="both feed-forward matrices (d, f) as (d, r)·(r, f); default: whole; of a BERT")
    width: Count | None = None
    heads: Count | None = None
    ffn: Count | None = None

    @property
    def built(self) -> bool:
        """Whether the student has a `width`, and so takes no layers from its source."""
        return self.width is not None

    @property
    def cut(self) -> bool:
        """Whether heads are removed from the layers, or matrices are factored into two of lower rank."""
        return any(value is not None for value in (self.keep_heads, self.embedding_rank, self.ffn_rank))

    @property
    def hidden(self) -> int | None:
        """Width of the student's token vectors; None: its source's."""
        return self.width

    @model_validator(mode="after")
    def _built_or_cut(self) -> TransformerStudent:
        sizes = (self.width, self.heads, self.ffn)
        if any(size is not None for size in sizes):
            if not all(size is not None for size in sizes) or not isinstance(self.layers, int):
                raise ValueError("a student built small needs `layers` (a number), `width`, `heads` and `ffn`; give all four")
            if self.width % self.heads:  # type: ignore[operator]
                raise ValueError(f"width {self.width} is not divisible by heads {self.heads}; choose a divisor")
            if self.cut:
                raise ValueError("a student built small has nothing yet to cut; drop keep_heads, embedding_rank and ffn_rank, or the sizes")
        return self


class BiLSTMStudent(AnyStudent):
    """A token table, BiLSTM layers, max pooling over the tokens, and a head (Tang et al. 2019).

    Attributes:
        kind: tells the kinds of students apart.
        layers: of the BiLSTM.
        pooling: of a student without a head; one with a head has max.
    """

    kind: Literal["bilstm"] = "bilstm"
    layers: Count = 1
    width: Count = Field(300, description="of each direction's states; a token's vector has twice as many")
    embedding: Count = Field(300, description="width of the token table")
    table: Literal["pca", "random"] = Field("pca", description="the token table: the source's, its main axes kept; or drawn anew")
    dense: Count = Field(200, description="width of the layer between a text's features and the output; of a student with a head")
    activation: Literal["relu", "gelu"] = Field("relu", description="of that layer")
    pooling: str | None = "max"

    @property
    def hidden(self) -> int:
        """Width of a token's vector: the states of both directions, one after the other."""
        return 2 * self.width

    @property
    def table_width(self) -> int:
        """Width of the student's token embedding table."""
        return self.embedding


class StaticStudent(AnyStudent):
    """One vector for each token, independent of its context. A text's vector is their mean.

    Attributes:
        kind: tells the kinds of students apart.
        pooling: there is no other.
    """

    kind: Literal["static"] = "static"
    width: Count = Field(256, description="of a vector, at most its source's")
    sif_coefficient: Positive = Field(
        1e-3,
        validation_alias=AliasChoices("sif_coefficient", "frequency"),  # its name in recipes of earlier versions
        description="a of the weight a / (a + p) that a piece begins with; p is its share of the texts' pieces",
    )
    pooling: Literal["mean"] = "mean"

    @property
    def layers(self) -> int:
        """Always 0."""
        return 0

    @property
    def hidden(self) -> int:
        """Width of a token's vector."""
        return self.width

    @model_validator(mode="before")
    @classmethod
    def _fits(cls, content: Any) -> Any:
        if isinstance(content, dict) and {"sif_coefficient", "frequency"} <= content.keys():
            raise ValueError("frequency is the earlier name of sif_coefficient, and both are given; drop frequency")
        asked = [key for key in ("layers", "heads", "ffn") if isinstance(content, dict) and content.get(key) is not None]
        if asked:
            raise ValueError(f"a static student is one vector a token, without layers or attention; drop {', '.join(asked)}")
        return content


def _kind(student: Any) -> Any:
    """What tells the kinds of students apart."""
    return student.get("kind", "transformer") if isinstance(student, dict) else getattr(student, "kind", "transformer")


Student = Annotated[
    Annotated[TransformerStudent, Tag("transformer")] | Annotated[BiLSTMStudent, Tag("bilstm")] | Annotated[StaticStudent, Tag("static")],
    Discriminator(_kind),
]
