"""A teacher is asked once for what it answers, whatever the number of runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.evaluation import kept as module
from potstill.evaluation.kept import ANSWERS, kept
from potstill.evaluation.subject import Subject, open_subject
from potstill.machine.cache import cache_folder


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def teacher(tiny_encoder_dir: Path, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Subject]:
    """A model opened anew and kept, with a note of each time that it is asked."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))

    def opened(folder: Path = tiny_encoder_dir, run: Callable[..., Any] | None = None, **settings: Any) -> Subject:
        subject = open_subject(folder)

        def encode(texts: Sequence[str], title: str = "") -> np.ndarray:
            asked.append(title)
            return subject.encode(texts)

        return kept(replace(subject, encode=encode, run=run or encode), folder, {"pooling": None, **settings})

    return opened


def test_the_same_texts_are_encoded_once(teacher: Callable[..., Subject], asked: list[str]) -> None:
    first = teacher().encode(["the river", "a village"], "score teacher")
    again = teacher().encode(["the river", "a village"], "score teacher")
    assert asked == ["score teacher"]
    np.testing.assert_array_equal(first, again)
    assert again.dtype == np.float32


@pytest.mark.parametrize("texts", [["a village", "the river"], ["the river"], [("the river", "a village")], [["the river", "a village"]]])
def test_other_texts_are_other_answers(teacher: Callable[..., Subject], asked: list[str], texts: list[Any]) -> None:
    def run(given: Sequence[Any], title: str = "") -> np.ndarray:
        asked.append(title)
        return np.zeros((len(given), 2), dtype=np.float32)

    subject = teacher(run=run)
    subject.run(["the river", "a village"])
    assert subject.run(texts).shape == (len(texts), 2)
    assert len(asked) == 2


def test_whatever_decides_an_answer_asks_anew(
    teacher: Callable[..., Subject], asked: list[str], tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher().encode(["the river"])
    teacher(pooling="cls").encode(["the river"])
    assert len(asked) == 2
    other = tmp_path / "other"
    shutil.copytree(tiny_encoder_dir, other)
    teacher(other).encode(["the river"])  # the same files elsewhere
    assert len(asked) == 2
    for number, name in enumerate(("config.json", "pooling/config.json", "merges.txt", "spiece.model"), start=3):
        (other / name).parent.mkdir(exist_ok=True)
        with (other / name).open("a", encoding="utf-8") as stream:
            stream.write("\n")
        teacher(other).encode(["the river"])
        assert len(asked) == number, name
    before = len(asked)
    monkeypatch.setattr(module, "versions", lambda: {"torch": "another"})
    teacher().encode(["the river"])
    assert len(asked) == before + 1


def test_a_taggers_answers_are_as_long_as_their_sentences(teacher: Callable[..., Subject], asked: list[str]) -> None:
    answers = [np.full((length, 3), length, dtype=np.float32) for length in (2, 1, 4)]
    words = [["a", "b"], ["c"], ["d", "e", "f", "g"]]

    def run(texts: Sequence[Any], title: str = "") -> list[np.ndarray]:
        asked.append(title)
        return answers

    for _ in range(2):
        found = teacher(run=run).run(words)
        assert [each.tolist() for each in found] == [each.tolist() for each in answers]
    assert len(asked) == 1


@pytest.mark.parametrize("broken", [b"", b"no archive", None])
def test_a_broken_file_is_written_anew(teacher: Callable[..., Subject], asked: list[str], broken: bytes | None) -> None:
    expected = teacher().encode(["the river"])
    (file,) = (cache_folder() / ANSWERS).iterdir()
    file.write_bytes(file.read_bytes()[:-30] if broken is None else broken)
    np.testing.assert_array_equal(teacher().encode(["the river"]), expected)
    np.testing.assert_array_equal(teacher().encode(["the river"]), expected)
    assert len(asked) == 2


def test_a_model_with_a_head_gives_no_vectors_because_it_gave_logits(teacher: Callable[..., Subject], tiny_encoder_dir: Path) -> None:
    def refuses(texts: Sequence[str], title: str = "") -> np.ndarray:
        raise PotstillError("model", "has a head", "use predict")

    headed = replace(open_subject(tiny_encoder_dir), head="classification", encode=refuses)
    headed = kept(replace(headed, run=lambda texts, title="": np.zeros((len(texts), 2), np.float32)), tiny_encoder_dir, {})
    assert headed.run(["the river"]).shape == (1, 2)
    with pytest.raises(PotstillError, match="has a head"):
        headed.encode(["the river"])


def test_large_answers_are_not_kept(teacher: Callable[..., Subject], asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST", 100)
    for _ in range(2):
        teacher().encode(["the river"])
    assert len(asked) == 2
    assert not (cache_folder() / ANSWERS).exists()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), PotstillError("cache", "is full", "make room")])
def test_a_disk_that_fails_costs_no_answer(
    teacher: Callable[..., Subject], asked: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*given: object) -> None:
        raise error

    monkeypatch.setattr(module, "_write", fails)
    assert teacher().encode(["the river"]).shape[0] == 1
    assert len(asked) == 1


def test_a_cache_that_cannot_be_written_costs_no_answer(
    teacher: Callable[..., Subject], asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "file"))
    assert teacher().encode(["the river"]).shape[0] == 1
    assert len(asked) == 1
