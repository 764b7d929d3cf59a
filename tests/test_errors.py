"""What an error says: one line, place, value, way out."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError, PotstillErrors, did_you_mean, shown


def test_an_error_is_one_line_with_place_problem_and_remedy() -> None:
    error = PotstillError("file.txt:3", "two\n  lines", "mend it")
    assert str(error) == "file.txt:3: two lines; mend it"


def test_several_errors_are_a_line_each_and_still_one_kind() -> None:
    several = PotstillErrors([PotstillError("a", "x"), PotstillError("b", "y")])
    assert str(several) == "a: x\nb: y"
    with pytest.raises(PotstillError):
        raise several


def test_a_close_name_is_proposed_and_a_far_one_gets_the_list() -> None:
    assert did_you_mean("techer", ["teacher", "student"]) == "did you mean 'teacher'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 1000)) == 60
