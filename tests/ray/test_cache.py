"""`potstill cache`: one process and several write the same bytes, whichever worker dies, and a run then finds the cache whole."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from potstill.run.cache import cache_teacher
from potstill.teacher import cached
from potstill.teacher.cached import MANIFEST

TEXTS = [f"text number {n} about rivers and villages {'and the river ' * (n % 7)}" for n in range(300)]


@pytest.fixture
def recipe(tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose stage reads vectors and a layer; its teacher's pass is of a few dozen shards."""
    monkeypatch.setattr(cached, "SHARD_TOKENS", 256)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "alone"))
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    file = tmp_path / "recipe.yaml"
    terms = [{"loss": "embedding_cosine"}, {"loss": "hidden_mse", "layers": [[1, 2]]}]
    content = {
        "name": "kept", "task": "embed", "data": {"dir": str(tmp_path), "texts": ["texts.txt"]},
        "teacher": {"model": str(tiny_encoder_dir), "max_length": 64}, "student": {"layers": 1, "max_length": 64},
        "training": {"precision": "fp32", "device": "cpu"},
        "stages": [{"name": "vectors", "steps": 2, "terms": terms}],
        "evaluate": [], "export": {"onnx": False},
    }  # fmt: skip
    file.write_text(json.dumps(content))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield file
    torch.set_num_threads(threads)


def contents(folder: Path) -> dict[str, bytes]:
    """The teacher's files of a cache; of the others (checks, tokens) each machine has its own."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "teacher").rglob("*") if path.is_file()}


def kill_one(killed: list[int], stop: threading.Event) -> None:
    """End the first process that is seen to compute a shard, as a system without memory does."""
    while not killed and not stop.is_set():
        for process in psutil.Process().children(recursive=True):
            try:
                if "_compute_shard" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    return
            except (psutil.Error, ProcessLookupError):
                continue
        time.sleep(0.01)


def test_a_cluster_writes_what_one_process_writes_though_a_worker_is_killed(recipe, cluster, call, tmp_path, monkeypatch):
    (alone,) = cache_teacher(recipe)
    assert alone.fields == ["embedding", "hidden_states-2"]
    expected = contents(tmp_path / "alone")
    assert len(expected) > 2 * 20

    shared = tmp_path / "shared"
    monkeypatch.setenv("POTSTILL_CACHE", str(shared))
    blocked = shared / alone.place.relative_to(tmp_path / "alone") / "embedding"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("")
    status, _, said = call("cache", recipe, "--ray", cluster.address)
    (error,) = (line for line in said.splitlines() if line.startswith("error"))
    assert status == 2 and "(node " in error and "cannot be written" in error  # what a worker finds wrong is told as one line
    blocked.unlink()

    killed: list[int] = []
    stop = threading.Event()
    killer = threading.Thread(target=kill_one, args=(killed, stop))
    killer.start()
    status, told, said = call("cache", recipe, "--ray", cluster.address, "--workers", 2)
    stop.set()
    killer.join()
    assert status == 0, said
    assert killed and "kept" in told and contents(shared) == expected

    def nothing(*arguments: object) -> None:
        raise AssertionError("the teacher is run again")

    monkeypatch.setattr(cached, "compute_shard", nothing)
    (found,) = cache_teacher(recipe)  # the first step of train
    assert found.place.is_relative_to(shared)
    (found.place / "embedding" / MANIFEST).unlink()
    assert call("cache", recipe, "--ray", cluster.address)[0] == 0 and contents(shared) == expected  # shards that are there are taken


def test_workers_without_ray_and_more_workers_than_cores_are_refused(recipe, call, request):
    status, _, said = call("cache", recipe, "--workers", 2)
    assert status == 2 and "error: --workers: works only with --ray; without it this process does the work" in said
    cluster = request.getfixturevalue("cluster")
    status, _, said = call("cache", recipe, "--ray", cluster.address, "--workers", 3)
    assert status == 2 and "error: --workers: 3 are asked for, and the cluster has 2 cores" in said


def test_a_recipe_that_keeps_nothing_is_refused(recipe, call):
    status, _, said = call("cache", recipe, "--set", "teacher.cache=false")
    assert status == 2 and "keeps nothing of its teacher on disk" in said
