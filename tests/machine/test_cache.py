"""The cache's folder: what its name depends on, and values that are computed once."""

from __future__ import annotations

import json
import pwd
import shutil
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.machine.cache import cache_folder, cache_place, cached_json, expanded, fingerprint
from potstill.models.loading import load_encoder
from potstill.student.transformer import cut_student

TEXTS = [f"text number {n} about rivers" for n in range(5)]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))


def test_the_key_knows_teacher_texts_and_settings(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    same = cache_place(tiny_encoder_dir, TEXTS, {"max_length": 64})
    assert same == cache_place(tiny_encoder_dir, list(TEXTS), {"max_length": 64})
    other = tmp_path / "other"
    shutil.copytree(tiny_encoder_dir, other)
    assert same == cache_place(other, TEXTS, {"max_length": 64})  # where it lies does not matter
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    places = {
        same,
        cache_place(other, TEXTS, {"max_length": 64}),
        cache_place(tiny_encoder_dir, TEXTS[::-1], {"max_length": 64}),
        cache_place(tiny_encoder_dir, ["".join(TEXTS[:2]), *TEXTS[2:]], {"max_length": 64}),
        cache_place(tiny_encoder_dir, TEXTS, {"max_length": 32}),
        cache_place(tiny_encoder_dir, [("a", "b"), ("c", "d")], {}),
        cache_place(tiny_encoder_dir, [("a", "bc"), ("", "d")], {}),
        cache_place(tiny_encoder_dir, [["a", "b", "c"], ["d"]], {}),
        cache_place(tiny_encoder_dir, ["a", "b", "c", "d"], {}),
        # The same pieces in a pair and in words make other tokens: token types, where words begin.
        cache_place(tiny_encoder_dir, [["a", "b"], ["c", "d"]], {}),
    }
    assert len(places) == 10


def test_a_fingerprint_knows_the_weights_of_layers(tiny_encoder_dir: Path, tmp_path: Path) -> None:
    for pooling in ("mean_first_last", "mean_last_four"):
        cut_student(load_encoder(tiny_encoder_dir), [1, 2, 3, 4], pooling=pooling).save(tmp_path / pooling)
    assert fingerprint(tmp_path / "mean_first_last") != fingerprint(tmp_path / "mean_last_four")


def test_a_value_is_computed_once_for_the_same_texts(tiny_encoder_dir: Path) -> None:
    asked: list[int] = []

    def value(texts: list[str]) -> list[int]:
        def compute() -> list[int]:
            asked.append(len(texts))
            return [len(text) for text in texts]

        return cached_json("lengths.json", tiny_encoder_dir, texts, {"of": "letters"}, compute)

    assert value(TEXTS) == value(TEXTS) == [len(text) for text in TEXTS] and asked == [5]
    assert value(TEXTS[:2]) == [len(text) for text in TEXTS[:2]] and asked == [5, 2]


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("POTSTILL_CACHE", "~/elsewhere")
    assert cache_folder() == Path.home() / "elsewhere"
    monkeypatch.delenv("POTSTILL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "potstill"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "potstill"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that runs under any number: no HOME, and the system has no entry for the user."""
    for name in ("POTSTILL_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def missing(user: int) -> None:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", missing)
    with pytest.raises(PotstillError, match="the home folder is not known .*; set POTSTILL_CACHE to a folder"):
        cache_folder()
    monkeypatch.setenv("POTSTILL_CACHE", "~/cache")
    with pytest.raises(PotstillError, match="POTSTILL_CACHE: ~/cache: the home folder is not known; name the folder without ~"):
        cache_folder()
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_home_folders_in_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/a") == tmp_path / "a" and expanded("b/~") == Path("b/~")
    with pytest.raises(PotstillError, match="^~nobody-of-that-name/a: the home folder is not known"):
        expanded("~nobody-of-that-name/a")
    with pytest.raises(PotstillError, match="^data.dir: ~nobody-of-that-name/a: the home"):
        expanded("~nobody-of-that-name/a", "data.dir")
