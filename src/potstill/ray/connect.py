"""Joining a Ray cluster, and what is looked at on each of its nodes before any work."""

from __future__ import annotations

import _thread
import atexit
import hashlib
import os
import platform
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from threading import Event
from typing import Any

from potstill import __version__
from potstill.errors import DiskFull, PotstillError, collect, install, refuse
from potstill.machine.files import writing
from potstill.machine.hardware import usable_cores

AUTO = "auto"
# Of a cluster of this machine alone: nobody else reaches it. For 127.0.0.1 Ray takes the machine's address in the network.
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
OBJECTS = 256 << 20  # bytes of the object store that a cluster of this machine alone gets: what goes through it is small
PACKAGES = ("ray", "numpy", "torch", "transformers", "tokenizers", "onnxruntime", "pyarrow")  # that decide what a worker computes
APART = 3600.0  # seconds: what a dead process left half-written is known by its age, a day; far less is a clock that is wrong
PATIENCE = 120.0  # seconds that a node may take to answer the first question: its worker imports this package
RETRIES = 3  # times that work whose worker died is given to another one
GO_ON = "what is done is kept, and the same command goes on"
LOOK = 2.0  # seconds between two looks at the cluster's head
HEAD_TIME = 20.0  # seconds for which it may be away: Ray itself waits 60, and then ends the process
LEAVE_TIME = 5.0  # seconds that leaving a cluster without a head may take
TOKEN = ".potstill-token-"  # beginning of the name of a file by which nodes see that they share a folder


@dataclass(frozen=True)
class Facts:
    """What a node says of itself.

    Attributes:
        name: of its machine, with its address.
        versions: package → version, with Python's, and a digest of this package's own files.
        clock: seconds that its clock is apart from this machine's, at least.
        unseen: those of the folders in which it did not find what this machine wrote.
    """

    name: str
    versions: Mapping[str, str]
    clock: float = 0.0
    unseen: Sequence[str] = ()


@contextmanager
def connected(address: str, shared: Sequence[Path] = (), *, logs: bool = False) -> Iterator[Any]:
    """Join a cluster for the length of the block, once its nodes are found to be fit; one that this process has joined before stays joined.

    Args:
        address: as `ray start` tells it ("host:6379"), or "auto": the cluster that this machine belongs to, and where it
            belongs to none, one of this machine alone.
        shared: folders that every node must see; they are made where they are missing.
        logs: whether what workers write to standard error comes through.

    Yields:
        The package ray.

    Raises:
        PotstillError: ray is not installed, nothing answers at the address, or `check_nodes` refuses a node.
    """
    ray = _ray()
    if address.startswith("ray://"):
        raise PotstillError(
            "--ray", f"{address} is an address of Ray's client", "run the command on a machine of the cluster, and say auto"
        )
    joined = ray.is_initialized()
    if not joined:
        _join(ray, address, logs)
    head = ray.get_runtime_context().gcs_address
    try:
        with _watched(head):
            check_nodes(ray, shared)
            yield ray
    finally:
        if not joined:
            _leave(ray, head)


def _leave(ray: Any, head: str) -> None:
    """Call ray.shutdown. Where the head is gone that may wait for a question which nobody answers, and so may Ray's own call at exit.

    Args:
        ray: the package, joined to a cluster.
        head: the address of the cluster's head.
    """
    if head_answers(head):
        ray.shutdown()
        return
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(LEAVE_TIME)
    if leaving.is_alive():
        with suppress(ImportError, AttributeError):
            from ray._private import worker

            atexit.unregister(worker.shutdown)


@contextmanager
def _watched(address: str) -> Iterator[None]:
    """Within the block, see whether the head of the cluster answers: a minute after it is gone Ray ends this process, without a word.

    Args:
        address: of the head.

    Raises:
        PotstillError: it does not any more.
    """
    done, gone = Event(), Event()
    own = threading.main_thread() is threading.current_thread()

    def watch() -> None:
        last = time.monotonic()
        while not done.wait(LOOK):
            if head_answers(address):
                last = time.monotonic()
            elif time.monotonic() - last > HEAD_TIME:
                gone.set()
                if own:
                    _thread.interrupt_main()
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        if not gone.is_set():
            raise
        problem, remedy = f"the head of the cluster at {address} does not answer any more", "start it again; the same command goes on"
        raise PotstillError("--ray", problem, f"{remedy} (train, search and encode with --resume)") from error
    finally:
        done.set()
        thread.join()


def head_answers(address: str) -> bool:
    """Whether something takes connections at the address of a cluster's head ("host:port")."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK):
            return True
    except OSError:
        return False


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else every start warns that this will be the default
    try:
        import ray
    except ImportError as error:
        raise PotstillError("--ray", "needs the package ray, which is not installed", install("ray")) from error
    return ray


def _join(ray: Any, address: str, logs: bool) -> None:
    """Call ray.init.

    Raises:
        PotstillError: nothing answers at the address, or another version of Ray or Python does.
    """
    named = os.environ.get("RAY_ADDRESS") if address == AUTO else address
    quiet = {"logging_level": "error", "log_to_driver": logs}
    alone = {"num_cpus": usable_cores(), "object_store_memory": OBJECTS, "include_dashboard": False, "_node_ip_address": LOOPBACK}
    ways: list[dict[str, Any]] = [{"address": named or AUTO}] + ([] if named else [{"address": "local", **alone}])
    for number, way in enumerate(ways, start=1):
        try:
            ray.init(**way, **quiet)
            if not logs:
                _hush()
            return
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            if isinstance(error, ConnectionError) and number < len(ways):
                continue
            place, said = "--ray" if named is None or named == address else "RAY_ADDRESS", " ".join(str(error).split())
            if "ersion mismatch" in said:
                raise PotstillError(place, f"the cluster runs other versions ({said})", "install the same ones on every node") from error
            problem, way_out = f"no cluster answers at {named or AUTO} ({said[:160]})", "see `ray status`, or start one: ray start --head"
            raise PotstillError(place, problem, way_out) from error
        except Exception as error:
            if "timed out during startup" not in str(error):  # what Ray raises then has no kind of its own
                raise
            problem = "Ray did not start on this machine in time, which is 15 s for each of its processes"
            raise PotstillError(f"--ray {AUTO}", problem, "try again when the machine has less to do") from error


def _hush() -> None:
    """Keep what Ray says of lost nodes, with the last lines of their logs, off standard output: it has no setting for that."""
    with suppress(ImportError):
        from ray._private import worker

        worker.print_to_stdstream = lambda *given, **options: None


def check_nodes(ray: Any, shared: Sequence[Path] = ()) -> list[Facts]:
    """Ask every node that is alive for its versions and its clock, and whether it sees the folders; all that is wrong is told at once.

    Args:
        ray: the package, joined to a cluster.
        shared: folders that every node must see; they are made where they are missing.

    Returns:
        What each node said.

    Raises:
        PotstillError: a node is unlike this machine or does not see a folder (`require_fit`), has no potstill, or does not answer;
            a folder cannot be written here.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=1)(ask_node)
    with _tokens(shared) as tokens:
        asked: list[tuple[str, Any]] = []
        before = time.time()
        for node in ray.nodes():
            if node["Alive"]:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                asked.append((name, ask.options(scheduling_strategy=there).remote(tokens, before)))
        found: list[Facts] = []
        with collect() as attempt:
            for name, answer in asked:
                said = attempt(_answer, ray, name, answer, before)
                found += [said] if said is not None else []
    require_fit(versions(), found)
    return found


def _answer(ray: Any, name: str, answer: Any, before: float) -> Facts:
    """What a node answered.

    Raises:
        PotstillError: it did not answer, or could not.
    """
    try:
        told, clock, unseen = ray.get(answer, timeout=PATIENCE)
    except ray.exceptions.GetTimeoutError as error:
        raise PotstillError(f"node {name}", f"does not answer in {PATIENCE:.0f} s", "see `ray status`") from error
    except ray.exceptions.RayError as error:
        missing = "ModuleNotFoundError" in str(error) or "ImportError" in str(error)
        if missing:
            raise PotstillError(f"node {name}", f"has not this version of potstill ({_last_line(error)})", "install it there") from error
        raise PotstillError(f"node {name}", f"cannot answer ({_last_line(error)})", "see `ray status`") from error
    apart = max(before - clock, clock - time.time(), 0.0)
    return Facts(name, told, apart, unseen)


def ask_node(tokens: Mapping[str, str], sent: float) -> tuple[dict[str, str], float, list[str]]:
    """Answer `check_nodes`, on a node.

    Args:
        tokens: file → what this node is to read there.
        sent: when the question was sent; the node only answers, and does not judge.

    Returns:
        Its versions, its clock, and the files in which it did not find that.
    """
    unseen = []
    for file, token in tokens.items():
        try:
            same = Path(file).read_text(encoding="utf-8") == token
        except OSError:
            same = False
        if not same:
            unseen.append(str(Path(file).parent))
    return versions(), time.time(), unseen


@contextmanager
def _tokens(shared: Sequence[Path]) -> Iterator[dict[str, str]]:
    """Within the block a file with a text of its own in each folder.

    A PotstillError comes through from `writing`.
    """
    tokens: dict[str, str] = {}
    try:
        for folder in shared:
            with writing(folder / TOKEN):
                folder.mkdir(parents=True, exist_ok=True)
                token = uuid.uuid4().hex
                file = folder / f"{TOKEN}{token}"
                tokens[str(file)] = token
                file.write_text(token, encoding="utf-8")
        yield tokens
    finally:
        for name in tokens:
            with suppress(OSError):
                Path(name).unlink()


def require_fit(here: Mapping[str, str], nodes: Sequence[Facts]) -> None:
    """Check that every node computes what this machine would, and sees what it sees.

    Args:
        here: this machine's versions.
        nodes: what the nodes said.

    Raises:
        PotstillErrors: some node has another version of something, a clock that is more than APART seconds apart, or does not
            see a folder; each is named.
    """
    with collect() as attempt:
        for node in nodes:
            for name in sorted({*here, *node.versions}):
                ours, theirs = here.get(name, "not installed"), node.versions.get(name, "not installed")
                if ours != theirs:
                    problem = f"{name} is {theirs}, and {ours} on the machine of this command"
                    attempt(refuse, f"node {node.name}", problem, "install the same version on every node")
            if node.clock > APART:
                attempt(refuse, f"node {node.name}", f"its clock is {node.clock / 3600:.1f} hours apart", "set it by NTP")
            for folder in node.unseen:
                problem = f"node {node.name} does not see what is written there"
                attempt(refuse, folder, problem, "name a folder that all nodes share, or use this machine alone")


@cache
def versions() -> dict[str, str]:
    """What decides what this process computes: package → version, Python's, and a digest of this package's own files."""
    found = {"python": platform.python_version(), "potstill": f"{__version__} ({_own_digest()})"}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _own_digest() -> str:
    """Two clones of one version may hold different code."""
    content = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        content.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"files {content.hexdigest()[:8]}"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


def cores_of_worker(ray: Any, workers: int, on_gpus: bool = False) -> int:
    """The most cores that each of some workers can have, so that all of them find room on the cluster's nodes.

    Args:
        ray: the package, joined to a cluster.
        workers: how many.
        on_gpus: whether each needs a GPU of its own too.

    Raises:
        PotstillError: the cluster has fewer cores, or fewer GPUs, than workers.
    """
    has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [(int(own.get("CPU", 0)), int(own.get("GPU", 0))) for own in has]
    for each in range(max((cores for cores, _ in nodes), default=0), 0, -1):
        if sum(min(cores // each, own if on_gpus else cores) for cores, own in nodes) >= workers:
            return each
    there = f"{sum(own for _, own in nodes)} GPUs" if on_gpus else f"{sum(cores for cores, _ in nodes)} cores"
    raise PotstillError("--workers", f"{workers} are asked for, and the cluster has {there}", "ask for as many, or add nodes")


def gpus(ray: Any) -> int:
    """How many GPUs the cluster has.

    Args:
        ray: the package, joined to a cluster.
    """
    return int(ray.cluster_resources().get("GPU", 0))


def told(function: Callable[..., Any], *arguments: object) -> Any:
    """Call a function on a node; a mistake is given back instead of raised, so that it comes through as it is.

    Args:
        function: with its `arguments`.

    Returns:
        Its value, or a PotstillError that names the node.
    """
    try:
        return function(*arguments)
    except PotstillError as error:
        kind = DiskFull if isinstance(error, DiskFull) else PotstillError
        return kind(f"{error.place} (node {platform.node()})", error.problem, error.remedy)


@contextmanager
def one_line(doing: str) -> Iterator[None]:
    """Say in one line what Ray says of workers, nodes and disks that are lost.

    Args:
        doing: what was being done, for the error.

    Raises:
        DiskFull: a node's disk, on which Ray works, is full.
        PotstillError: a worker died again and again, or the cluster is gone.
    """
    ray = _ray()
    lost = ray.exceptions
    try:
        yield
    except lost.OutOfDiskError as error:
        raise DiskFull(doing, f"the disk of a node, on which Ray works, is full ({_last_line(error)})", GO_ON) from error
    except (lost.WorkerCrashedError, lost.NodeDiedError, lost.OutOfMemoryError, lost.RayActorError, lost.ObjectLostError) as error:
        said = type(error).__name__
        remedy = f"see `ray status` and the system's log for what ended it; {GO_ON}"
        raise PotstillError(doing, f"workers died again and again, {RETRIES + 1} times at one place ({said})", remedy) from error
    except (lost.RaySystemError, ConnectionError) as error:
        raise PotstillError("--ray", f"the cluster is gone ({_last_line(error)})", f"start it again; {GO_ON}") from error
