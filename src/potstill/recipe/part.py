"""What every part of a recipe is, and a source of texts, which several parts name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Beyond these limits lies nothing that a machine could train, and the libraries' arithmetic in 32 bits breaks.
MOST, MOST_FLOAT = 10**9, 3e38
Count = Annotated[int, Field(ge=1, le=MOST)]
Positive = Annotated[float, Field(gt=0, le=MOST_FLOAT, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What numpy and torch both take."""

Named = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """A mapping in a recipe: an unknown key is an error, and nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSource(Part):
    """One source of unlabelled texts.

    Attributes:
        path: a file under the recipe's `data.dir`, or the name of a data set on the Hugging Face hub.
        split: which split of a data set is read.
    """

    path: Named
    format: Literal["text", "jsonl", "csv", "tsv", "dataset"] | None = Field(None, description="read off the file's name when absent")
    columns: list[int | str] | None = Field(None, description="of a table or of JSON lines; every column is a text. Default: all / `text`")
    split: str = "train"
    limit: Count | None = Field(None, description="keep this many texts, drawn with the run's seed")
