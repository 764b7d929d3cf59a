"""Recipes: read once, checked whole, everything wrong reported at once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from potstill.errors import PotstillError, PotstillErrors
from potstill.recipe.file import open_recipe, override, parse_recipe, read_recipe, resolved, shipped, whole
from potstill.recipe.recipe import OWN_KINDS, Recipe, top_layers
from potstill.recipe.yaml_text import load


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
        parse_recipe(content)
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
    assert "recipe: data.textx: unknown key; did you mean 'text'?" in found
    assert any("training.epochs: -1" in line for line in found)
    assert any("width 100 is not divisible by heads 7" in line for line in found)
    assert len(found) == 5


def test_a_union_is_reported_once_where_it_is_wrong() -> None:
    assert problems(plain(data={"texts": [{"path": "a", "colums": [1]}]})) == [
        "recipe: data.texts.0.colums: unknown key; did you mean 'columns'?"
    ]
    assert problems(plain(Int8=1)) == [
        "recipe: Int8: unknown key; known: data, evaluate, export, name, smoke, stages, student, task, teacher, training"
    ]
    assert problems(plain(export={"int8": {"max_dro": 1}})) == ["recipe: export.int8.max_dro: unknown key; did you mean 'max_drop'?"]
    assert problems(plain(export={"int8": {"tune": {"stepz": 1}}})) == [
        "recipe: export.int8.tune.stepz: unknown key; did you mean 'steps'?"
    ]


def union_fields(model: type[BaseModel], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every field, in `model` and below, that is a model or something else; 0 for an item of a list."""
    for name, field in model.model_fields.items():
        yield from _unions(field.annotation, (*path, name))


def _unions(annotation: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    if get_origin(annotation) is Annotated:
        yield from _unions(get_args(annotation)[0], path)
    elif get_origin(annotation) is list:
        yield from _unions(get_args(annotation)[0], (*path, 0))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from union_fields(annotation, path)
    elif members := [member for member in get_args(annotation) if member is not NoneType]:
        models = [member for member in members if any(True for _ in _models(member))]
        if models and len(members) > 1:
            yield path
        for member in models:
            yield from _unions(member, path)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


TYPES = {"str", "int", "float", "bool", "constrained-int", "transformer", "bilstm", "static"}
UNIONS = sorted(set(union_fields(Recipe)), key=str)


def test_the_unions_of_a_recipe_are_found() -> None:
    found = {".".join(map(str, path)) for path in UNIONS}
    assert found >= {"student", "data.texts.0", "stages.0.perturb", "export.int8", "export.int8.tune", "student.vocabulary.texts.0"}


@pytest.mark.parametrize("path", UNIONS, ids=lambda path: ".".join(map(str, path)))
def test_no_type_stands_in_the_place_of_a_misspelt_key(path: tuple[str | int, ...]) -> None:
    """Nor does one that the path has as a key of the user's: Tune is not a class there."""
    for key in ("misspelt", "Tune", "bool"):
        inside: Any = {key: 1}
        for part in reversed(path):
            inside = [inside] if part == 0 else {part: inside}
        places = [line.split(": ")[1] for line in problems(plain() | inside)]
        assert ".".join(map(str, (*path, key))) in places
        leaked = {part for place in places for part in place.split(".") if part[0].isupper() or part in TYPES or "[" in part}
        assert leaked - {key} == set()


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
        (
            {"training": {"batches": "neighbors"}},
            "training.batches: 'neighbors' is not among 'random' or 'neighbours'; did you mean 'neighb",
        ),
        ({"training": {"batches": {"group": 1}}}, "training.batches.group: 1: input should be greater than or equal to 2"),
        ({"training": {"batches": "neighbours", "batch_size": 4}}, "batches.group is 8, and batch_size 4; a group is part of a batch"),
        ({"name": "../up"}, "name"),
    ],
)
def test_values_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    assert any(words in line for line in problems(plain(**change)))


def test_overrides_reach_maps_lists_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()))
    recipe = read_recipe(
        str(path), ["training.learning_rate=3e-4", "stages.0.terms.0.weight=2", "student.layers=[1, 3]", "export.int8.max_drop=1"]
    )
    assert recipe.training.learning_rate == 3e-4
    assert recipe.stages[0].terms[0].weight == 2
    assert recipe.student.layers == [1, 3]
    assert recipe.export.limits is not None and recipe.export.limits.max_drop == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # An exponent makes a float, with or without a point and a sign.
        ("1e-4", 1e-4),
        ("3E5", 3e5),
        ("-1.5e3", -1.5e3),
        ("2.e-1", 0.2),
        (".5e1", 5.0),
        ("+.5", 0.5),
        # What is quoted is text.
        ("'1e-4'", "1e-4"),
        ('"2024"', "2024"),
        ("'yes'", "yes"),
        # What only begins like a number is text.
        ("1e-4x", "1e-4x"),
        ("e5", "e5"),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        # As YAML 1.1 has it.
        ("2024", 2024),
        ("08", "08"),
        ("010", 8),
        ("1:30", 90),
        ("yes", True),
        ("2024-01-31", date(2024, 1, 31)),
        ("1.0e-4", 1e-4),
        (".inf", float("inf")),
        ("nan", "nan"),
        ("~", None),
    ],
)
def test_a_value_reads_as_it_is_written(text: str, value: object) -> None:
    for found in (load(text), load(f"key: {text}")["key"], load(f"[{text}]")[0]):
        assert found == value and type(found) is type(value)


TEXTS = [
    "2024",
    "1e-4",
    "1E5",
    "-.5",
    "yes",
    "null",
    "2024-01-31",
    "a: b",
    "it's",
    '"',
    "",
    " ",
    "#",
    "ü 😀",
    "two\nlines",
    "x" * 200,
    "\x7f",
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_text_stays_text_through_overrides_and_resolved_recipes(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()))
    recipe = read_recipe(str(path), [override("teacher.name", text)])
    assert recipe.teacher is not None and recipe.teacher.name == text
    path.write_text(resolved(recipe), encoding="utf-8")
    assert read_recipe(str(path)) == recipe


@pytest.mark.parametrize("value", [1e-05, 3, True, None, [1, "2", 1e-7], {"from": 1, "to": 1e20}, []])
def test_any_value_passes_through_an_override(tmp_path: Path, value: object) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()))
    found = read_recipe(str(path), [override("stages.0.terms.0.weight", value)]).stages[0].terms[0].weight
    assert found == value and type(found) is type(value)


def test_a_quoted_value_stays_text_and_a_plain_number_says_to_quote_it(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()) + "training: {learning_rate: 2e-5}\n")
    recipe = read_recipe(str(path), ["teacher.name='2024'", "stages.0.terms.0.temperature=1e-1", "student.model='1e5'"])
    assert recipe.teacher is not None and (recipe.teacher.name, recipe.student.model) == ("2024", "1e5")
    assert recipe.training.learning_rate == 2e-5 and recipe.stages[0].terms[0].model_extra == {"temperature": 0.1}
    for written in ("2024", "1e5", "2024-01-31", "yes"):
        with pytest.raises(PotstillErrors, match="teacher.name: .*; quote it$"):
            read_recipe(str(path), [f"teacher.name={written}"])


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
        read_recipe(str(path), [override])


def test_names_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="did you mean 'embed/python-docs'"):
        read_recipe("embed/python-doc")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(PotstillError, match="not a mapping"):
        read_recipe(str(tmp_path / "list.yaml"))
    (tmp_path / "broken.yaml").write_text("a: [\n")
    with pytest.raises(PotstillError, match="is not YAML"):
        read_recipe(str(tmp_path / "broken.yaml"))


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_recipe_reads_and_resolves_to_itself(name: str) -> None:
    recipe = read_recipe(name, ["data.file=own.csv"] if whole(name).get("task") in OWN_KINDS else [])
    assert parse_recipe(yaml.safe_load(resolved(recipe))) == recipe


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("reviews.csv", "reviews"),
        ("data/news/train.conll", "news"),  # called after its split alone
        ("test.csv", "test"),  # and in no folder
        ("Größe 2024.v2.csv.gz", "Groe-2024"),
        ("news-dev.csv", "news"),  # -dev is the ending of another task's name
        ("../日本.csv", "data"),  # nothing is left
    ],
)
def test_a_kind_alone_is_the_task_of_the_file_and_called_as_it_is(file: str, name: str) -> None:
    recipe = read_recipe("kd/regression", [override("data.file", file)])
    assert (recipe.task, recipe.name, recipe.evaluate) == (f"regression/{name}", f"kd-{name}", [f"regression/{name}", "cost"])
    assert recipe.select == f"regression/{name}-dev" and recipe.teacher and recipe.teacher.model == f"runs/{name}-teacher"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "task regression says no data; give it data.file, or name a folder under data.dir: regression/NAME"),
        (["task=regression/x", "data.text=body"], "data: text is said of no file; name `file`, or drop it"),
        (["data.file=a.csv", "data.split={dev: 0.5, test: 0.5}"], "dev 0.5 and test 0.5 leave nothing to train on; together they must be"),
        (["data.file={trian: a.csv}"], "data.file.trian: 'trian' is not among 'train', 'dev' or 'test'; did you mean 'train'?"),
        (["data.file=a.csv", "data.text=a", "data.label=a"], "column 'a' is named twice; text, text_pair and label are columns of their"),
        (["task=regression/x", "data.file=[]"], "data: file names none; name one, or drop it"),
    ],
)
def test_what_is_wrong_with_a_file_of_ones_own(overrides: list[str], said: str) -> None:
    with pytest.raises(PotstillErrors) as caught:
        read_recipe("kd/regression", overrides)
    assert said in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_recipe_like_another_lays_its_values_over_it(tmp_path):
    (tmp_path / "mine.yaml").write_text("like: kd/mrpc\nname: mine\ntraining: {epochs: 7}\nteacher: {model: t}\n")
    mine, other = read_recipe(str(tmp_path / "mine.yaml")), read_recipe("kd/mrpc")
    assert (mine.name, mine.training.epochs, mine.teacher.model) == ("mine", 7, "t")
    assert mine.stages == other.stages and mine.training.batch_size == other.training.batch_size
    assert "like" not in resolved(mine)


def test_a_recipe_like_itself_or_nothing_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_text(f"like: {tmp_path}/b.yaml\n")
    (tmp_path / "b.yaml").write_text(f"like: {tmp_path}/a.yaml\n")
    with pytest.raises(PotstillError, match="like itself"):
        read_recipe(str(tmp_path / "a.yaml"))
    (tmp_path / "c.yaml").write_text("like: kd/mrcp\n")
    with pytest.raises(PotstillError, match="did you mean 'kd/mrpc'"):
        read_recipe(str(tmp_path / "c.yaml"))


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
        parse_recipe(content)


def test_names_are_told_together_with_keys() -> None:
    found = problems(
        plain(
            techer=1,
            task="glue/mrcp",
            teacher={"model": "t", "pooling": "men"},
            student={"layers": 2, "rule": "frist"},
            stages=[{"name": "a", "terms": [{"loss": "hiden_mse", "layers": "unifrm"}, {"loss": "mlm"}]}],
            training={"select": "sts/stsb-dve"},
            evaluate=["sts/stsb", "cots", "classification/own", "retrieval/own", "cost"],
        )
    )
    assert found == [
        "recipe: techer: unknown key; did you mean 'teacher'?",
        "recipe: teacher.pooling: unknown pooling 'men'; did you mean 'mean'?",
        "recipe: student.rule: unknown rule 'frist'; did you mean 'first'?",
        "recipe: stages.a.terms.0: unknown name 'hiden_mse'; did you mean 'hidden_mse'?",
        "recipe: stages.a.terms.0.layers: unknown layer map 'unifrm'; did you mean 'uniform'?",
        "recipe: task: unknown task 'glue/mrcp'; did you mean 'glue/mrpc'?",
        "recipe: training.select: unknown task 'sts/stsb-dve'; did you mean 'sts/stsb-dev'?",
        "recipe: evaluate: unknown task 'cots'; did you mean 'cost'?",
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"techer": 1, "stages": 3, "student": [], "teacher": None, "evaluate": {"a": 1}},
        {"techer": 1, "stages": [3, {"terms": [None, {"loss": 5}]}], "student": {"rule": 3, "pooling": ["x"]}, "evaluate": [None]},
    ],
)
def test_a_recipe_of_no_shape_is_told_what_its_keys_have_wrong(content: dict[str, Any]) -> None:
    assert "recipe: techer: unknown key; did you mean 'teacher'?" in problems(content)


def test_a_value_is_told_once(tmp_path: Path) -> None:
    """A static student has one pooling, which its own check tells."""
    (line,) = problems(plain(student={"kind": "static", "pooling": "men"}))
    assert line == "recipe: student.pooling: 'men' is not among 'mean'; did you mean 'mean'?"


@pytest.mark.parametrize(
    ("weight", "active"),
    [
        (0, False),
        (0.0, False),
        (0.5, True),
        ({"from": 0, "to": 0}, False),
        ({"from": 0, "to": 0.0, "shape": "cosine"}, False),
        ({"from": 0, "to": 1}, True),
        ({"from": 1, "to": 0}, True),
        ({"steps": [[0, 0], [0.5, 0]]}, False),
        ({"steps": [[0, 0], [0.5, 1]]}, True),
        # Malformed ones, of which the objective tells what is wrong.
        (False, True),
        (None, True),
        ("none", True),
        ({}, True),
        ({"from": 0}, True),
        ({"steps": []}, True),
        ({"steps": [0, 0]}, True),
        ({"steps": 0}, True),
        ([0], True),
    ],
)
def test_a_term_is_active_unless_its_weight_is_0_throughout(weight: object, active: bool) -> None:
    recipe = parse_recipe(plain(stages=[{"name": "a", "terms": [{"loss": "mlm", "weight": weight}]}]))
    assert recipe.stages[0].terms[0].active is active
    assert recipe.masks is active  # words are masked for no term that is left out


def test_the_earlier_name_of_a_static_students_coefficient() -> None:
    recipe = parse_recipe(plain(student={"kind": "static", "frequency": 0.01}))
    assert recipe == parse_recipe(plain(student={"kind": "static", "sif_coefficient": 0.01}))
    assert "sif_coefficient: 0.01" in resolved(recipe) and "frequency" not in resolved(recipe)
    (line,) = problems(plain(student={"kind": "static", "frequency": -1}))
    assert line == "recipe: student.frequency: -1: input should be greater than 0; write more than 0"
    (line,) = problems(plain(student={"kind": "static", "frequency": 0.1, "sif_coefficient": 0.1}))
    assert line == "recipe: student: frequency is the earlier name of sif_coefficient, and both are given; drop frequency"


def test_top_layers() -> None:
    assert [top_layers(train) for train in ("all", "head", "output", "top:1", "top:12")] == [0, 0, 0, 1, 12]


def test_overrides_reach_a_recipe_however_it_is_given():
    content = {
        "name": "x",
        "data": {"texts": ["a"]},
        "teacher": {"model": "t"},
        "student": {},
        "stages": [{"name": "s", "terms": [{"loss": "mlm"}]}],
    }
    for given in (content, parse_recipe(content)):  # a mapping, a Recipe
        assert open_recipe(given, ["training.seed=7"]).training.seed == 7
        assert open_recipe(given).training.seed == 13
        with pytest.raises(PotstillError, match="training.sead: unknown key"):
            open_recipe(given, ["training.sead=7"])
    assert content == {**content, "student": {}}, "what was given stays as it was"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        # Limits: what numpy, torch or a float cannot hold.
        ({"training": {"seed": 2**32}}, "training.seed: 4294967296: input should be less than 4294967296; write less than 4294967296"),
        ({"training": {"seed": 10**400}}, "training.seed: 1000"),
        ({"training": {"seed": -1}}, "training.seed: -1: input should be greater than or equal to 0; write at least 0"),
        ({"training": {"batch_size": 10**30}}, "training.batch_size: 1000000000000000000000000000000: input should be less than"),
        ({"training": {"epochs": 1e300}}, "training.epochs: 1e+300: input should be less than or equal to 100000; write at most 100000"),
        ({"training": {"learning_rate": 1e300}}, "training.learning_rate: 1e+300: input should be less than or equal to"),
        ({"training": {"evaluations": 10**30}}, "training.evaluations: "),
        ({"teacher": {"model": "t", "cache_gb": 1e300}}, "teacher.cache_gb: 1e+300: "),
        ({"student": {"layers": 10**30}}, "student.layers: "),
        # A name that is none, and texts that no file can hold.
        ({"teacher": {"model": ""}}, "teacher.model: '': string should have at least 1 character; write one, or leave the key out"),
        ({"name": "x" * 300}, "name: 'xxx"),
        ({"teacher": {"model": "t", "name": "\ud800"}}, "teacher.name: '\\ud800' holds half of a surrogate pair; take"),
        ({"teacher": {"model": "a\0b"}}, "teacher.model: 'a\\x00b' holds a NUL character; take that character out"),
        ({"stages": [{"name": "a", "terms": [{"loss": "mlm", "\udfff": 1}]}]}, "stages.0.terms.0: '\\udfff' holds half of"),
        # What another type calls for.
        (
            {"training": {"schedule": "lin"}},
            "training.schedule: 'lin' is not among 'linear', 'cosine' or 'constant'; did you mean 'linear'?",
        ),
        ({"training": {"schedule": "x"}}, "training.schedule: 'x' is not among 'linear', 'cosine' or 'constant'; choose one of these"),
        ({"student": {"kind": "bilstn"}}, "student.kind: 'bilstn' is not among 'transformer', 'bilstm', 'static'; did you mean 'bilstm'?"),
        ({"training": {"epochs": []}}, "training.epochs: []: input should be a valid number; write a number"),
        (
            {"training": {"batch_size": 1.5}},
            "training.batch_size: 1.5: input should be a valid integer, got a number with a fractional part",
        ),
        ({"teacher": {"model": "t", "cache": 3}}, "teacher.cache: 3: input should be a valid boolean, unable to interpret input; write"),
        ({"training": []}, "training: []: input should be a valid dictionary or instance of Training; write a mapping"),
        ({"evaluate": "cost"}, "evaluate: 'cost': input should be a valid list; write a list"),
        ({"stages": []}, "stages: []: list should have at least 1 item after validation, not 0; write at least 1"),
    ],
)
def test_a_value_that_nothing_can_take_is_one_line_with_a_way_out(changes: dict[str, Any], line: str) -> None:
    (found,) = problems(plain(**changes))
    assert found.startswith(f"recipe: {line}") and "; " in found and len(found) < 300 and found.isprintable(), found


def test_the_greatest_values_are_taken() -> None:
    training = {"seed": 2**32 - 1, "batch_size": 10**9, "epochs": 100_000, "learning_rate": 1e30}
    assert parse_recipe(plain(training=training)).training.seed == 2**32 - 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!int ''", ":1: is not YAML ('' is no int); mend that line"),
        ("\na: !!float ''", ":2: is not YAML ('' is no float)"),
        ("a: !!bool x", ":1: is not YAML ('x' is no bool)"),
        ("a: !!timestamp x", ":1: is not YAML ('x' is no timestamp)"),
        ("a: 2024-99-99", ":1: is not YAML ('2024-99-99' is no timestamp)"),
        ("a: !!set {b}", ":1: is not YAML (a recipe has no values of the kind 'set')"),
        ("a: !!binary aaaa", ":1: is not YAML (a recipe has no values of the kind 'binary')"),
        ("a: !!python/object/apply:os.getpid []", ":1: is not YAML (a recipe has no values of the kind 'python/object/apply:os.getpid')"),
        ("a: 1\nb: 2\na: 3", ":3: is not YAML (the key 'a' stands twice, first in line 1)"),
        ("a: {x: 1, y: 2, x: 3}", ":1: is not YAML (the key 'x' stands twice, first in line 1)"),
        (f"seed: {'9' * 5000}", ":1: is not YAML (a number of more than 1,000 digits)"),
        (f"seed: 0x{'f' * 5000}", ":1: is not YAML (a number of more than 1,000 digits)"),
        ("a: &a [*a]", ": is not YAML (an alias names what holds it); mend it"),
        ("[" * 3000, ": is not YAML (it is nested too deep)"),
        ("a: [", ":1: is not YAML (while parsing a flow node, expected the node content"),
        ("- 1", ": holds list, not a mapping; start from a shipped recipe"),
        ("", ": holds NoneType, not a mapping"),
    ],
)
def test_a_text_that_is_no_recipe_is_one_line_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(PotstillError) as told:
        read_recipe(str(path))
    assert str(told.value).startswith(f"{path}{words}") and told.value.remedy
    assert len(str(told.value)) < 300 and "set_int_max_str_digits" not in str(told.value)


def test_a_text_in_another_encoding_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(PotstillError, match="is not a text .*byte 9.*; save it in UTF-8"):
        read_recipe(str(tmp_path / "recipe.yaml"))


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
MERGED = "a0: &a0 {k: 1, l: 2}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ALIASES, "it holds more than 100,000 values"),
        (MERGED, "a9: unknown key"),  # nine milliards of pairs, were they all written out
        ("".join(f"key{n}: 1\n" for n in range(20_000)), "recipe.yaml: 19,98. more mistakes; mend these first$"),
        (yaml.safe_dump({"evaluate": [f"tsk{n}" for n in range(20_000)], "x": 1}), "mistakes; mend these first$"),
        (yaml.safe_dump({"stages": [{"name": "a", "terms": [{"loss": f"x{n}"} for n in range(5_000)]}]}), "mistakes; mend these first$"),
        ("? " + "k" * 1_000_000 + "\n: 1", "unknown key"),
    ],
    ids=["aliases", "merges", "keys", "tasks", "terms", "letters"],
)
def test_a_text_that_would_take_minutes_takes_seconds(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(PotstillError, match=words) as told:
        read_recipe(str(path))
    assert time.process_time() - started < 20
    assert len(str(told.value).splitlines()) <= 22 and len(str(told.value)) < 10_000


def test_content_that_holds_itself_is_one_line() -> None:
    content = plain()
    content["training"] = content
    assert problems(content) == ["recipe: is nested too deep, or holds itself; write it out flat"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("x" * 300, "no such recipe file, and no shipped recipe of that name"),
        ("x/" * 3000, "no such recipe file, and no shipped recipe of that name"),
        ("~nosuchuser/recipe.yaml", "no such recipe file"),
        ("a\0b", "no such recipe file"),
        ("\udc80", "no such recipe file"),
        ("", "no such recipe file"),
        ("folder", "folder: is a folder, not the file of a recipe; name a file, or a shipped recipe"),
        ("pipe", "pipe: is a pipe, not the file of a recipe; name a file, or a shipped recipe"),
        ("/dev/zero", "/dev/zero: is a device, not the file of a recipe; name a file, or a shipped recipe"),
    ],
    ids=range(9),
)
@pytest.mark.parametrize("way", ["recipe", "like"])
def test_a_name_that_is_no_recipe_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str, way: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    if way == "like":
        Path("mine.yaml").write_text(json.dumps({"like": name}))
        name = "mine.yaml"
    with pytest.raises(PotstillError) as told:
        read_recipe(name)
    assert words in str(told.value) and len(str(told.value)) < 1500 and str(told.value).isprintable()


@pytest.mark.parametrize("key", ["9" * 5000, "stages." + "9" * 5000, "stages.0.terms.-1.weight", "x" * 10_000])
def test_an_override_of_no_place_is_one_short_line(tmp_path: Path, key: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(plain()))
    with pytest.raises(PotstillError) as told:
        read_recipe(str(path), [f"{key}=1"])
    assert len(str(told.value).splitlines()) == 1 and len(str(told.value)) < 500
