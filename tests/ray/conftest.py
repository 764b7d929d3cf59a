"""A cluster of this machine alone: two nodes of one core, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import potstill
from potstill.ray.connect import LOOPBACK

PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
STORE = 80 << 20  # bytes of a node's object store: little more than the least that Ray takes


def node_settings() -> dict[str, object]:
    """Of one node. Its agent's ports are chosen here: a node that chooses them itself waits for its agent to tell each of them."""
    sockets = [socket.socket() for _ in PORTS]
    for each in sockets:
        each.bind((LOOPBACK, 0))
    ports = {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}
    for each in sockets:
        each.close()
    return {"num_cpus": 1, "node_ip_address": LOOPBACK, "include_dashboard": False, "object_store_memory": STORE, **ports}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Two nodes, whose processes work in a folder of their own; tests join by its `address`."""
    yield from started(tmp_path_factory.mktemp("nodes"), 2)


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of one node, its head, that a test may end."""
    yield from started(tmp_path_factory.mktemp("node"), 1)


def started(folder: Path, nodes: int) -> Iterator[Any]:
    """A cluster, until the generator is closed."""
    utilities = pytest.importorskip("ray.cluster_utils", reason="needs ray: make ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(Path(potstill.__file__).resolve().parents[1]))
        patch.chdir(folder)
        found = in_time(lambda: utilities.Cluster(initialize_head=True, head_node_args=node_settings()))
        for _ in range(nodes - 1):
            in_time(lambda: found.add_node(**node_settings()))
    try:
        yield found
    finally:
        found.shutdown()


def in_time(start: Callable[[], Any]) -> Any:
    """Start a node. Ray gives up where its agent takes more than 15 s, as on a busy machine, and no setting changes that."""
    for last in (False, False, True):
        try:
            return start()
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
