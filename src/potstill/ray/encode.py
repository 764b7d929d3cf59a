"""Texts of many files as vectors, on the machines of a cluster."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.data.files.inputs import source_of, stream_rows
from potstill.data.files.lines import Remote, StandardInput, require_file
from potstill.data.files.vectors import SHARDS, form_of
from potstill.errors import PotstillError
from potstill.evaluation.subject import Subject, open_subject
from potstill.machine.files import write_aside, write_text
from potstill.machine.held import held
from potstill.machine.places import place_of_model
from potstill.machine.progress import progress
from potstill.ray.connect import connected, cores_of_worker, gpus, one_line, told
from potstill.run.encode import MANIFEST, WORK, Encoded, clear, digests_of, require_replaceable
from potstill.runtime.decode import require_finite
from potstill.runtime.folder import EMBED
from potstill.runtime.vectors import cut, quantize, require_dimensions

ROWS, LETTERS = 4096, 2_000_000
"""A shard ends at so many texts, or at so many characters."""
MARK = b"potstill"  # in a shard's own description: a digest of whatever decides what it holds
Rows = tuple[list[str], list[str]]
"""Ids and texts of a shard."""


class Encode:
    """A model for `Dataset.map_batches` of Ray Data: it adds to a batch the vectors of its texts.

    `data.map_batches(potstill.ray.Encode, fn_constructor_kwargs={"model": "runs/mine"}, concurrency=8, num_cpus=1)`

    Args:
        model: as `potstill encode` takes it; each worker opens it once, on a GPU where it was given one.
        column: of the texts.
        into: the column that is added.
        dimensions: how many of a vector's first dimensions are kept; default all.
        precision: of a vector's numbers: a name of runtime.vectors.PRECISIONS.
        threads: of the model; default as many as Ray gave the worker cores.

    Raises:
        PotstillError: there is no such model, or it gives no vectors.
    """

    def __init__(
        self,
        model: str,
        column: str = "text",
        into: str = "vector",
        *,
        dimensions: int | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        threads = threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or None  # Ray sets it
        device = "cuda" if os.environ.get("CUDA_VISIBLE_DEVICES") and _sees_gpu() else "cpu"
        self.model, self.column, self.into, self.precision = model, column, into, precision
        self.subject = _encoder(model, threads, device)
        self.width = require_dimensions(model, dimensions, self.subject.dimension)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with (n, d) vectors; its column of texts holds n texts.

        Raises:
            PotstillError: it has no such column.
        """
        if self.column not in batch:
            raise PotstillError(
                "Encode", f"the batch has no column {self.column!r}, but {', '.join(batch)}", "name the column of the texts"
            )
        return {**batch, self.into: self.vectors([str(text) for text in batch[self.column]])}

    def vectors(self, texts: Sequence[str]) -> NDArray[Any]:
        """The vectors of n texts, (n, d), as they are kept.

        A PotstillError from `require_finite` comes through.
        """
        whole = self.subject.encode(texts)
        require_finite(whole, self.model, "vectors")
        return quantize(cut(whole, self.width, self.subject.unit), self.precision)


def _sees_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _encoder(model: str, threads: int | None = None, device: str = "cpu") -> Subject:
    subject = open_subject(model, threads=threads, device=device)
    if subject.head != EMBED:
        raise PotstillError(model, f"is a {subject.head} model and gives no vectors", "use `potstill predict`, or name an encoder")
    return subject


def encode_on(
    address: str,
    model: str,
    files: Sequence[str],
    out: str | Path,
    *,
    workers: int | None = None,
    dimensions: int | None = None,
    precision: str = "float32",
    texts: bool = True,
    resume: bool = False,
) -> Encoded:
    """Turn every text of some files into a vector, on a cluster's machines, into a folder of parquet files.

    A file is read by one worker, line by line, and cut into shards; other workers encode them. Each shard is written aside and
    renamed, in a folder beside `out`, which takes that name when all are there. In order of their names the shards hold
    the rows in order of the files. What was stopped goes on with `resume`: shards that are there and hold the same are kept.

    Args:
        address: as `connected` takes it.
        model: as `open_subject` takes it, on a folder that all nodes see.
        files: paths, or URLs that fsspec opens, also with `*`; as `stream_rows` reads them.
        out: a folder that all nodes see.
        workers: that encode at once; default one a GPU for a torch model, and where there is none one a core.
        dimensions, precision: as Encode has them.
        texts: whether the texts are written beside the vectors.
        resume: go on with an encoding that was stopped; where there is none, begin.

    Returns:
        What was written.

    Raises:
        PotstillError: as `encode_file` and `connected`.
    """
    form, place = form_of(out, SHARDS if not Path(out).suffix else None, False), Path(os.path.realpath(out))
    if form.name != SHARDS:
        raise PotstillError(out, "is a file, and --ray writes a folder of parquet files", "name a folder, without an ending")
    require_replaceable(out, place, form)
    sources = [source for file in files for source in _sources(file)]
    model = str(folder.absolute()) if (folder := place_of_model(model)).is_dir() else model
    subject = _encoder(model)
    width = require_dimensions(model, dimensions, subject.dimension)
    kept = quantize(np.zeros((1, width), dtype=np.float32), precision)
    settings = {
        "form": "parquet", "dimensions": width, "precision": precision, "width": kept.shape[1], "texts": texts, "model": digests_of(subject)
    }  # fmt: skip
    done = Encoded(width=kept.shape[1], kind=str(kept.dtype))
    work = place.with_name(f".{place.name[:100]}{WORK}")
    with held(work):
        if not resume:
            clear(work)
        with connected(address, [work]) as ray, one_line("encode"):
            on_gpus = subject.format == "torch" and gpus(ray) > 0
            workers = workers or (gpus(ray) if on_gpus else int(ray.cluster_resources().get("CPU", 1)))
            threads = cores_of_worker(ray, workers, on_gpus)
            needs = {"num_cpus": threads, "num_gpus": int(on_gpus), "concurrency": workers}  # Ray Data replaces workers by itself
            found: list[dict[str, Any]] = []
            with progress("encode", 0) as advance:
                for row in _shards_of(ray, sources, _Writer, (model, settings, str(work)), needs):
                    found.append(row)
                    advance(row["rows"])
        _finish(work, place, settings, found)
        done.rows, done.shards = sum(row["rows"] for row in found), len(found)
    with suppress(OSError):  # it was there before, or somebody holds it by now
        work.rmdir()
    return done


def _sources(file: str) -> list[str]:
    """Paths and URLs of a name; those of a pattern in the order of their names.

    Raises:
        PotstillError: there is no such file, or it is standard input, which a node cannot read.
    """
    source = source_of(file)
    if isinstance(source, StandardInput):
        raise PotstillError("-", "is standard input, which other machines cannot read", "write the texts into a file")
    if isinstance(source, Path):
        return [str(require_file(source).absolute())]
    if "*" not in source:
        return [str(source)]
    try:
        import fsspec

        system, pattern = fsspec.core.url_to_fs(str(source))
        found = sorted(system.unstrip_protocol(name) for name in system.glob(pattern))
    except (ImportError, OSError, ValueError) as error:
        raise PotstillError(source, f"cannot be listed ({' '.join(str(error).split())[:160]})", "check the address") from error
    if not found:
        raise PotstillError(source, "names no file", "check the pattern")
    return found


def _shards_of(
    ray: Any, sources: Sequence[str], writer: type, given: tuple[Any, ...], needs: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """What the workers say of each shard, as they finish them.

    Raises:
        PotstillError: a reader or a worker found something wrong.
        error: it.
    """
    from ray import data

    context = data.DataContext.get_current()
    # A row is a shard. Blocks of one row each: else a block would be all shards of a file, and one worker's.
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    numbered = [{"number": number, "source": source} for number, source in enumerate(sources)]
    shards = data.from_items(numbered, override_num_blocks=len(numbered)).flat_map(_read, num_cpus=0, concurrency=needs["concurrency"])
    for row in shards.map(writer, fn_constructor_args=given, **needs).iter_rows():
        if row["error"]:
            error: PotstillError = pickle.loads(row["error"])
            raise error
        yield row


def _read(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The shards of a file; behind a mistake nothing comes any more."""
    source = str(row["source"])
    rows = stream_rows(Remote(source) if "://" in source else source)
    number = 0
    while True:
        shard = told(_next_shard, rows)
        wrong = isinstance(shard, PotstillError)
        if not wrong and not shard[0]:
            return
        name = f"{row['number']:05d}-{number:06d}.parquet"
        content, error = (b"", pickle.dumps(shard)) if wrong else (pickle.dumps(shard), b"")
        yield {"file": name, "content": content, "error": error}
        if wrong:
            return
        number += 1


def _next_shard(rows: Iterator[tuple[str, str]]) -> Rows:
    ids: list[str] = []
    texts: list[str] = []
    letters = 0
    for own, text in rows:
        ids.append(own)
        texts.append(text)
        letters += len(text)
        if len(texts) == ROWS or letters >= LETTERS:
            break
    return ids, texts


class _Writer:
    """On a worker: encodes shards and writes them.

    Args:
        model: as Encode takes it.
        settings: whatever decides the vectors and their form.
        folder: where the shards lie.
    """

    def __init__(self, model: str, settings: Mapping[str, Any], folder: str) -> None:
        self.settings, self.folder = settings, Path(folder)
        self.encode = told(self._opened, model)

    def _opened(self, model: str) -> Encode:
        encode = Encode(model, dimensions=self.settings["dimensions"], precision=self.settings["precision"])
        if digests_of(encode.subject) != self.settings["model"]:
            raise PotstillError(model, "holds other files than on the machine of this command", "put it into a folder that all nodes share")
        return encode

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        error = row["error"]
        if not error:
            found = self.encode if isinstance(self.encode, PotstillError) else told(self._write, row["file"], pickle.loads(row["content"]))
            if not isinstance(found, PotstillError):
                return {"file": row["file"], "rows": found[0], "sha256": found[1], "error": b""}
            error = pickle.dumps(found)
        return {"file": row["file"], "rows": 0, "sha256": "", "error": error}

    def _write(self, name: str, rows: Rows) -> tuple[int, str]:
        """How many rows a shard has, and a digest of what decides them, once it is written or found."""
        import pyarrow
        from pyarrow import parquet

        ids, texts = rows
        digest = hashlib.sha256(json.dumps([self.settings, ids, texts], sort_keys=True).encode()).hexdigest()
        place = self.folder / name
        if place.is_file():
            with suppress(OSError, pyarrow.ArrowException):
                if (parquet.read_schema(place).metadata or {}).get(MARK) == digest.encode():
                    return len(ids), digest
        vectors = self.encode.vectors(texts)
        flat = pyarrow.array(np.ascontiguousarray(vectors).reshape(-1))
        columns = {"id": pyarrow.array(ids, pyarrow.string())}
        if self.settings["texts"]:
            columns["text"] = pyarrow.array(texts, pyarrow.string())
        columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        table = pyarrow.table(columns).replace_schema_metadata({MARK: digest.encode()})
        with write_aside(place) as aside:
            parquet.write_table(table, aside)
        return len(ids), digest


def _finish(work: Path, place: Path, settings: Mapping[str, Any], found: list[dict[str, Any]]) -> None:
    """Give the folder of the shards its name, with the manifest in it; what is none of them goes.

    Raises:
        PotstillError: a shard that a worker wrote is not there.
    """
    shards = sorted(({key: row[key] for key in ("file", "rows", "sha256")} for row in found), key=lambda row: row["file"])
    for row in shards:
        if not (work / row["file"]).is_file():
            raise PotstillError(work / row["file"], "was written by a node and is not there", "name a folder that all nodes share")
    content = {"rows": sum(row["rows"] for row in shards), **settings, "shards": shards}
    with write_aside(place) as aside:
        aside.mkdir()
        for row in shards:
            os.replace(work / row["file"], aside / row["file"])
        write_text(aside / MANIFEST, json.dumps(content, indent=2) + "\n")
    clear(work)
