"""Whether a cluster has room for the workers of a command, now or soon."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from potstill.errors import PotstillError
from potstill.ray.connect import LOOK, cores_of_worker, head_answers

T = TypeVar("T")
NODE_TIME = 60.0  # seconds that a node is waited for in the place of a lost one


def room(ray: Any, workers: int, on_gpus: bool, *, least: int = 1, patience: float = 0.0) -> int:
    """Find out how many cores each worker can have.

    Args:
        ray: the package, joined to a cluster.
        workers: how many there are to be.
        on_gpus: whether each needs a GPU of its own.
        least: cores that a worker needs.
        patience: seconds to wait for nodes that come in the place of lost ones.

    Returns:
        The most cores that all of them can have.

    Raises:
        PotstillError: the cluster has no such room.
    """
    end = time.monotonic() + patience
    head = ray.get_runtime_context().gcs_address
    while True:
        while not head_answers(head):  # to ask it would block; `connected` sees whether it stays away
            time.sleep(LOOK)
        try:
            cores = apart(lambda: cores_of_worker(ray, workers, on_gpus))
            if cores < least:
                raise PotstillError("--cores", f"is {least}, and the largest node has {cores}", "ask for as many, or add nodes")
            return cores
        except PotstillError as error:
            if time.monotonic() < end:
                time.sleep(LOOK)
                continue
            if not patience:
                raise
            remedy = "start a node in its place; the same command with --resume goes on"
            raise PotstillError("--ray", f"a worker was lost, and its place is not filled ({error.problem})", remedy) from error


def apart(call: Callable[[], T]) -> T:
    """Call something that may block in Ray, in a thread of its own: the main thread still takes Ctrl-C, and `connected`'s word.

    Whatever the call raises comes through.
    """
    found: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(call())
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
    if errors:
        raise errors[0]
    return found[0]


def first_words(error: BaseException) -> str:
    """What an error of Ray's says first, on one line: behind it come addresses and advice for developers."""
    return " ".join(str(error).split())[:200].split(". ")[0]
