"""Where a model's files are, and what becomes of whatever a library raises while it reads them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.models.source import library_reads, model_folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "'' names no model"),  # an empty value in a recipe
        (" ", "' ' names no model"),  # nor a blank one
        ("a\0b", "names no model"),  # no system has such a path
        ("~nobody-of-that-name/model", "the home folder is not known"),
        ("x" * 300, "no such folder"),  # longer than a disk's names
    ],
)
def test_names_that_are_none(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(PotstillError, match=words) as caught:
        model_folder(name)
    assert not str(caught.value).startswith(":")


class PanicException(BaseException):
    """As libraries written in Rust raise it."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Exception("data did not match any variant"), r"file.json: cannot be read \(Exception: data did not match any variant\); check"),
        (KeyError("model"), r"KeyError: 'model'"),  # its text alone says nothing
        (RecursionError(), r"\(RecursionError\)"),  # without a text
        (ValueError("one\n  two"), r"ValueError: one two"),  # on one line
        (PanicException("index out of bounds"), r"PanicException: index out of bounds"),  # no Exception, and none of ours
        (OSError(errno.EACCES, "Permission denied"), r"Permission denied"),
    ],
)
def test_what_a_library_raises_becomes_a_line(error: BaseException, words: str) -> None:
    with pytest.raises(PotstillError, match=words), library_reads(Path("file.json")):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(1),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        PotstillError("place", "problem"),  # said already
    ],
)
def test_what_the_machine_is_short_of_is_not_blamed_on_the_file(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, library_reads(Path("file.json")):
        raise error
    assert caught.value is error


def test_the_first_cause_is_told() -> None:
    with pytest.raises(PotstillError, match="ZeroDivisionError"), library_reads("place"):
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            raise RuntimeError("pages of something else") from error
