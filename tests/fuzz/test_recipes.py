"""Recipes that are broken in every way: each is read, or refused in lines with a place and a way out. Never anything else.

FUZZ_EXAMPLES says how many of each kind are tried (make fuzz); by default as many as the suite has time for.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.strategies import mutated, mutated_bytes, places, require_refusal, rough_value
from potstill.errors import PotstillError
from potstill.recipe.file import checked, open_recipe, override, read_recipe, resolved, shipped
from potstill.recipe.recipe import Recipe
from potstill.search.space import Space, distributions

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
fuzz = settings(settings.get_profile("fuzz"), max_examples=EXAMPLES)
BYTES = {name: text.encode() for name, text in shipped().items()}
CONTENT = {name: yaml.safe_load(content) for name, content in BYTES.items()}


def tried(read: Any) -> Recipe | None:
    """The recipe that `read` gives; None where it is refused as it should be."""
    started = time.monotonic()
    try:
        recipe = read()
    except PotstillError as error:
        require_refusal(error)
        return None
    finally:
        assert time.monotonic() - started < 20
    assert isinstance(recipe, Recipe)
    return recipe


def reads_back(recipe: Recipe | None, folder: Path) -> None:
    """A recipe that was read is written out with all its defaults, and read again as the same."""
    if recipe is not None:
        file = folder / "again.yaml"
        file.write_text(resolved(recipe), encoding="utf-8")
        again = read_recipe(str(file))
        assert resolved(again) == resolved(recipe)  # as text: a NaN equals nothing


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


recipes = st.sampled_from(sorted(CONTENT)).flatmap(lambda name: mutated(CONTENT[name]))


@fuzz
@given(content=recipes)
def test_changed_content(folder: Path, content: Any) -> None:
    if isinstance(content, dict):
        reads_back(tried(lambda: open_recipe(content)), folder)


@fuzz
@given(content=recipes, flow=st.booleans())
def test_changed_content_as_a_file(folder: Path, content: Any, flow: bool) -> None:
    file = folder / "recipe.yaml"
    try:
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=flow)
    except ValueError:  # a number of more digits than Python writes
        return
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    reads_back(tried(lambda: read_recipe(str(file))), folder)


@fuzz
@given(content=st.sampled_from(sorted(CONTENT)).flatmap(lambda name: mutated_bytes(BYTES[name])))
def test_a_file_with_other_bytes(folder: Path, content: bytes) -> None:
    file = folder / "bytes.yaml"
    file.write_bytes(content)
    reads_back(tried(lambda: read_recipe(str(file))), folder)


@st.composite
def settings_of(draw: st.DrawFn) -> tuple[str, str]:
    """A shipped recipe, and what --set does to it: a place of its own or none, and a value as YAML or as a hand types it."""
    name = draw(st.sampled_from(sorted(CONTENT)))
    keys = draw(st.sampled_from([".".join(map(str, place)) for place in places(CONTENT[name]) if place]))
    key = keys + draw(st.sampled_from(["", "", "", ".x", ".0", ".", "s", "." + "9" * 5000, ".²"]))
    typed = st.sampled_from(
        ["", "[", "{", "!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "*a", "&a [*a]", "9" * 5000, "=", "null", "{a: 1, a: 2}"]
    )
    value = draw(typed | st.text(max_size=12) | rough_value().map(_as_yaml))
    return name, f"{key}={value}"


def _as_yaml(value: Any) -> str:
    try:
        return override("x", value).removeprefix("x=")
    except ValueError:
        return "0"


@fuzz
@given(drawn=settings_of())
def test_overrides(folder: Path, drawn: tuple[str, str]) -> None:
    name, setting = drawn
    reads_back(tried(lambda: read_recipe(name, [setting])), folder)


SPACES: list[dict[str, Any]] = [
    {"sampler": "grid", "keys": {"training.learning_rate": [1e-3, 2e-3], "student.pooling": ["cls", "mean"]}},
    {
        "sampler": "tpe",
        "trials": 5,
        "keys": {"training.learning_rate": {"from": 1e-4, "to": 1e-2, "log": True}, "student.layers": [1, [1, 4]]},
    },
    {"objectives": ["quality", "latency"], "prune": False, "keys": {"training.batch_size": {"from": 8, "to": 64}}},
]


@fuzz
@given(content=st.sampled_from(SPACES).flatmap(mutated))
def test_changed_spaces(content: Any) -> None:
    try:
        space = checked(Space, content, "space.yaml")
    except PotstillError as error:
        require_refusal(error)
    else:
        assert distributions(space).keys() == space.keys.keys()
