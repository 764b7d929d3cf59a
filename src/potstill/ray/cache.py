"""A teacher's pass over a recipe's texts on the machines of a cluster, shard by shard.

The tasks are plain ones and no data set of Ray Data's: what a task reads is cut out of mapped arrays when its turn comes, and
what it makes is a file, so that there are no rows for Ray Data to carry, to buffer or to spill.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.errors import PotstillError
from potstill.machine.cache import cache_folder, fingerprint
from potstill.machine.files import sha256_of
from potstill.machine.progress import progress
from potstill.ray.connect import RETRIES, connected, cores_of_worker, gpus, one_line, told
from potstill.recipe.file import open_recipe
from potstill.run.cache import Kept, cache_teacher

if TYPE_CHECKING:
    import torch

    from potstill.models.encoder import EncoderModel
    from potstill.models.output import Field
    from potstill.recipe.recipe import Teacher
    from potstill.runtime.tokens import TokenizedTexts
    from potstill.teacher.cached import Digests, Pass, Shard
    from potstill.teacher.make import LoadedTeacher


@dataclass(frozen=True)
class _Work:
    """What every shard of a pass has in common.

    Attributes:
        settings, folder, numbered, task: of the teacher, as LoadedTeacher has them.
        files: digests of the folder's files.
        reads: fields that the model is made ready for.
        precision: what to autocast to.
        half: keep float16.
        device: "cpu" or "cuda".
        threads: of torch.
    """

    settings: Teacher
    folder: Path
    numbered: Sequence[str]
    task: str
    files: dict[str, str]
    reads: list[Field]
    precision: torch.dtype
    half: bool
    device: str
    threads: int


def cache_on(address: str, recipe: str, overrides: Sequence[str] = (), workers: int | None = None) -> list[Kept]:
    """As run.cache.cache_teacher, the pass on a cluster's machines.

    Every file is byte for byte what one process writes that has as many threads as a worker and the same kind of processor.
    A worker that dies is replaced, and its shard is computed by another one. A broken pass goes on at the shards that are missing.

    Args:
        address: as `connected` takes it.
        recipe: a path, or a shipped name.
        overrides: `a.b=c`, as --set takes them.
        workers: how many; default one a GPU, and where there is none, or the recipe's device is the processor, one a core.

    Returns:
        What is kept of each teacher.

    Raises:
        PotstillError: as `cache_teacher` and `connected`; a node does not see the teacher's folder; workers die again and again.
    """
    content = open_recipe(recipe, overrides)
    with connected(address, [cache_folder().absolute()]) as ray, one_line("teacher cache"):
        on_gpus = content.training.device != "cpu" and gpus(ray) > 0
        if on_gpus and content.training.precision == "auto":  # where the models run decides, and not where the command does
            chosen = ray.get(ray.remote(num_gpus=1, max_retries=RETRIES)(_gpu_precision).remote())
            overrides = [*overrides, f"training.precision={chosen}"]
        workers = workers or (gpus(ray) if on_gpus else int(ray.cluster_resources().get("CPU", 1)))
        threads = cores_of_worker(ray, workers, on_gpus)

        def elsewhere(loaded: LoadedTeacher, work: Pass) -> Digests:
            return _computed(ray, loaded, work, workers, threads, "cuda" if on_gpus else "cpu")

        return cache_teacher(recipe, overrides, elsewhere)


def _gpu_precision() -> str:
    import torch

    from potstill.machine.precision import DTYPES, choose_precision

    chosen = choose_precision("auto", torch.device("cuda"))
    return next(name for name, kind in DTYPES.items() if kind == chosen)


def _computed(ray: Any, loaded: LoadedTeacher, work: Pass, workers: int, threads: int, device: str) -> Digests:
    """Compute the shards that are missing, as many at once as there are workers; the digests of all.

    Raises:
        PotstillError: a worker found something wrong.
    """
    reads, files = [*work.fields, *work.live], fingerprint(loaded.folder)
    common = _Work(
        loaded.settings, loaded.folder.absolute(), loaded.numbered, loaded.task, files, reads, work.precision, work.half, device, threads
    )
    sent = ray.put(pickle.dumps(common))
    # max_calls=0: a worker that had a GPU would end after each shard, and load the teacher anew.
    needs = {"num_cpus": threads, "num_gpus": int(device == "cuda"), "max_retries": RETRIES, "max_calls": 0}
    compute = ray.remote(**needs)(_compute_shard)
    digests: Digests = {field: {} for field in work.fields}
    waiting: dict[Any, Shard] = {}
    with progress("teacher", len(work.tokens)) as advance:

        def finish() -> None:
            (done,), _ = ray.wait(list(waiting), num_returns=1)
            shard, found = waiting.pop(done), ray.get(done)
            if isinstance(found, PotstillError):
                raise found
            for field, path in shard.paths.items():
                digests[field][path.name] = found[field]
            advance(shard.end - shard.start)

        for shard in work.shards():
            if shard.is_whole:
                for field, path in shard.paths.items():
                    digests[field][path.name] = sha256_of(path)
                advance(shard.end - shard.start)
                continue
            if len(waiting) == workers:
                finish()
            waiting[compute.remote(sent, _in_memory(work.part(shard.start, shard.end)), _absolute(shard.paths))] = shard
        while waiting:
            finish()
    return digests


def _in_memory(part: TokenizedTexts) -> TokenizedTexts:
    """Its arrays as copies: what is mapped from a file is not to be sent as such."""
    import numpy as np

    from potstill.runtime.tokens import TokenizedTexts

    copies = (None if flat is None else np.array(flat) for flat in (part.ids, part.offsets, part.types, part.words))
    return TokenizedTexts(*copies)  # type: ignore[arg-type]


def _absolute(paths: dict[Field, Path]) -> dict[Field, Path]:
    return {field: path.absolute() for field, path in paths.items()}


def _compute_shard(common: bytes, part: TokenizedTexts, paths: dict[Field, Path]) -> dict[Field, str] | PotstillError:
    """On a worker: the digest of each field's file, once it is written."""
    found: dict[Field, str] | PotstillError = told(_written, common, part, paths)
    return found


def _written(common: bytes, part: TokenizedTexts, paths: dict[Field, Path]) -> dict[Field, str]:
    from potstill.teacher.cached import compute_shard

    work: _Work = pickle.loads(common)
    compute_shard(_model(common), part, paths, work.precision, work.half)
    return {field: sha256_of(path) for field, path in paths.items()}


@lru_cache(maxsize=1)
def _model(common: bytes) -> EncoderModel:
    """The teacher, loaded once in a worker.

    Raises:
        PotstillError: its folder holds other files than where the command runs, or none.
    """
    import torch

    from potstill.teacher.answers import prepare_teacher
    from potstill.teacher.make import LoadedTeacher

    work: _Work = pickle.loads(common)
    if fingerprint(work.folder) != work.files:
        problem = "holds other files than on the machine of this command" if work.folder.is_dir() else "is not there"
        raise PotstillError(work.folder, problem, "put the teacher into a folder that all nodes share")
    if work.device == "cpu":
        torch.set_num_threads(work.threads)
    loaded = LoadedTeacher(work.settings, work.folder, work.numbered, task=work.task)
    return prepare_teacher(loaded.copy(), work.reads).to(torch.device(work.device))
