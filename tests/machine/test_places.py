"""What a model's name means: a path, or one of the models in POTSTILL_MODELS."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.machine.places import place_of_model, refuse_model

MODELS = ("small", "judge", "tiny/encoder", "a/twice", "b/twice", "other/judge")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, one of which has a pooling with a configuration of its own; the working folder holds `runs`."""
    folder = tmp_path / "models"
    for place in (*MODELS, "small/1_Pooling"):
        (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / place / "config.json").write_text("{}")
    (tmp_path / "work" / "runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("POTSTILL_MODELS", str(folder))
    return folder


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("small", "small"),
        ("sentence-transformers/small", "small"),  # it lies there without its owner
        ("encoder", "tiny/encoder"),  # and here with one
        ("judge", "judge"),  # the exact name goes first
        ("other/judge", "other/judge"),
        ("somebody/judge", "judge"),
        ("somebody/encoder", None),  # another owner's
        ("twice", None),  # which of the two nobody knows
        ("runs/small", None),  # a path at which nothing lies
        ("1_Pooling", None),  # a part of a model
    ],
)
def test_a_name_finds_its_model_with_and_without_the_owner(own: Path, name: str, found: str | None) -> None:
    assert place_of_model(name) == (Path(name) if found is None else own / found)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sentence-transformers/smal", "did you mean 'small'?"),
        ("encodr", "did you mean 'tiny/encoder'?"),
        ("nothing-like-it", "known: a/twice, b/twice, judge, other/judge, small, tiny/encoder"),
    ],
)
def test_near_names_are_told_by_their_last_part_and_only_models_are_listed(own: Path, name: str, said: str) -> None:
    with pytest.raises(PotstillError) as caught:
        refuse_model(name, "no such folder", "connect")
    assert str(caught.value) == f"{name}: no such folder, and POTSTILL_MODELS ({own}) has none of that name; connect; {said}"
