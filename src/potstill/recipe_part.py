"""What every part of a recipe is, and a source of texts, which several parts name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSource(Part):
    """One source of unlabelled texts."""

    path: str
    format: Literal["text", "jsonl", "csv", "tsv", "dataset"] | None = Field(None, description="read off the file's name when absent")
    columns: list[int | str] | None = Field(None, description="of a table or of JSON lines; every column is a text. Default: all / `text`")
    split: str = "train"
    limit: Count | None = Field(None, description="keep this many texts, drawn with the run's seed")
