"""What is looked at on every node before any work: versions, clocks, shared folders."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from potstill.errors import DiskFull, PotstillError
from potstill.ray.connect import APART, Facts, connected, cores_of_worker, one_line, require_fit, told

HERE = {"python": "3.11.7", "potstill": "0.1.0 (files 1)", "torch": "2.13.0"}
NODES = [
    # (what a node says, what is told of it)
    (Facts("b", {**HERE, "torch": "2.12.0"}), "node b: torch is 2.12.0, and 2.13.0 on the machine of this command"),
    (Facts("b", {**HERE, "potstill": "0.1.0 (files 2)"}), "node b: potstill is 0.1.0 (files 2), and 0.1.0 (files 1) on"),  # another clone
    (Facts("b", {"python": "3.11.7", "potstill": "0.1.0 (files 1)"}), "torch is not installed"),
    (Facts("b", {**HERE, "onnxruntime": "1.20"}), "onnxruntime is 1.20, and not installed on the machine"),
    (Facts("b", HERE, clock=APART + 1), "node b: its clock is 1.0 hours apart"),
    (Facts("b", HERE, unseen=["/cache"]), "/cache: node b does not see what is written there; name a folder that all nodes share"),
]


@pytest.mark.parametrize(("facts", "line"), NODES, ids=[line[:30] for _, line in NODES])
def test_a_node_that_is_unlike_this_machine_is_refused_by_name(facts, line):
    like = Facts("a", dict(HERE), clock=APART / 2)
    require_fit(HERE, [like])
    with pytest.raises(PotstillError) as caught:
        require_fit(HERE, [like, facts])
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_all_that_is_wrong_with_the_nodes_is_told_at_once():
    with pytest.raises(PotstillError) as caught:
        require_fit(HERE, [facts for facts, _ in NODES])
    assert len(str(caught.value).splitlines()) == len(NODES)


def test_a_mistake_of_a_worker_names_its_node():
    def fill() -> None:
        raise DiskFull("/cache/00001.npy", "no space is left on the disk", "free some")

    found = told(fill)
    assert (
        isinstance(found, DiskFull)
        and str(found) == f"/cache/00001.npy (node {os.uname().nodename}): no space is left on the disk; free some"
    )
    assert told(int, "3") == 3


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PotstillError, match=r"--ray: needs the package ray, which is not installed; pip install"), connected("auto"):
        pass


def test_the_address_of_a_client_is_refused():
    pytest.importorskip("ray.cluster_utils", reason="needs ray: make ray")
    with pytest.raises(PotstillError, match="ray://head:10001 is an address of Ray's client"), connected("ray://head:10001"):
        pass


def test_what_ray_says_of_lost_workers_and_full_disks_is_one_line():
    pytest.importorskip("ray.cluster_utils", reason="needs ray: make ray")
    from ray import exceptions

    for error, kind, words in (
        (exceptions.WorkerCrashedError(), PotstillError, "pass: workers died again and again, 4 times at one place"),
        (exceptions.OutOfDiskError("full"), DiskFull, "pass: the disk of a node, on which Ray works, is full"),
        (exceptions.RaySystemError("gone"), PotstillError, "--ray: the cluster is gone"),
    ):
        with pytest.raises(kind, match=words) as caught, one_line("pass"):
            raise error
        assert "the same command goes on" in str(caught.value) and "\n" not in str(caught.value)


def test_a_cluster_is_joined_and_a_folder_that_is_not_shared_is_found(cluster, tmp_path, monkeypatch):
    with connected(cluster.address, [tmp_path / "new"]) as ray:
        assert cores_of_worker(ray, 2) == cores_of_worker(ray, 1) == 1
        with pytest.raises(PotstillError, match="3 are asked for, and the cluster has 2 cores"):
            cores_of_worker(ray, 3)
        monkeypatch.chdir(tmp_path)
        # To each process a folder of its own, as a folder of each machine's own is: that in which it works.
        with (
            pytest.raises(PotstillError, match="does not see what is written there") as caught,
            connected("auto", [Path("/proc/self/cwd/own")]),
        ):
            pass
        assert str(caught.value).startswith("/proc/self/cwd/own: node ")
    assert not ray.is_initialized() and not list((tmp_path / "new").iterdir()) and not list((tmp_path / "own").iterdir())
