"""Nothing half-written stays behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from potstill.errors import DiskFull, PotstillError
from potstill.machine.files import _MACHINE, is_full, require_space, sha256_of, write_aside, write_text
from potstill.machine.held import held


def test_a_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(KeyboardInterrupt), write_aside(target) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "deep").iterdir()) == []
    write_text(target, "whole")
    assert target.read_text() == "whole"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o007])
def test_files_have_the_mode_that_the_system_gives_new_ones(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with write_aside(tmp_path / "folder") as aside:
            (aside / "deep").mkdir(parents=True)
            (aside / "deep" / "own").touch(mode=0o600)  # as safetensors writes
            (aside / "deep" / "copy").touch(mode=0o444)  # of a file that is not to be changed
            (aside / "deep").chmod(0o700)
        with write_aside(tmp_path / "file") as aside:
            aside.touch(mode=0o600)
    finally:
        os.umask(before)
    files = [tmp_path / "file", tmp_path / "folder" / "deep" / "own", tmp_path / "folder" / "deep" / "copy"]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o666 & ~mask] * 3
    assert (tmp_path / "folder" / "deep").stat().st_mode & 0o777 == 0o777 & ~mask


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


def half(target: Path, process: int | None, age: float = 0.0, machine: str = _MACHINE) -> Path:
    """What a killed process leaves of a target; of an earlier version without its number."""
    path = target.with_name(f".{target.name}.{f'{machine}-{process}-' if process else ''}0badcafe.part")
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_a_killed_process_left_goes_when_the_same_target_is_written_again(tmp_path: Path) -> None:
    target, day = tmp_path / "file", 25 * 3600
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = [half(target, ended.pid), half(target, None, age=day), half(target, 4, machine="01234567", age=day)]
    inner = half(target, ended.pid)
    gone += [inner, half(inner, ended.pid)]  # a half that was written aside in turn, as an export is
    kept = [
        half(target, os.getppid()),  # a process that lives
        half(target.with_name("other"), ended.pid),  # of another target
    ]
    kept.append(half(target, 4, machine="89abcdef"))  # another machine's, which cannot be asked
    for _ in range(2):
        write_text(target, "whole")
        assert {path.name for path in tmp_path.iterdir()} == {"file", *(path.name for path in kept)}
        assert not any(path.exists() for path in gone)


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "x" * 200 + ".json"])
def test_a_name_that_a_file_can_have_can_be_written(tmp_path: Path, name: str) -> None:
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "a\0b", "\udc80"])
def test_a_name_that_no_file_can_have_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(PotstillError, match="has a name"):
        write_text(tmp_path / name, "text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_a_folder_that_takes_nothing_new_is_one_clear_line() -> None:
    with pytest.raises(PotstillError, match=r"^/proc/x: cannot be written \(No such file or directory\); choose another place$"):
        write_text("/proc/x", "text")
    with pytest.raises(PotstillError, match="/proc/x: cannot be written"), write_aside("/proc/x") as aside:
        aside.mkdir()
    with pytest.raises(PotstillError, match="/proc/x: cannot be written"), held(Path("/proc/x")):
        pass


def test_a_file_beside_the_place_that_is_not_found_is_no_matter_of_writing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_aside(tmp_path / "file"):
        (tmp_path / "other").read_text()


# A limit on the size of a file stands for a full disk: Python, numpy, torch and safetensors then meet the same failure of a write.
WRITERS = {
    "text": "write_text(target, 'x' * size)",
    "numpy": "with write_aside(target) as aside, aside.open('wb') as stream: np.save(stream, np.zeros(size, np.uint8))",
    "torch": "with write_aside(target) as aside: torch.save(torch.zeros(size, dtype=torch.uint8), aside)",
    "safetensors": "with write_aside(target) as aside: save_file({'a': torch.zeros(size, dtype=torch.uint8)}, aside)",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_fills_up_is_one_clear_line_whoever_writes(tmp_path: Path, writer: str) -> None:
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np, torch
from safetensors.torch import save_file
from potstill.errors import DiskFull
from potstill.machine.files import write_aside, write_text
from potstill.machine.held import held
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
target, size = Path(sys.argv[1]), 1_000_000
try:
    {WRITERS[writer]}
except DiskFull as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True)
    assert done.stdout == f"{tmp_path}/file: no space is left on the disk; free some, or choose another folder\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_is_no_full_disk_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="something else") as told, write_aside(tmp_path / "file"):
        raise OSError("something else")
    assert not isinstance(told.value, PotstillError)


@pytest.mark.parametrize(
    ("needed", "free", "words"),
    [
        (5_000_000, 1_000_000, "needs 5 MB and 1 MB are free"),
        (1_200_000, 1_000_000, "needs 1.2 MB and 1.0 MB are free"),
        (1_000_001, 1_000_000, "needs 1.000001 MB and 1.000000 MB are free"),
        (300, 0, "needs 0.0003 MB and 0.0000 MB are free"),
    ],
)
def test_what_is_needed_and_what_is_free_are_told_apart(tmp_path, monkeypatch, needed, free, words) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=free))
    with pytest.raises(DiskFull, match=words):
        require_space(tmp_path, needed, "the cache")


def test_an_error_that_is_its_own_cause_has_an_end():
    error = ValueError("anything")
    error.__cause__ = error
    assert not is_full(error)
