"""Options of a recipe against a constructor's annotations."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillErrors
from potstill.registry import TABLES, check_options, names, table


class Part:
    def __init__(
        self, heads: int, rate: float = 0.5, keep: bool = True, form: str = "plain", count: int | None = None, **rest: object
    ) -> None:
        """Takes one of each."""


def said_of(**options: object) -> list[str]:
    """The lines that options of a Part raise, none where all are right."""
    try:
        check_options(Part, options, "here", "part 'x'", beside=["weight"])
    except PotstillErrors as errors:
        return [str(error) for error in errors.errors]
    return []


@pytest.mark.parametrize(
    "options",
    [{}, {"rate": 2}, {"rate": 2.5}, {"keep": False}, {"form": "other"}, {"count": None}, {"count": 3}],
)
def test_what_the_annotations_allow(options: dict[str, object]) -> None:
    assert said_of(heads=4, **options) == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"heads": 12.0}, "here.heads: 12.0 should be a valid integer for part 'x'; give it such a value"),
        ({"heads": True}, "here.heads: True should be a valid integer for part 'x'; give it such a value"),
        ({"count": 2.5}, "here.count: 2.5 should be a valid integer for part 'x'; leave it out for None"),
        ({"rate": True}, "here.rate: True should be a valid number for part 'x'; leave it out for 0.5"),
        ({"rate": float("nan")}, "here.rate: nan should be a finite number for part 'x'; leave it out for 0.5"),
        ({"rate": "hot"}, "here.rate: 'hot' should be a valid number for part 'x'; leave it out for 0.5"),
        ({"rate": "1e-3"}, "here.rate: '1e-3' should be a valid number for part 'x'; write 0.001 as a number, without"),
        ({"rate": None}, "here.rate: None should be a valid number for part 'x'; leave it out for 0.5"),
        ({"keep": 1}, "here.keep: 1 should be a valid boolean for part 'x'; leave it out for True"),
        ({"form": 3}, "here.form: 3 should be a valid string for part 'x'; leave it out for 'plain'"),
        ({"wieght": 1}, "here.wieght: unknown key for part 'x'; did you mean 'weight'?"),
        ({"rest": 1}, "here.rest: unknown key for part 'x'; "),
    ],
)
def test_anything_else_is_one_line(options: dict[str, object], line: str) -> None:
    (found,) = said_of(**{"heads": 4} | options)
    assert found.startswith(line) and len(found.splitlines()) == 1


@pytest.mark.parametrize("kind", TABLES)
def test_every_table_says_what_its_names_mean(kind: str) -> None:
    assert all(isinstance(meaning, str) and meaning for meaning in table(kind).values()) and len(table(kind)) > 2


def test_names_of_parts_are_their_files() -> None:
    found = names("losses")
    assert found["hidden_mse"] and "base" not in found and "__init__" not in found


def test_everything_wrong_is_told_at_once() -> None:
    found = said_of(rate="x", keep="y")
    assert [line.partition(":")[0] for line in found] == ["here.rate", "here.keep", "here.heads"]
    assert "here.heads: is missing, and part 'x' needs it; add it" in found
