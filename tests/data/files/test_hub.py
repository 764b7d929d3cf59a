"""Data sets on disk and on the hub, read through `read_texts`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.data.files.texts import read_texts
from potstill.errors import PotstillError


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return library


def test_data_sets_on_disk(tmp_path: Path, datasets: Any) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", None, "b"], "title": ["t", "u", "v"], "n": [1, 2, 3]})
    rows.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": rows, "test": rows.select([2])}).save_to_disk(tmp_path / "splits")
    (tmp_path / "parquet").mkdir()
    rows.to_parquet(tmp_path / "parquet" / "train-0.parquet")
    assert read_texts(tmp_path / "saved") == ["a", "b"]
    assert read_texts(tmp_path / "saved", columns=["title", "text"]) == ["t", "a", "u", "v", "b"]
    assert read_texts(tmp_path / "splits", split="test") == ["b"]
    assert read_texts(tmp_path / "parquet") == ["a", "b"]
    assert read_texts(tmp_path / "parquet" / "train-0.parquet") == ["a", "b"]
    with pytest.raises(PotstillError, match="has no split 'dev'"):
        read_texts(tmp_path / "splits", split="dev")
    with pytest.raises(PotstillError, match="has no column 'titel'; did you mean 'title'"):
        read_texts(tmp_path / "saved", columns=["titel"])
    with pytest.raises(PotstillError, match="column 'n' holds int64, not strings"):
        read_texts(tmp_path / "saved", columns=["n"])


def test_a_data_set_without_a_text_column_gives_all_its_strings(tmp_path: Path, datasets: Any) -> None:
    datasets.Dataset.from_dict({"question": ["a"], "n": [1], "answer": ["b"]}).save_to_disk(tmp_path / "saved")
    assert read_texts(tmp_path / "saved") == ["a", "b"]
    datasets.Dataset.from_dict({"n": [1]}).save_to_disk(tmp_path / "numbers")
    with pytest.raises(PotstillError, match="no column holds strings"):
        read_texts(tmp_path / "numbers")


def test_a_hub_name_without_a_network_is_one_line(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # the discard port: refused at once
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        PotstillError, match="owner/name: cannot be read as a data set of the hub .* check the name and the network"
    ) as caught:
        read_texts("owner/name", format="dataset")
    assert "\n" not in str(caught.value)
