"""Hugging Face data sets, from disk or by hub name. `datasets` is imported only here, and only when used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.data.files.formats import FORMAT_OF, GZIP, POINTER, remedy_for, what_begins
from potstill.data.files.lines import HEAD, require_clean, require_file, shown_path
from potstill.errors import PotstillError, did_you_mean, install
from potstill.machine.files import kind_of_place

HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?(:[\w.-]+)?")


def dataset_texts(path: str | Path, columns: Sequence[int | str] | None, split: str) -> Iterator[str]:
    """Yield the texts of a data set, row by row.

    Args:
        path: a folder that `save_to_disk` wrote, a folder of parquet, JSON or CSV files, a parquet
            file, or a hub name with its configuration behind a colon (`nyu-mll/glue:sst2`).
        columns: names. Default: `text`, or every column of strings where there is no `text`.
        split: which of its splits, where it has several.

    Raises:
        PotstillError: `datasets` is not installed; nothing has that name, or there is no network;
            there is no such split or column; a column holds no strings.
    """
    data = _one_split(load_data(path), path, split)
    types = {name: str(getattr(feature, "dtype", "")) for name, feature in data.features.items()}
    strings = [name for name, dtype in types.items() if dtype in ("string", "large_string")]
    names = list(columns) if columns is not None else (["text"] if "text" in strings else strings)
    if not names:
        raise PotstillError(path, f"no column holds strings (columns: {', '.join(types)})", "name a data set of texts")
    for name in names:
        if name not in types:
            raise PotstillError(path, f"has no column {name!r}", did_you_mean(str(name), types))
        if name not in strings:
            raise PotstillError(path, f"column {name!r} holds {types[str(name)]}, not strings", f"columns of strings: {', '.join(strings)}")
    row_number = 0
    for batch in data.select_columns(names).iter(batch_size=1000):
        for row in zip(*(batch[name] for name in names), strict=True):
            row_number += 1
            for text in row:
                if text is not None:
                    require_clean(text, f"{path}: row {row_number}")
                yield text or ""  # one for each column, so that rows can be told apart


def dataset_files(path: str | Path, split: str) -> list[Path]:
    """The Arrow files of a data set's split, which `datasets` maps into memory; none of one that it holds there.

    A PotstillError comes through as in `dataset_texts`, whose arguments these are.
    """
    return [Path(file["filename"]) for file in _one_split(load_data(path), path, split).cache_files]


def load_data(path: str | Path) -> Any:
    """The data set behind a path or hub name, as `datasets` returns it: one split, or a dict of splits.

    Args:
        path: as in `dataset_texts`.

    Raises:
        PotstillError: `datasets` is not installed, nothing has that name, or there is no network.
    """
    try:
        import datasets
    except ImportError as error:
        raise PotstillError(path, "reading a data set needs the package datasets", install("train")) from error
    place = Path(path)
    from_hub = kind_of_place(place) is None
    if from_hub and (place.suffix.lower() in (*FORMAT_OF, GZIP) or not HUB_NAME.fullmatch(str(path))):
        problem = "does not exist, and is no hub name"
        raise PotstillError(shown_path(path), problem, "check the path; a hub name is owner/name or owner/name:config")
    if not from_hub and kind_of_place(place) != "a folder":
        with require_file(place).open("rb") as stream:
            if what_begins(stream.read(HEAD)) == POINTER:
                raise PotstillError(path, f"is {POINTER}", remedy_for(POINTER))
    try:
        with quiet(datasets), reachable_or_offline(datasets, from_hub):
            if place.is_file():
                # One file is one split, which the library calls train.
                return datasets.load_dataset("parquet", data_files=str(place), split="train")
            if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
                return datasets.load_from_disk(str(place))
            if place.is_dir():
                return datasets.load_dataset(str(place))
            name, _, config = str(path).partition(":")
            return datasets.load_dataset(name, config or None)
    # Everything: the library fails with its own, pyarrow's, the hub's and the network's classes.
    except Exception as error:
        kind = "data set of the hub" if from_hub else "data set on disk"
        reason = str(error.__cause__ or error) or type(error).__name__
        way_out = "check the name and the network, or give a local folder" if from_hub else "name a folder or file that `datasets` reads"
        raise PotstillError(path, f"cannot be read as a {kind} ({reason.splitlines()[0][:200]})", way_out) from error


@contextmanager
def quiet(datasets: Any) -> Iterator[None]:
    """Switch off the library's progress bars, and its own log of an error that is raised anyway."""
    bars, level = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


@contextmanager
def reachable_or_offline(datasets: Any, from_hub: bool) -> Iterator[None]:
    """Without a network, use the library's cache at once: its own five attempts take 24 seconds and end there too."""
    from huggingface_hub import constants, get_session

    offline = datasets.config.HF_HUB_OFFLINE
    if from_hub and not offline:
        try:
            get_session().head(constants.ENDPOINT, timeout=10)
        # Everything: the client behind get_session is requests, httpx or its successor.
        except Exception:
            datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = offline


def _one_split(data: Any, path: str | Path, split: str) -> Any:
    if not isinstance(data, dict):
        return data
    if split not in data:
        raise PotstillError(path, f"has no split {split!r}", did_you_mean(split, data))
    return data[split]
