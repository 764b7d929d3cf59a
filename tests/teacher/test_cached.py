"""The cache: the same answers as the live teacher for every field, whole or not there, and never computed twice."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.models.output import EMBEDDING, LOGITS, Field
from potstill.runtime.tokens import tokenize
from potstill.teacher import cached as module
from potstill.teacher.answers import LiveTeacher, MergedTeacher, prepare_teacher
from potstill.teacher.budget import cache_bytes
from potstill.teacher.cached import MANIFEST, CachedTeacher, build_cache

TEXTS = [f"text number {n} about rivers and villages " + "x " * (n % 7) for n in range(50)]
PAIRS = [(f"river {n}" + " x" * (n % 5), f"village {n * 7}") for n in range(50)]
SENTENCES = [[f"word{n}", "of", "rivers", *["x"] * (n % 6)] for n in range(50)]
CPU = torch.device("cpu")
LAYERED = ("hidden_states", "cls_states", "mean_states", "attention_scores", "queries", "keys", "values")


def build(place, model, texts, reads, **settings):
    return build_cache(place, model, tokenize(model.tokenizer, texts, model.max_length), reads, **settings)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SHARD_TOKENS", 512)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))


def case(field: Field, tiny_encoder_dir, tiny_head_dirs, kind: str = "classification"):
    """(folder of a teacher, how to load it, its texts) for a field."""
    if field == EMBEDDING:
        return tiny_encoder_dir, {}, TEXTS
    return tiny_head_dirs[kind], {"max_length": 32}, SENTENCES if kind == "tagging" else PAIRS


def real(field: Field, mask: torch.Tensor, tags: bool) -> torch.Tensor | None:
    """Where a field has real values: True at real tokens, for scores at pairs of them; None where it has no tokens."""
    if field.name == "attention_scores":
        return mask[:, None, :, None] & mask[:, None, None, :]
    if field.name in ("hidden_states", "queries", "keys", "values") or (field == LOGITS and tags):
        return mask[..., None]
    return None


CASES = [
    (EMBEDDING, "none"),  # of a model without a head
    *((Field(name, 2), "classification") for name in LAYERED),  # of pairs, in each shape that a field may have
    (Field("hidden_states", 0), "classification"),  # the embedding output
    (LOGITS, "classification"),  # a row a text
    (LOGITS, "multilabel"),
    (LOGITS, "tagging"),  # a row a token
    (Field("attention_scores", 1), "tagging"),  # texts given as words
]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("field", "kind"), CASES, ids=lambda value: str(value))
def test_cached_and_live_agree(field, kind, half, tiny_encoder_dir, tiny_head_dirs, tmp_path):
    folder, options, texts = case(field, tiny_encoder_dir, tiny_head_dirs, kind)
    teacher = load_encoder(folder, **options)
    tokens = tokenize(teacher.tokenizer, texts, teacher.max_length)
    cached = build(tmp_path / "place", teacher, texts, [field], half=half)
    assert len(list((tmp_path / "place" / str(field)).glob("*.npy"))) > 1
    live = LiveTeacher(prepare_teacher(load_encoder(folder, **options), [field]), tokens, [field])
    tags = kind == "tagging"
    for rows in (np.random.default_rng(0).permutation(50)[:23], np.array([49]), np.array([0, 49, 0])):
        ours, theirs = cached(rows, CPU), live(rows, CPU)
        assert torch.equal(ours.mask, theirs.mask) and ours[field].shape == theirs[field].shape and ours[field].dtype == torch.float32
        found, expected, where = ours[field], theirs[field], real(field, ours.mask.bool(), tags)
        if where is not None:
            assert not found.masked_select(~where).any()
            expected = expected * where
        torch.testing.assert_close(found, expected, atol=1e-3 if half else 1e-5, rtol=1e-2 if half else 0)
        assert expected.std(dim=0).max() > 1e-3 or len(rows) == 1  # else every text would have the same answer
    sizes = [path.stat().st_size for path in (tmp_path / "place" / str(field)).glob("*.npy")]
    header = 128
    assert sum(sizes) - header * len(sizes) == cache_bytes(tokens.lengths, field, load_encoder(folder, **options), tags, half)


def test_what_is_computed_and_what_is_read_are_one_answer(tiny_encoder_dir, tmp_path, monkeypatch):
    above, below = [Field("hidden_states", 4), Field("values", 3)], [Field("hidden_states", 1), Field("attention_scores", 2)]
    rows, whole = np.array([3, 49, 0]), load_encoder(tiny_encoder_dir)
    tokens = tokenize(whole.tokenizer, TEXTS, whole.max_length)
    expected = LiveTeacher(prepare_teacher(whole, above + below), tokens, above + below)(rows, CPU)
    model = load_encoder(tiny_encoder_dir)
    cached = build_cache(tmp_path, model, tokens, above, live=below)
    live = LiveTeacher(prepare_teacher(model, below), tokens, below)
    assert len(live.model.layers) == 2
    merged = MergedTeacher([cached, live])
    found = merged(rows, CPU)
    assert found.values.keys() == expected.values.keys() == merged.reads and torch.equal(found.mask, expected.mask)
    for field in found.values:
        where = real(field, found.mask.bool(), False)
        torch.testing.assert_close(found[field] * where, expected[field] * where, atol=1e-5, rtol=0)
    # Who asks for what is kept alone runs no model; and a cache that lies lower cuts no layer that is run live.
    monkeypatch.setattr(EncoderModel, "forward", None)
    assert merged.giving(above)(rows, CPU).values.keys() == set(above)
    assert merged.giving([below[0], EMBEDDING]).reads == {below[0]}


def test_a_cache_below_what_is_run_live_cuts_no_layer_of_it(tiny_encoder_dir, tmp_path):
    model = load_encoder(tiny_encoder_dir)
    build(tmp_path, model, TEXTS, [Field("cls_states", 1)], live=[Field("hidden_states", 3)])
    assert len(model.layers) == 3


PROBES = 2  # runs of a few texts that the time is told from, before those of the shards


def counted(monkeypatch, stop_at: int | None = None) -> list[tuple[int, set[Field]]]:
    """What the teacher is asked to run, with the probes; Ctrl-C at the call of that number."""
    calls: list[tuple[int, set[Field]]] = []
    run = EncoderModel.run

    def counting(self, tokens, reads, *more):
        calls.append((len(tokens), set(reads)))
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return run(self, tokens, reads, *more)

    monkeypatch.setattr(EncoderModel, "run", counting)
    return calls


def test_size_and_time_are_said_before_the_work(tiny_encoder_dir, tmp_path, monkeypatch, capsys):
    teacher, place, reads = load_encoder(tiny_encoder_dir), tmp_path / "place", [Field("hidden_states", 1), Field("keys", 2)]
    texts = TEXTS * 20
    tokens = tokenize(teacher.tokenizer, texts, teacher.max_length)
    size = sum(cache_bytes(tokens.lengths, field, teacher) for field in reads)
    with monkeypatch.context() as patch:
        asked = counted(patch, stop_at=PROBES + 1)
        with pytest.raises(KeyboardInterrupt):
            build(place, teacher, texts, reads)
    assert not place.exists() and sum(rows for rows, _ in asked[:PROBES]) <= 0.02 * len(texts) + 2
    assert capsys.readouterr().err == f"teacher cache: {size / 1e6:,.1f} MB of 1,000 texts, under a minute, in {place}\n" and size > 1e6
    build(place, load_encoder(tiny_encoder_dir), texts, reads)
    capsys.readouterr()
    build(place, load_encoder(tiny_encoder_dir), texts, reads)
    assert capsys.readouterr().err == ""


def test_the_time_is_that_of_the_shards_that_are_missing(tiny_encoder_dir, tmp_path, monkeypatch, capsys):
    teacher = load_encoder(tiny_encoder_dir)
    lengths = tokenize(teacher.tokenizer, TEXTS, teacher.max_length).lengths
    probed = lengths[: 1 + len(TEXTS) // 50].sum()

    def told(place, seconds: float, texts) -> str:
        """The time that is told where the probe's two looks at the clock say so many seconds for these texts."""
        step = seconds * probed / lengths[texts].sum() / 2
        clock = iter(np.arange(0.0, 1e6, 1.0) * step)
        with monkeypatch.context() as patch:
            patch.setattr(module.time, "perf_counter", lambda: next(clock))
            build(place, load_encoder(tiny_encoder_dir), TEXTS, [EMBEDDING])
        return capsys.readouterr().err.split(", ")[1]

    everything = slice(None)
    for seconds, words in ((59, "under a minute"), (241, "about 4 min"), (7200, "about 2.0 h")):
        assert told(tmp_path / str(seconds), seconds, everything) == words
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        counted(patch, stop_at=PROBES + 3)
        build(tmp_path / "broken", load_encoder(tiny_encoder_dir), TEXTS, [EMBEDDING])
    capsys.readouterr()
    kept = sum(len(np.load(path)) for path in (tmp_path / "broken").rglob("*.npy"))
    assert 0 < kept < len(TEXTS) and told(tmp_path / "broken", 7200, slice(kept, None)) == "about 2.0 h"


def test_a_broken_run_goes_on_at_the_missing_shard(tiny_encoder_dir, tmp_path, monkeypatch):
    reads = [EMBEDDING, Field("hidden_states", 1)]
    place = tmp_path / "place"
    with monkeypatch.context() as patch:
        broken = counted(patch, stop_at=PROBES + 3)
        with pytest.raises(KeyboardInterrupt):
            build(place, load_encoder(tiny_encoder_dir), TEXTS, reads)
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*")) == sorted(
        ["embedding", "hidden_states-1"] + [f"{field}/0000{shard}.npy" for field in ("embedding", "hidden_states-1") for shard in (0, 1)]
    )
    calls = counted(monkeypatch)
    build(place, load_encoder(tiny_encoder_dir), TEXTS, reads)
    assert sum(rows for rows, _ in calls[PROBES:]) + sum(rows for rows, _ in broken[PROBES:-1]) == len(TEXTS)
    calls.clear()
    build(place, load_encoder(tiny_encoder_dir), TEXTS, reads)
    assert calls == []
    # One field more computes that field alone.
    build(place, load_encoder(tiny_encoder_dir), TEXTS, [*reads, Field("cls_states", 2)])
    assert {field for _, fields in calls for field in fields} == {Field("cls_states", 2)}
    assert sum(rows for rows, _ in calls[PROBES:]) == len(TEXTS)


def test_a_changed_file_is_seen(tiny_encoder_dir, tmp_path):
    teacher = load_encoder(tiny_encoder_dir)
    build(tmp_path, teacher, TEXTS, [EMBEDDING])
    tokens = tokenize(teacher.tokenizer, TEXTS, teacher.max_length)
    path = tmp_path / "embedding" / "00001.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(PotstillError, match="checksum"):
        CachedTeacher(tmp_path, tokens, [EMBEDDING])
    path.unlink()
    with pytest.raises(PotstillError, match="checksum"):
        CachedTeacher(tmp_path, tokens, [EMBEDDING])
    (tmp_path / "embedding" / MANIFEST).write_text("{")
    with pytest.raises(PotstillError, match="delete the folder"):
        CachedTeacher(tmp_path, tokens, [EMBEDDING])


def test_of_a_large_cache_a_changed_shard_is_seen_when_it_is_read(tiny_encoder_dir, tmp_path, monkeypatch):
    """And no more than some of its files are open at once."""
    monkeypatch.setattr(module, "CHECKED", 100)
    monkeypatch.setattr(module, "MAPPED", 1)
    teacher, reads = load_encoder(tiny_encoder_dir), [EMBEDDING, Field("attention_scores", 1)]
    cached, rows = build(tmp_path, teacher, TEXTS, reads), np.arange(len(TEXTS))[::-1]
    expected = {field: cached.values(field, rows) for field in reads}
    path = tmp_path / "embedding" / "00001.npy"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = CachedTeacher(tmp_path, tokenize(teacher.tokenizer, TEXTS, teacher.max_length), reads)
    assert np.array_equal(again.values(reads[1], rows), expected[reads[1]]) and np.array_equal(
        again.values(EMBEDDING, np.array([0, 0])), expected[EMBEDDING][[-1, -1]]
    )
    with pytest.raises(PotstillError, match=r"00001.npy: does not match its checksum; delete the folder"):
        again.values(EMBEDDING, rows)


def test_a_cache_of_other_texts_is_seen(tiny_encoder_dir, tmp_path):
    teacher = load_encoder(tiny_encoder_dir)
    build(tmp_path, teacher, TEXTS, [EMBEDDING])
    with pytest.raises(PotstillError, match="other texts"):
        CachedTeacher(tmp_path, tokenize(teacher.tokenizer, TEXTS[:10], 64), [EMBEDDING])


def test_a_disk_without_room_is_told_before_any_work(tiny_encoder_dir, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(PotstillError, match="the teacher's cache needs"):
        build(tmp_path / "place", load_encoder(tiny_encoder_dir), TEXTS, [EMBEDDING])
    assert not (tmp_path / "place").exists()
