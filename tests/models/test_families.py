"""Each family of encoders does what docs/architectures.md says, or is refused in the words that stand there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.architectures import FAST, MEANING, PAGE, SLOW, answers, page_of, rows_of
from helpers.families import FAMILIES, save_family
from potstill.errors import PotstillWarning
from potstill.models.loading import load_encoder

ROWS = rows_of(PAGE.read_text(encoding="utf-8"))
# Exporting takes seconds each: these stand for a stack that is told its attention, two of their own, and one of two kinds of
# layers. `make families` tries all.
EXPORTED = list(FAMILIES) if os.environ.get("POTSTILL_FAMILIES") == "all" else ["bert", "deberta-v2", "modernbert", "mpnet"]


def test_the_page_has_every_family_and_every_column() -> None:
    assert set(ROWS) == set(FAMILIES) and set(MEANING) == {*FAST, *SLOW}
    assert {tuple(row) for row in ROWS.values()} == {tuple(MEANING)}
    # All but the line that names the release of transformers.
    again, page = (
        [line for line in text.splitlines() if "under transformers" not in line]
        for text in (page_of(ROWS), PAGE.read_text(encoding="utf-8"))
    )
    assert again == page


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_does_what_the_page_says(name: str, tmp_path: Path) -> None:
    assert answers(name, FAST, tmp_path) == {column: ROWS[name][column] for column in FAST}


@pytest.mark.parametrize("name", EXPORTED)
def test_a_family_is_exported_as_the_page_says(name: str, tmp_path: Path) -> None:
    assert answers(name, SLOW, tmp_path) == {column: ROWS[name][column] for column in SLOW}


def test_what_the_project_rests_on_works() -> None:
    """So that a page of refusals alone is not right."""
    for name in ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "mpnet", "deberta", "deberta-v2", "modernbert"):
        assert {ROWS[name][column] for column in ("vectors", "padding", "layers", "attention", "logits", "cut", "export", "int8")} == {
            "yes"
        }
    assert ROWS["bert"]["heads"] == ROWS["bert"]["ranks"] == "yes"


@pytest.mark.parametrize("name", [name for name in FAMILIES if ROWS[name]["vectors"] == "yes"])
def test_a_family_that_reads_padding_is_told(name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    load_encoder(save_family(name, tmp_path))
    told = [str(warning.message) for warning in recwarn if issubclass(warning.category, PotstillWarning)]
    assert ["padding it reads" in line for line in told] == [True] * (ROWS[name]["padding"] != "yes")
