"""The texts of a file as vectors, read, encoded and written block by block: memory does not grow with the file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from potstill.data.files.inputs import source_of, stream_texts, text_column
from potstill.data.files.lines import Remote, StandardInput, require_file
from potstill.data.files.texts import in_blocks
from potstill.data.files.vectors import NPY, SHARDS, Form, form_of
from potstill.errors import PotstillError, shown
from potstill.evaluation.evaluate import recipe_of_run
from potstill.evaluation.subject import Subject, open_subject
from potstill.machine.cache import fingerprint
from potstill.machine.files import kind_of_place, read_json, remove, require_nameable, sha256_of, write_aside, write_text
from potstill.machine.held import LOCK, held
from potstill.machine.places import place_of_model
from potstill.recipe.part import TextSource
from potstill.runtime.decode import require_finite
from potstill.runtime.folder import EMBED
from potstill.runtime.vectors import cut, quantize, require_dimensions

BLOCK, LETTERS = 16_384, 8_000_000
"""A block ends at so many texts, or at so many characters: its vectors and its tokens are in memory together."""
MANIFEST = "manifest.json"
WORK = ".encoding"  # ending of the folder in which the blocks wait


@dataclass
class Encoded:
    """What was written.

    Attributes:
        rows: how many vectors.
        width: numbers of one, as they are kept.
        kind: of these numbers.
        shards: how many blocks.
    """

    rows: int = 0
    width: int = 0
    kind: str = ""
    shards: int = 0


@dataclass
class _Manifest:
    """What the blocks that are done are of, so that an encoding goes on with the same model and the same texts.

    Attributes:
        settings: whatever decides the vectors and their form.
        blocks: number of texts and their digest, block by block.
    """

    settings: dict[str, Any]
    blocks: list[tuple[int, str]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        rows = sum(rows for rows, _ in self.blocks)
        content = {"rows": rows, **self.settings, "blocks": [{"rows": rows, "sha256": digest} for rows, digest in self.blocks]}
        write_text(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def encode_file(
    model: str,
    file: str | Path,
    out: str | Path,
    *,
    threads: int | None = None,
    dimensions: int | None = None,
    precision: str = "float32",
    input_format: str | None = None,
    output_format: str | None = None,
    resume: bool = False,
    stream: TextIO | None = None,
) -> Encoded:
    """Turn every text of a file into a vector.

    Blocks that are done wait in a folder beside `out`. When all are, they become one, which is then renamed to `out`. What was
    stopped goes on with `resume` behind the last whole block, after the texts before it were read again and compared.

    Args:
        model: as `open_subject` takes it.
        file: texts, as `stream_texts` reads them; "-" is standard input.
        out: the file to write, or a folder of shards, as `form_of` tells.
        threads: of the model; default all usable cores.
        dimensions: how many of a vector's first dimensions are kept; default all.
        precision: of a vector's numbers: a name of runtime.vectors.PRECISIONS.
        input_format, output_format: in place of what the names tell.
        resume: go on with an encoding that was stopped; where there is none, begin.
        stream: write there instead, block by block; `out` is not written.

    Raises:
        PotstillError: there is no such file or model, or it gives no vectors; a vector holds NaN or infinity; `out` holds
            something else; with `resume` the model, a setting or the texts before are others.
    """
    form = form_of(out, output_format, stream is not None)
    source = source_of(file, input_format)
    if isinstance(source, Path):
        require_file(source)
    if stream is not None and resume:
        raise PotstillError("--resume", "what was written to standard output cannot be gone on with", "name a file with --out")
    place = Path(os.path.realpath(out))
    if stream is None:
        require_replaceable(out, place, form)
    subject = open_subject(model, threads=threads)
    if subject.head != EMBED:
        raise PotstillError(model, f"is a {subject.head} model and gives no vectors", "use `potstill predict`, or name an encoder")
    width = require_dimensions(model, dimensions, subject.dimension)
    kept = quantize(np.zeros((1, width), dtype=np.float32), precision)  # what is wrong with it is told before the work
    encode = partial(_vectors, subject, model, width, precision)
    column = text_column(source, input_format, _own_columns(model))
    blocks = in_blocks(_texts(source, input_format, column), BLOCK, LETTERS)
    done = Encoded(width=kept.shape[1], kind=str(kept.dtype))
    if stream is not None:
        return _to_stream(form, blocks, encode, stream, done)
    settings = {"form": form.name, "dimensions": width, "precision": precision, "width": done.width, "model": digests_of(subject)}
    _to_place(form, blocks, encode, place, _Manifest(settings), resume, done)
    return done


def require_replaceable(out: str | Path, place: Path, form: Form) -> None:
    """Check that nothing of somebody else's is replaced.

    Args:
        out: as the user wrote it.
        place: what that leads to.
        form: in which vectors are to be written there.

    Raises:
        PotstillError: a folder is there that is no folder of shards, or a file where one is to be.
    """
    require_nameable(place)
    kind = kind_of_place(place)
    if kind == "a folder" and form.name != SHARDS:
        raise PotstillError(out, "is a folder", "name a file")
    if kind == "a folder" and any(place.iterdir()) and not (place / MANIFEST).is_file():
        raise PotstillError(out, "holds something else than shards", "choose another --out")
    if kind not in (None, "a file", "a folder"):
        raise PotstillError(out, f"is {kind}", "name a file, or - for standard output")
    if kind == "a file" and form.name == SHARDS:
        raise PotstillError(out, "is a file, and shards need a folder", "choose another --out, or end it in .npy")


def digests_of(subject: Subject) -> dict[str, str]:
    """A digest of every file that decides a model's vectors."""
    weights = {name: sha256_of(path) for name in subject.files if (path := subject.path / name).is_file()}
    return dict(sorted((fingerprint(subject.path) | weights).items()))


def _own_columns(model: str) -> list[str]:
    """What a run's recipe calls the column of its texts, where a file has one; none of a model that is no run."""
    recipe = recipe_of_run(place_of_model(model))
    named = [source.columns or [] for source in recipe.data.texts if isinstance(source, TextSource)] if recipe is not None else []
    return [columns[0] for columns in named if len(columns) == 1 and isinstance(columns[0], str)]


def _texts(source: Path | StandardInput | Remote, format: str | None, column: str) -> Iterator[str]:
    """The texts of a file.

    Raises:
        PotstillError: there is none.
    """
    found = False
    for text in stream_texts(source, format, column):
        found = True
        yield text
    if not found:
        raise PotstillError(source, "holds no texts", "name a file with at least one row")


def _vectors(subject: Subject, model: str, width: int, precision: str, texts: Sequence[str], before: int) -> NDArray[Any]:
    """The vectors of a block as they are kept; `before` texts came before it.

    A PotstillError from `require_finite` comes through.
    """
    whole = subject.run(texts, f"encode, {before:,} before" if before else "encode")
    require_finite(whole, model, "vectors", before)
    return quantize(cut(whole, width, subject.unit), precision)


def _to_stream(
    form: Form, blocks: Iterable[Sequence[str]], encode: Callable[[Sequence[str], int], NDArray[Any]], stream: TextIO, done: Encoded
) -> Encoded:
    assert form.head is not None and form.rows is not None  # as form_of has checked
    stream.write(form.head(done.width))
    for texts in blocks:
        stream.write(form.rows(texts, encode(texts, done.rows)))
        stream.flush()
        done.rows, done.shards = done.rows + len(texts), done.shards + 1
    return done


def _to_place(
    form: Form,
    blocks: Iterable[Sequence[str]],
    encode: Callable[[Sequence[str], int], NDArray[Any]],
    place: Path,
    manifest: _Manifest,
    resume: bool,
    done: Encoded,
) -> None:
    """Write the blocks that are missing, then the whole.

    Raises:
        PotstillError: another process writes the same; the blocks there are of something else.
    """
    work = place.with_name(f".{place.name[:100]}{WORK}")
    with held(work):
        known = _known(work, manifest) if resume else []
        if not known:
            clear(work)
        for number, texts in enumerate(blocks):
            digest = hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
            if number < len(known):
                _require_same(work, known[number], (len(texts), digest), done.rows)
            else:
                with write_aside(_part(work, form, number)) as aside:
                    form.part(aside, texts, encode(texts, done.rows))
            manifest.blocks.append((len(texts), digest))
            if number >= len(known):
                manifest.write(work)
            done.rows, done.shards = done.rows + len(texts), number + 1
        if done.shards < len(known):
            problem = f"{sum(rows for rows, _ in known):,} texts were encoded, and the file has {done.rows:,}"
            raise PotstillError(work, problem, "name the same file, or leave --resume out")
        with write_aside(place) as aside:
            if form.name == SHARDS:
                aside.mkdir()
                manifest.write(aside)
            form.join([_part(work, form, number) for number in range(done.shards)], (done.rows, done.width), aside)
        clear(work)
    with suppress(OSError):  # it was there before, or somebody holds it by now
        work.rmdir()


def _part(work: Path, form: Form, number: int) -> Path:
    return work / f"{number:06d}.{NPY if form.name == SHARDS else form.name}"


def clear(work: Path) -> None:
    """Take away all but the lock of the process that holds the folder."""
    for path in work.iterdir():
        if path.name != LOCK:
            remove(path)


def _known(work: Path, manifest: _Manifest) -> list[tuple[int, str]]:
    """The blocks that are done.

    Raises:
        PotstillError: they were made by another model, or otherwise.
    """
    file = work / MANIFEST
    if not file.is_file():
        return []
    content = read_json(file)
    for key, value in manifest.settings.items():
        if content.get(key) != value:
            said = "another model's" if key == "model" else f"of {key} {shown(content.get(key))}, and {shown(value)} is asked"
            raise PotstillError(work, f"the vectors that are done are {said}", "ask for the same, or leave --resume out")
    return [(row["rows"], row["sha256"]) for row in content["blocks"]]


def _require_same(work: Path, known: tuple[int, str], found: tuple[int, str], before: int) -> None:
    """Check that a block that is done is of the texts that are there now.

    Raises:
        PotstillError: it is not.
    """
    if known != found:
        problem = f"texts {before + 1:,} to {before + known[0]:,} are others than those that were encoded"
        raise PotstillError(work, problem, "name the same file, or leave --resume out")
