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
from potstill.machine.cache import cache_place
from potstill.machine.files import write_aside
from potstill.results import versions

ANSWERS = "answers.npz"


def kept(subject: Subject, folder: Path, settings: dict[str, Any]) -> Subject:
    """The model, which is not asked again what the same files of it have answered to the same texts under the same versions.

    Args:
        subject: the model.
        folder: whose files decide its answers.
        settings: whatever else does, as JSON.
    """
    decides = {"what": ANSWERS, "versions": versions(), **settings}

    def keeping(ask: Callable[..., Any]) -> Callable[..., Any]:
        def answer(texts: Sequence[Any], title: str = "") -> Any:
            file = cache_place(folder, texts, decides) / ANSWERS
            found = _read(file)
            if found is None:
                found = ask(texts, title)
                with suppress(PotstillError):  # a full disk takes nothing from the run
                    _write(file, found)
            return found

        return answer

    return replace(subject, encode=keeping(subject.encode), run=keeping(subject.run))


def _read(file: Path) -> Any:
    """(n, d) answers, or n arrays of a tagger's; None where there is no such file, or a broken one."""
    try:
        with np.load(file, allow_pickle=False) as held:
            values, lengths = held["values"], held["lengths"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return np.split(values, np.cumsum(lengths)[:-1]) if len(lengths) else values


def _write(file: Path, answers: Any) -> None:
    """Write answers as `_read` gives them; a PotstillError comes through."""
    a_tagger = not isinstance(answers, np.ndarray)
    lengths = np.array([len(each) for each in answers] if a_tagger else [], dtype=np.int64)
    if a_tagger and not len(lengths):
        return
    with write_aside(file) as aside, aside.open("wb") as stream:
        np.savez(stream, values=np.concatenate(answers) if a_tagger else answers, lengths=lengths)
