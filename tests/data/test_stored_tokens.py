"""Token ids that are mapped into memory: the same ones as those that are held in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from potstill.data import stored_tokens as module
from potstill.data.stored import Gathering, StoredTexts
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder

WORDS = [f"the river {number} " + "and a village " * (number % 5) for number in range(30)]


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredTexts:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "CHUNK", 7)
    (tmp_path / "texts").mkdir()
    gathering = Gathering(tmp_path / "texts")
    gathering.add("a.txt", WORDS, None, 1)
    gathering.finish()
    return StoredTexts(tmp_path / "texts", np.array([2, 29]))


def test_they_are_those_of_the_texts_in_memory(texts: StoredTexts, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_encoder(tiny_encoder_dir)
    for length, prompt in ((64, ""), (12, ""), (64, "query: ")):
        monkeypatch.setattr(type(model), "prompt", prompt)
        mapped, plain = model.tokenize(texts, length), model.tokenize(list(texts), length)
        assert np.array_equal(mapped.ids, plain.ids) and np.array_equal(mapped.offsets, plain.offsets)
        assert np.array_equal(mapped.lengths, plain.lengths) and (mapped.ids.dtype, mapped.lengths.dtype) == (np.int32, np.int64)
        rows = np.array([27, 0, 13])
        for name, values in mapped.pad(rows, 0).items():
            assert np.array_equal(values, plain.pad(rows, 0)[name])
    # What is kept is opened, and nothing is cut again.
    monkeypatch.setattr(module, "tokenize", None)
    assert np.array_equal(model.tokenize(texts, 64).ids, mapped.ids)


def test_a_file_that_is_cut_off_is_told(texts: StoredTexts, tiny_encoder_dir: Path) -> None:
    model = load_encoder(tiny_encoder_dir)
    file = model.tokenize(texts).place / module.IDS  # type: ignore[attr-defined]
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(PotstillError, match="ids.bin: is not .* numbers, which were written; delete its folder"):
        model.tokenize(texts)
