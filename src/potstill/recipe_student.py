"""What a recipe may say of its student: one class a kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from potstill.recipe_part import Count, Part, Positive, TextSource


class Vocabulary(Part):
    """A WordPiece vocabulary of the student's own; teacher and student then read the same texts, each in its own pieces."""

    method: Literal["trim", "train"] = Field(
        description="trim: the source's pieces that the texts use, rows kept; train: new ones, rows from the source's pieces"
    )
    size: Count | None = Field(None, description="pieces at most, special tokens included; of `trim` the most frequent, default all used")
    texts: list[str | TextSource] = Field([], description="what it is made on; default: the texts that the student is trained on")

    @model_validator(mode="after")
    def _sized(self) -> Vocabulary:
        if self.method == "train" and self.size is None:
            raise ValueError("a vocabulary to be trained needs a `size`")
        return self


class AnyStudent(Part):
    """What a recipe may say of every student, whatever its kind."""

    model: str | None = Field(
        None, description="the encoder that the student is cut from, or takes its pieces and their vectors from; default: the teacher"
    )
    vocabulary: Vocabulary | None = Field(None, description="default: the source's")
    pooling: str | None = None
    normalize: bool = True
    max_length: Count = 128

    @property
    def built(self) -> bool:
        """Whether it is a network of its own size, not layers of its source."""
        return True

    @property
    def hidden(self) -> int | None:
        """Width of its token vectors; None: its source's."""
        return None

    @property
    def table_width(self) -> int | None:
        """Width of its token table; None: its source's."""
        return self.hidden


class TransformerStudent(AnyStudent):
    """Layers of an encoder, or the same architecture built small."""

    kind: Literal["transformer"] = "transformer"
    layers: Count | list[Count] | None = Field(None, description="how many layers, or which, counted from 1; default: all")
    rule: str = Field(
        "uniform", description="which layers to keep when `layers` is a number: uniform, spread, first, last, or those of most importance"
    )
    keep_heads: Count | None = Field(None, description="attention heads of each layer, those that give most; default: all; of a BERT")
    embedding_rank: Count | None = Field(None, description="the token table (V, d) as (V, r)·(r, d); default: whole; of a BERT")
    ffn_rank: Count | None = Field(None, description="both feed-forward matrices (d, f) as (d, r)·(r, f); default: whole; of a BERT")
    width: Count | None = None
    heads: Count | None = None
    ffn: Count | None = None

    @property
    def built(self) -> bool:
        return self.width is not None

    @property
    def cut(self) -> bool:
        """Whether its layers, or its token table, lose a part of what is in them."""
        return any(value is not None for value in (self.keep_heads, self.embedding_rank, self.ffn_rank))

    @property
    def hidden(self) -> int | None:
        return self.width

    @model_validator(mode="after")
    def _built_or_cut(self) -> TransformerStudent:
        sizes = (self.width, self.heads, self.ffn)
        if any(size is not None for size in sizes):
            if not all(size is not None for size in sizes) or not isinstance(self.layers, int):
                raise ValueError("a student built small needs `layers` (a number), `width`, `heads` and `ffn`, all four")
            if self.width % self.heads:  # type: ignore[operator]
                raise ValueError(f"width {self.width} is not divisible by heads {self.heads}; choose a divisor")
            if self.cut:
                raise ValueError("a student built small has nothing yet to cut; drop keep_heads, embedding_rank and ffn_rank, or the sizes")
        return self


class BiLSTMStudent(AnyStudent):
    """A token table, BiLSTM layers, the greatest value of each dimension over the tokens, and a head (Tang et al. 2019)."""

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
        return 2 * self.width

    @property
    def table_width(self) -> int:
        return self.embedding


class StaticStudent(AnyStudent):
    """One vector a token, whatever stands beside it; a text's is their mean."""

    kind: Literal["static"] = "static"
    width: Count = Field(256, description="of a vector, at most its source's")
    frequency: Positive = Field(
        1e-3, description="a of the weight a / (a + p) that a piece begins with; p is its share of the texts' pieces"
    )
    pooling: Literal["mean"] = "mean"

    @property
    def layers(self) -> int:
        return 0

    @property
    def hidden(self) -> int:
        return self.width

    @model_validator(mode="before")
    @classmethod
    def _no_layers(cls, content: Any) -> Any:
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
