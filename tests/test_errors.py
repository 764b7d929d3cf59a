"""What an error says: one line, place, value, way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill import errors
from potstill.errors import PotstillError, PotstillErrors, collect, did_you_mean, refuse, shown, unknown

ROOT = Path(__file__).parents[1]


def test_an_error_is_one_line_with_place_problem_and_remedy() -> None:
    error = PotstillError("file.txt:3", "two\n  lines", "mend it")
    assert str(error) == "file.txt:3: two lines; mend it"


def test_several_errors_are_a_line_each_and_still_one_kind() -> None:
    several = PotstillErrors([PotstillError("a", "x"), PotstillError("b", "y")])
    assert str(several) == "a: x\nb: y"
    with pytest.raises(PotstillError):
        raise several


def test_a_handler_that_words_several_errors_anew_loses_none() -> None:
    several = PotstillErrors([PotstillError("a", "x", "mend x"), PotstillError("b", "y"), PotstillError("b", "y")])
    again = PotstillError(f"there: {several.place}", several.problem, several.remedy)
    assert str(again) == "there: a: x; mend x; b: y"
    one = PotstillErrors([PotstillError("a", "x", "mend x")])
    assert str(PotstillError(one.place, one.problem, one.remedy)) == str(one) == "a: x; mend x"


def test_collected_errors_are_raised_at_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(PotstillErrors) as caught, collect() as attempt:
        assert attempt(refuse, "a", "x", "mend it") is None
        assert attempt(int, "7") == 7
        attempt(refuse, "b", "y")
        reached.append(True)
    assert reached and str(caught.value) == "a: x; mend it\nb: y"
    with pytest.raises(PotstillError) as single, collect() as attempt:
        attempt(refuse, "a", "x")
    assert not isinstance(single.value, PotstillErrors)


def test_an_unknown_name_is_told_with_what_was_meant() -> None:
    assert str(unknown("rule", "frist", ["first", "last"], "here")) == "here: unknown rule 'frist'; did you mean 'first'?"


def test_a_close_name_is_proposed_and_a_far_one_gets_the_list() -> None:
    assert did_you_mean("techer", ["teacher", "student"]) == "did you mean 'teacher'?"
    assert did_you_mean("zzz", ["b", "a"]) == "known: a, b"


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 1000)) == 60


def test_what_is_missing_is_installed_from_where_the_package_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors.install("train") == f"pip install -e '{ROOT}[train]' -c {ROOT / 'constraints.txt'}"
    # Installed into a project's own folder; the project has both files and is no clone of this one.
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "vendor" / "potstill" / "errors.py"))
    assert errors.install("quickstart") == "pip install 'potstill[quickstart]'"
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "a clone" / "src" / "potstill" / "errors.py"))
    (tmp_path / "a clone").mkdir()
    assert errors.install("train") == "pip install 'potstill[train]'"  # no clone's files beside it
    (tmp_path / "a clone" / "constraints.txt").touch()
    assert errors.install("train") == f"pip install -e '{tmp_path}/a clone[train]' -c '{tmp_path}/a clone/constraints.txt'"
