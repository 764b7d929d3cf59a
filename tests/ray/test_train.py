"""`potstill train --ray`: two workers of a cluster make one process's student, whichever of them is lost."""

from __future__ import annotations

import re
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from helpers.contrast import working_folder
from potstill.errors import PotstillError, PotstillWarning
from potstill.models.loading import load_encoder
from potstill.ray.room import room
from potstill.results import read_metrics, read_run

STEPS = 12


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder_dir: Path) -> Path:
    """A working folder with texts, an encoder and a contrastive recipe, batches of 9; paths in it are relative."""
    training, student = {"batch_size": 9, "evaluations": 6, "device": "cpu", "dropout": 0}, {"layers": 2, "max_length": 32}
    return working_folder(tmp_path, monkeypatch, tiny_encoder_dir, steps=STEPS, student=student, training=training, held_out=8)


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error:")]


def same(one: Path, two: Path) -> None:
    """The losses and the weights of two runs are the same but for rounding."""
    first, second = read_metrics(one), read_metrics(two)
    assert [(line["step"], line.get("texts")) for line in first] == [(line["step"], line.get("texts")) for line in second]
    for ours, theirs in zip([line for line in first if "loss" in line], [line for line in second if "loss" in line]):
        assert theirs["terms"]["info_nce"] == pytest.approx(ours["terms"]["info_nce"], abs=1e-5)
    weights = [load_encoder(folder).state_dict() for folder in (one, two)]
    for name, value in weights[0].items():
        if "key.bias" not in name:  # without a gradient but rounding, of which Adam makes steps
            assert (weights[1][name] - value).abs().max() < 1e-5, name


def kill_worker(folder: Path, killed: list[int], stop: threading.Event) -> None:
    """End a worker as soon as there is a checkpoint."""
    found: list[psutil.Process] = []
    while not stop.is_set():
        if len(found) < 2:  # known before: what is left to be done then takes a second
            found = [each for each in psutil.Process().children(recursive=True) if is_worker(each)]
        elif list(folder.glob("checkpoints/*/checkpoint-*")):
            found[1].send_signal(signal.SIGKILL)
            killed.append(found[1].pid)
            return
        time.sleep(0.01)


def is_worker(process: psutil.Process) -> bool:
    try:
        return "RayTrainWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.mark.timeout(600)  # torch starts in four processes, maybe beside other work
@pytest.mark.slow
def test_two_workers_make_one_process_s_student_though_one_is_killed(work: Path, cluster: Any, call: Any) -> None:
    status, _, said = call("train", "recipe.yaml", "--out", "one")
    assert status == 0, said
    killed: list[int] = []
    stop = threading.Event()
    killer = threading.Thread(target=kill_worker, args=(work / "two", killed, stop))
    killer.start()
    with pytest.warns(PotstillWarning, match="two: lost a worker .*goes on at the newest checkpoint"):
        status, out, said = call("train", "recipe.yaml", "--out", "two", "--ray", cluster.address, "--workers", "2", "--log", "log")
    stop.set()
    killer.join()
    assert (status, errors(said), len(killed)) == (0, [], 1), said
    assert out.count("run folder:") == 1
    same(Path("one"), Path("two"))
    assert re.search("train .*: begins, [0-9]+ texts", Path("log").read_text())  # the workers' bars are the command's
    assert not list(Path("two").glob(".progress*"))
    assert read_run(Path("two")).training["steps"] == STEPS and not Path("two/checkpoints").exists()

    status, _, said = call("train", "recipe.yaml", "--out", "two", "--ray", cluster.address, "--workers", "2")
    assert status == 2 and errors(said) == [
        f"error: {work / 'two'}: holds a run already; add --resume to go on with it, or choose another --out"
    ]
    # What only a worker finds is one line too, and nothing is tried again.
    status, _, said = call("train", "recipe.yaml", "--out", "three", "--ray", cluster.address, "--set", "student.layers=9")
    assert status == 2 and len(errors(said)) == 1 and "student.layers" in said, said
    assert not Path("three").exists()


def test_what_is_of_ray_is_refused_without_it(work: Path, call: Any) -> None:
    status, _, said = call("train", "recipe.yaml", "--workers", "2")
    assert status == 2 and errors(said) == ["error: --workers: works only with --ray; on one machine start several processes with torchrun"]


class Nodes:
    """As much of Ray as `room` asks: the cores and GPUs of nodes, one less at each look."""

    def __init__(self, *looks: list[tuple[int, int]]) -> None:
        self.looks = list(looks)

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address="")

    def nodes(self) -> list[dict[str, Any]]:
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return [{"Alive": True, "Resources": {"CPU": cores, "GPU": gpus}} for cores, gpus in found]


@pytest.fixture
def _head(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False])  # at first not, as while it starts again
    monkeypatch.setattr("potstill.ray.room.head_answers", lambda address: next(answers, True))
    monkeypatch.setattr("potstill.ray.room.LOOK", 0.01)


@pytest.mark.usefixtures("_head")
@pytest.mark.parametrize(
    ("nodes", "workers", "on_gpus", "cores"),
    [
        ([(16, 0)], 3, False, 5),  # what is left over is nobody's
        ([(16, 0), (4, 0)], 5, False, 4),  # four on the one, one on the other
        ([(16, 0), (16, 4)], 4, True, 4),  # the node without a GPU has no worker
    ],
)
def test_workers_share_the_cores_of_the_nodes_that_they_fit_on(nodes, workers, on_gpus, cores):
    assert room(Nodes(nodes), workers, on_gpus) == cores


@pytest.mark.usefixtures("_head")
def test_a_lost_node_s_place_is_waited_for_and_its_lack_is_one_line():
    assert room(Nodes([(1, 0)], [(1, 0)], [(1, 0), (1, 0)]), 2, False, patience=5) == 1
    with pytest.raises(PotstillError, match="2 are asked for, and the cluster has 1 cores; ask for as many"):
        room(Nodes([(1, 0)]), 2, False)
    with pytest.raises(PotstillError, match="--cores: is 4, and the largest node has 1; ask for as many"):
        room(Nodes([(1, 0)]), 1, False, least=4)
    with pytest.raises(PotstillError, match="a worker was lost, and its place is not filled .2 are asked for.*--resume goes on"):
        room(Nodes([(1, 0)]), 2, False, patience=0.05)
