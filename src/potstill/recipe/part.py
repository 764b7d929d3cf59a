"""What every part of a recipe is, and a source of texts, which several parts name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    """A mapping in a recipe: an unknown key is an error, and nothing is changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSource(Part):
    """One source of unlabelled texts.

    Attributes:
        path: a file under the recipe's `data.dir`, or the name of a data set on the Hugging Face hub.
        split: which split of a data set is read.
    """

    path: str
    format: Literal["text", "jsonl", "csv", "tsv", "dataset"] | None = Field(None, description="read off the file's name when absent")
    columns: list[int | str] | None = Field(None, description="of a table or of JSON lines; every column is a text. Default: all / `text`")
    split: str = "train"
    limit: Count | None = Field(None, description="keep this many texts, drawn with the run's seed")
