"""What a teacher answers to the texts of tasks, kept between runs: every run of a recipe, every seed, asks it the same."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from potstill.errors import PotstillError
from potstill.evaluation.subject import Subject
from potstill.machine.cache import FORMAT, digest_of, fingerprint, named_place
from potstill.machine.files import write_aside
from potstill.results import versions
from potstill.runtime.folder import EMBED

ANSWERS = "answers"
LARGEST = 1 << 28  # bytes that are kept of one call: the five STS sets take 45 MB at a width of 768, a large corpus would fill a disk


def kept(subject: Subject, folder: Path, settings: dict[str, Any]) -> Subject:
    """The model, which is not asked again what the same files of it have answered to the same texts under the same versions.

    Args:
        subject: the model.
        folder: whose files decide its answers.
        settings: whatever else does, as JSON.
    """
    decides = {"format": FORMAT, "files": fingerprint(folder), "versions": versions(), "settings": settings}

    def keeping(ask: Callable[..., Any], head: str) -> Callable[..., Any]:
        def answer(texts: Sequence[Any], title: str = "") -> Any:
            file = named_place(ANSWERS, {**decides, "head": head, "texts": digest_of(texts)}).with_suffix(".npz")
            found = _read(file)
            if found is None:
                found = ask(texts, title)
                with suppress(PotstillError, OSError):  # a disk that is full or away takes nothing from the run
                    _write(file, found)
            return found

        return answer

    return replace(subject, encode=keeping(subject.encode, EMBED), run=keeping(subject.run, subject.head))


def _read(file: Path) -> Any:
    """(n, d) answers, or n arrays of a tagger's; None where there is no such file, or a broken one."""
    try:
        with np.load(file, allow_pickle=False) as held:
            values, lengths = held["values"], held["lengths"]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):  # NotImplementedError is a RuntimeError
        return None
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else values


def _write(file: Path, answers: Any) -> None:
    """Write answers as `_read` gives them, unless they are large; a PotstillError comes through."""
    of_a_tagger = not isinstance(answers, np.ndarray)
    if not len(answers) or sum(each.nbytes for each in (answers if of_a_tagger else [answers])) > LARGEST:
        return
    lengths = np.array([len(each) for each in answers] if of_a_tagger else [], dtype=np.int64)
    with write_aside(file) as aside, aside.open("wb") as stream:
        np.savez(stream, values=np.concatenate(answers) if of_a_tagger else answers, lengths=lengths)
