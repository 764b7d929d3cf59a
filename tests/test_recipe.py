"""Recipes: read once, checked whole, everything wrong reported at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill import recipe_file
from potstill.errors import PotstillError, PotstillErrors


def plain(**changes: Any) -> dict[str, Any]:
    content: dict[str, Any] = {
        "name": "small",
        "data": {"texts": ["texts.txt"]},
        "teacher": {"model": "teacher"},
        "student": {"layers": 2},
        "stages": [{"name": "embed", "terms": [{"loss": "embedding_mse"}]}],
    }
    return content | changes


def problems(content: dict[str, Any]) -> list[str]:
    with pytest.raises(PotstillErrors) as caught:
        recipe_file.check(content)
    return str(caught.value).splitlines()


def test_every_problem_at_once_with_what_was_meant() -> None:
    found = problems(
        plain(
            techer=1,
            training={"learnin_rate": 1e-4, "epochs": -1},
            student={"layers": 2, "width": 100, "heads": 7, "ffn": 10},
            data={"textx": []},
        )
    )
    assert "recipe: techer: unknown key; did you mean 'teacher'?" in found
    assert "recipe: training.learnin_rate: unknown key; did you mean 'learning_rate'?" in found
    assert "recipe: data.textx: unknown key; did you mean 'texts'?" in found
    assert any("training.epochs: -1" in line for line in found)
    assert any("width 100 is not divisible by heads 7" in line for line in found)
    assert len(found) == 5


def test_a_union_is_reported_once_where_it_is_wrong() -> None:
    assert problems(plain(data={"texts": [{"path": "a", "colums": [1]}]})) == [
        "recipe: data.texts.0.colums: unknown key; did you mean 'columns'?"
    ]
    assert problems(plain(Int8=1)) == [
        "recipe: Int8: unknown key; known: data, evaluate, export, name, stages, student, task, teacher, training"
    ]
    assert problems(plain(export={"int8": {"max_dro": 1}})) == ["recipe: export.int8.max_dro: unknown key; did you mean 'max_drop'?"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stages": [{"name": "a", "share": 0.5, "terms": [{"loss": "x"}]}]}, "add up to 0.5"),
        (
            {"stages": [{"name": "a", "share": 0.5, "terms": [{"loss": "x"}]}, {"name": "a", "share": 0.5, "terms": [{"loss": "x"}]}]},
            "same name",
        ),
        ({"student": {"layers": 2, "width": 8}}, "all four"),
        ({"student": {"layers": [0, 1]}}, "layers.0"),
        ({"training": {"device": "tpu"}}, "'tpu' is not among"),
        ({"name": "../up"}, "name"),
    ],
)
def test_values_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    assert any(words in line for line in problems(plain(**change)))


def test_overrides_reach_maps_lists_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()))
    recipe = recipe_file.read(
        str(path), ["training.learning_rate=3e-4", "stages.0.terms.0.weight=2", "student.layers=[1, 3]", "export.int8.max_drop=1"]
    )
    assert recipe.training.learning_rate == 3e-4
    assert recipe.stages[0].terms[0].weight == 2
    assert recipe.student.layers == [1, 3]
    assert recipe.export.limits is not None and recipe.export.limits.max_drop == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training", "a.b=c"),
        ("stages.7.name=x", "a list of 1"),
        ("name.x.y=1", "unknown key|string"),
        ("a=[", "not YAML"),
        ("name=2024-99-99", "not YAML"),
        ("stages.².name=x", "a list of 1"),
    ],
)
def test_overrides_that_lead_nowhere(tmp_path: Path, override: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()))
    with pytest.raises(PotstillError, match=words):
        recipe_file.read(str(path), [override])


def test_names_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="did you mean 'embed/python-docs'"):
        recipe_file.read("embed/python-doc")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(PotstillError, match="not a mapping"):
        recipe_file.read(str(tmp_path / "list.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [\n")
    with pytest.raises(PotstillError, match="is not YAML"):
        recipe_file.read(str(tmp_path / "broken.yaml"))


@pytest.mark.parametrize("name", recipe_file.shipped())
def test_every_shipped_recipe_reads_and_resolves_to_itself(name: str) -> None:
    recipe = recipe_file.read(name)
    assert recipe_file.check(yaml.safe_load(recipe_file.resolved(recipe))) == recipe


def test_a_recipe_like_another_lays_its_values_over_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("like: kd/mrpc\nname: mine\ntraining: {epochs: 7}\nteacher: {model: t}\n")
    mine, other = recipe_file.read(str(tmp_path / "mine.yaml")), recipe_file.read("kd/mrpc")
    assert (mine.name, mine.training.epochs, mine.teacher.model) == ("mine", 7, "t")
    assert mine.stages == other.stages and mine.training.batch_size == other.training.batch_size
    assert "like" not in recipe_file.resolved(mine)


def test_a_recipe_like_itself_or_nothing_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text(f"like: {tmp_path}/b.yaml\n")
    (tmp_path / "b.yaml").write_text(f"like: {tmp_path}/a.yaml\n")
    with pytest.raises(PotstillError, match="like itself"):
        recipe_file.read(str(tmp_path / "a.yaml"))
    (tmp_path / "c.yaml").write_text("like: kd/mrcp\n")
    with pytest.raises(PotstillError, match="did you mean 'kd/mrpc'"):
        recipe_file.read(str(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"share": 0.5, "epochs": 1}], "more than one of share, epochs and steps"),
        ([{"epochs": 1}, {"share": 0.5}], "another has none"),
        ([{"share": 0.5}, {"share": 0.4}], "add up to 0.9"),
    ],
)
def test_stages_have_shares_or_lengths_of_their_own(stages, message):
    content = {"name": "x", "data": {}, "teacher": {"model": "t"}, "student": {}}
    content["stages"] = [{"name": f"s{n}", "terms": [{"loss": "embedding_mse"}], **stage} for n, stage in enumerate(stages)]
    with pytest.raises(PotstillError, match=message):
        recipe_file.check(content)
