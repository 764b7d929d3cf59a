"""Scores of vectors cut and rounded: every text is encoded once, whatever is made of its vector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from potstill.evaluation.cheaper import cheaper_vectors, remembering
from potstill.evaluation.quality import score
from potstill.evaluation.subject import Subject
from potstill.tasks.base import load_task


def test_every_text_is_encoded_once(tmp_path: Path) -> None:
    (tmp_path / "retrieval").mkdir()
    for name in ("one", "two"):
        rows = [{"query": f"{name} {number}", "document": f"{name} {number} found"} for number in range(4)]
        (tmp_path / "retrieval" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [load_task(f"retrieval/{name}", tmp_path) for name in ("one", "two")]
    asked: list[str] = []
    table = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)

    def encode(texts: Sequence[str], title: str = "") -> np.ndarray:
        asked.extend(texts)
        return np.stack([table[int(text.split()[1])] for text in texts])  # a query and its document are one vector

    subject = remembering(
        Subject(
            "m", tmp_path, "onnx", "onnx", "embed", [], encode, encode, {}, 0, 0, dimension=16, unit=False, tokenizer=Tokenizer(WordLevel())
        )
    )
    scored = score(tasks, subject.encode)
    rows = cheaper_vectors(subject, tasks, [8])
    assert sorted(asked) == sorted(text for task in tasks for text in task.texts())
    assert [(row["dimensions"], row["precision"]) for row in rows] == [(n, p) for n in (16, 8) for p in ("float32", "int8", "binary")]
    assert rows[0]["scores"] == {task.name: scored[task.name]["mrr@10"] for task in tasks} == {"retrieval/one": 100, "retrieval/two": 100}
