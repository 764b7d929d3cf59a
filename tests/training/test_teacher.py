"""The cache: the same answers as the live teacher, whole or not there, and never computed twice."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from potstill.data.batches import tokenize
from potstill.errors import PotstillError
from potstill.models.encoder import load_encoder
from potstill.training import teacher as module
from potstill.training.teacher import MANIFEST, CachedTeacher, LiveTeacher, build_cache, cache_place

TEXTS = [f"text number {n} about rivers and villages " + "x " * (n % 7) for n in range(50)]
CPU = torch.device("cpu")


@pytest.fixture
def teacher(tiny_encoder_dir, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SHARD_ROWS", 16)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    return load_encoder(tiny_encoder_dir)


def test_cached_and_live_agree_and_shards_meet(teacher, tiny_encoder_dir):
    place = cache_place(tiny_encoder_dir, TEXTS, {})
    cached = build_cache(place, teacher, TEXTS, bf16=False)
    assert len(list(place.glob("*.npy"))) == 4 and cached.dimension == 32
    live = LiveTeacher(teacher, tokenize(teacher.tokenizer, TEXTS, teacher.max_length))
    rows = np.array([49, 0, 15, 16, 17, 31])
    torch.testing.assert_close(cached(rows, CPU).embedding, live(rows, CPU).embedding, atol=1e-6, rtol=0)


def test_a_broken_run_goes_on_at_the_missing_shard(teacher, tiny_encoder_dir, monkeypatch):
    place = cache_place(tiny_encoder_dir, TEXTS, {})
    calls = []
    encode = type(teacher).encode

    def break_at_third(self, texts, **more):
        calls.append(len(texts))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(self, texts, **more)

    monkeypatch.setattr(type(teacher), "encode", break_at_third)
    with pytest.raises(KeyboardInterrupt):
        build_cache(place, teacher, TEXTS, bf16=False)
    assert not (place / MANIFEST).exists() and sorted(p.name for p in place.iterdir()) == ["embedding-00000.npy", "embedding-00001.npy"]
    build_cache(place, teacher, TEXTS, bf16=False)
    assert calls == [16, 16, 16, 16, 2]
    build_cache(place, teacher, TEXTS, bf16=False)
    assert len(calls) == 5


def test_a_changed_file_is_seen(teacher, tiny_encoder_dir):
    place = cache_place(tiny_encoder_dir, TEXTS, {})
    build_cache(place, teacher, TEXTS, bf16=False)
    path = place / "embedding-00001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PotstillError, match="checksum"):
        CachedTeacher(place)


def test_the_key_knows_teacher_texts_and_settings(teacher, tiny_encoder_dir, tmp_path):
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
    }
    assert len(places) == 5
