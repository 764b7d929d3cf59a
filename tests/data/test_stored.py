"""Texts in a file that is mapped into memory: the same ones as a list would hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.data import stored as module
from potstill.data.stored import TEXTS, Gathering, StoredTexts
from potstill.errors import PotstillError
from potstill.machine.cache import digest_of


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path]:
    """A hundred texts, in batches of 7 and compared in several parts."""
    monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(module, "TOGETHER", 16)
    texts = [f"river ü {number}" for number in range(100)]
    gathering = Gathering(tmp_path)
    gathering.add("a.txt", [f" {text}\t" for text in ["", *texts[:60], *texts[20:30]]], None, 1)
    gathering.add("b.txt", [*texts[50:], texts[0]], None, 1)
    assert gathering.finish() == 100
    return texts, tmp_path


@pytest.mark.parametrize(
    "rows",
    [
        [],  # nothing is left out
        [0, 1, 99],  # both ends are
        [3, 6, 7, 8, 50],  # within batches, and at their borders
        list(range(99)),  # all but one
    ],
)
def test_they_are_read_as_a_list_is(words: tuple[list[str], Path], rows: list[int]) -> None:
    whole, folder = words
    texts = StoredTexts(folder).without(np.array(rows, dtype=np.int64))
    expected = [text for number, text in enumerate(whole) if number not in rows]
    assert list(texts) == texts[:] == expected and len(texts) == len(expected)
    assert [texts[number] for number in range(-len(expected), len(expected))] == expected * 2
    for part in (slice(5, 40), slice(None, None, 9), slice(-3, None), slice(40, 5), slice(200, 300), slice(None, None, -4)):
        assert texts[part] == expected[part]
    with pytest.raises(IndexError):
        texts[len(expected)]
    # What lies in the cache under the texts' digest is found by it again, whoever reads them.
    assert texts.digest == digest_of(expected)
    assert StoredTexts(folder, texts.left_out).digest == texts.digest


def test_the_digest_is_read_where_it_is_kept(words: tuple[list[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    digest = StoredTexts(words[1]).digest
    monkeypatch.setattr(StoredTexts, "__iter__", None)
    assert StoredTexts(words[1]).digest == digest


def test_a_file_that_is_cut_off_is_told(words: tuple[list[str], Path]) -> None:
    file = words[1] / TEXTS
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(PotstillError, match="is not what was written .*; delete its folder"):
        StoredTexts(words[1])
