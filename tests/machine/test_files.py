"""Nothing half-written stays behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.machine.files import require_space, sha256_of, write_aside, write_text


def test_a_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(KeyboardInterrupt), write_aside(target) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []
    write_text(target, "whole")
    assert target.read_text() == "whole"


def test_a_folder_replaces_the_old_one_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(ValueError, match="no"), write_aside(target) as aside:
        aside.mkdir()
        raise ValueError("no")
    assert [path.name for path in target.iterdir()] == ["old"]
    with write_aside(target) as aside:
        aside.mkdir()
        (aside / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="cannot be written"):
        write_text(tmp_path, "text")
    assert tmp_path.is_dir() and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="no space is left"), write_aside(tmp_path / "file") as aside:
        aside.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PotstillError, match="cannot be written"):
        write_text(tmp_path / "file" / "x", "text")


def test_a_device_or_a_pipe_stays_what_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PotstillError, match="is no ordinary file"):
        write_text(tmp_path / "pipe", "text")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_text(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_text() == "text"


def test_a_folder_that_cannot_be_made_is_one_clear_line() -> None:
    with pytest.raises(PotstillError, match="/proc/nothing/file: cannot be written"):
        write_text("/proc/nothing/file", "text")


def test_too_much_asked_of_the_disk(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there", 1, "nothing")
    with pytest.raises(PotstillError, match="are free"):
        require_space(tmp_path, 1 << 60, "the cache")


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
