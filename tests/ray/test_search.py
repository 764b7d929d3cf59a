"""`potstill search --ray`: trials as tasks of a cluster choose what one process chooses, and a worker's death costs no trial."""

from __future__ import annotations

import json
import threading
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import psutil
import pytest
import yaml

from potstill.errors import PotstillError, PotstillWarning, warn
from potstill.ray import search as on_ray
from potstill.ray.worker import Place
from potstill.search.record import Search

WORDS = "river village cat owl house tree stone boat night snow ship lamp".split()


@pytest.fixture
def recipe(tiny_encoder_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of four steps and a space of three learning rates; paths in it are relative."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", "cache")
    Path("data/retrieval").mkdir(parents=True)
    Path("data/texts.txt").write_text("".join(f"the {a} sees the {b}\n" for a in WORDS for b in WORDS[:6]))
    rows = [{"query": f"the {a} and the {b}", "document": f"{b} was seen by {a}"} for a, b in zip(WORDS, WORDS[3:])]
    for name in ("words", "words-dev"):
        Path(f"data/retrieval/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "name": "tiny",
        "data": {"dir": "data", "texts": ["texts.txt"], "held_out": 8},
        "teacher": {"model": str(tiny_encoder_dir)},
        "student": {"layers": 1, "max_length": 32},
        "training": {"batch_size": 16, "evaluations": 4, "precision": "fp32", "device": "cpu", "select": "retrieval/words-dev"},
        "stages": [{"name": "one", "steps": 4, "terms": [{"loss": "similarity_kl", "temperature": 0.1}]}],
        "evaluate": ["retrieval/words"],
        "export": {"onnx": False},
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(content))
    Path("space.yaml").write_text(yaml.safe_dump({"sampler": "grid", "keys": {"training.learning_rate": [1e-3, 1e-2, 1e-1]}}))
    return Path("recipe.yaml")


def read(folder: str) -> Search:
    """The record that a search left in its folder."""
    return Search.model_validate_json(Path(folder, "search.json").read_text())


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error:")]


def kill_one(killed: list[int], stop: threading.Event) -> None:
    """End the first worker that has a trial, as a system without memory does."""
    while not stop.is_set():
        if Path("ray/trials").is_dir():
            for process in psutil.Process().children(recursive=True):
                try:
                    if "ray::_work" in " ".join(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)
                        return
                except psutil.Error:
                    continue
        time.sleep(0.01)


@pytest.mark.timeout(600)  # torch starts in several processes, maybe beside other work
def test_tasks_of_a_cluster_choose_what_one_process_chooses_though_one_is_killed(recipe, cluster, call, monkeypatch):
    assert call("search", recipe, "--space", "space.yaml", "--out", "alone")[0] == 0
    killed: list[int] = []
    stop = threading.Event()
    killer = threading.Thread(target=kill_one, args=(killed, stop))
    killer.start()
    with pytest.warns(PotstillWarning, match="search: a worker died .*what it was at is put back"):
        status, _, said = call("search", recipe, "--space", "space.yaml", "--out", "ray", "--ray", cluster.address)
    stop.set()
    killer.join()
    assert (status, errors(said), len(killed)) == (0, [], 1), said
    alone, found = read("alone"), read("ray")

    def tried(record: Search) -> Any:
        return sorted((trial.settings["training.learning_rate"], trial.state, trial.score) for trial in record.trials)

    assert [one[:2] for one in tried(found)] == [one[:2] for one in tried(alone)]
    assert [one[2] for one in tried(found)] == pytest.approx([one[2] for one in tried(alone)], abs=1e-4)
    assert found.chosen.settings == alone.chosen.settings and found.tests == pytest.approx(alone.tests, abs=1e-4)
    (study,) = (name for name in optuna.get_all_study_names("sqlite:///ray/search.db") if name == "tiny")
    trials = optuna.load_study(study_name=study, storage="sqlite:///ray/search.db").trials
    assert sum("worker died" in trial.user_attrs for trial in trials) == 1 and len(trials) == 4

    status, _, said = call("search", recipe, "--space", "space.yaml", "--out", "ray", "--ray", cluster.address)
    assert status == 2 and len(errors(said)) == 1 and "holds a finished search" in said
    status, _, said = call("search", recipe, "--space", "space.yaml", "--out", "new", "--ray", cluster.address, "--cores", 2)
    assert status == 2 and errors(said) == ["error: --cores: is 2, and the largest node has 1; ask for as many, or add nodes"]


def test_what_is_of_ray_alone_and_what_is_not_for_it_is_refused(recipe, call, request):
    status, _, said = call("search", recipe, "--space", "space.yaml", "--cores", 2)
    assert status == 2 and errors(said) == ["error: --cores: works only with --ray; set OMP_NUM_THREADS for processes of this machine"]
    cluster = request.getfixturevalue("cluster")
    space = yaml.safe_load(Path("space.yaml").read_text()) | {"objectives": ["quality", "latency"]}
    Path("space.yaml").write_text(yaml.safe_dump(space))
    status, _, said = call("search", recipe, "--space", "space.yaml", "--ray", cluster.address)
    assert status == 2 and errors(said) == [
        "error: --ray: latencies of several machines do not compare; search without it, or drop the objective"
    ]


def test_what_workers_warn_of_is_warned_of_by_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path))
    exceptions = pytest.importorskip("ray.exceptions", reason="needs ray: make ray")
    ray = SimpleNamespace(get=lambda task: task(), exceptions=exceptions)

    def work(worker: str) -> None:
        for _ in range(2):
            warn("texts.txt", "has a blank line", "is left out")
        warnings.warn("of a library", FutureWarning, stacklevel=1)

    def broken(worker: str) -> None:
        work(worker)
        raise PotstillError("a", "is wrong", "mend it")

    with pytest.warns() as said:
        assert on_ray._death(ray, partial(on_ray._work, Place.here(), work, "one")) is None
    assert [str(each.message) for each in said] == ["texts.txt: has a blank line; is left out"]
    with pytest.warns(PotstillWarning, match="has a blank line"), pytest.raises(PotstillError, match="a .node .*: is wrong; mend it"):
        on_ray._death(ray, partial(on_ray._work, Place.here(), broken, "one"))


@pytest.mark.parametrize("storage", [None, "sqlite:///search.db"])
def test_sqlite_is_not_shared_by_several_machines(recipe, monkeypatch, storage):
    from contextlib import contextmanager

    pytest.importorskip("ray.cluster_utils", reason="needs ray: make ray")
    from ray import exceptions

    nodes = [{"Alive": True, "NodeManagerAddress": f"10.0.0.{number}"} for number in range(3)]
    nodes.append({"Alive": False, "NodeManagerAddress": "10.0.0.9"})

    @contextmanager
    def joined(*given: object) -> Any:
        yield SimpleNamespace(nodes=lambda: nodes, exceptions=exceptions)

    monkeypatch.setattr(on_ray, "connected", joined)
    with pytest.raises(PotstillError, match="--storage: SQLite is for one machine, and the cluster has 3; name a database of PostgreSQL"):
        on_ray.search(str(recipe), "space.yaml", address="auto", storage=storage)
