"""Where transformers.js comes from: npm, a folder of archives, node_modules; and what is refused of each."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from potstill.demo import library
from potstill.demo.library import Package, read_library
from potstill.errors import PotstillError

CONTENT = {"dist/a.js": b"the code", "LICENSE": b"the licence"}
PACKAGE = Package(
    "@some/thing", "1.2.3", {path: (path.rpartition("/")[2], sha256(content).hexdigest()) for path, content in CONTENT.items()}
)
WANTED = {"a.js": b"the code", "LICENSE": b"the licence"}


@pytest.fixture(autouse=True)
def one_small_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "PACKAGES", (PACKAGE,))
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that writes an archive that lies beside it, or fails where none does; it counts its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "npm"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {folder}/calls\n'
        f"if [ -f {folder}/some-thing-1.2.3.tgz ]; then cp {folder}/some-thing-1.2.3.tgz .; else\n"
        "echo 'npm error code ENOTFOUND' >&2; echo 'npm error network request to https://r failed' >&2; exit 1; fi\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def archive(place: Path, content: dict[str, bytes] = CONTENT) -> Path:
    with tarfile.open(place / PACKAGE.archive, "w:gz") as packed:
        for path, own in content.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(own)
            packed.addfile(entry, io.BytesIO(own))
    return place


def test_npm_fetches_once_and_the_cache_keeps_it(npm):
    archive(npm)
    assert read_library() == WANTED == read_library()
    (called,) = (npm / "calls").read_text().splitlines()
    assert called.startswith("pack ") and called.endswith(" @some/thing@1.2.3")


def test_another_pinned_version_is_fetched_anew(npm, monkeypatch):
    archive(npm)
    read_library()
    monkeypatch.setattr(library, "PACKAGES", (replace(PACKAGE, version="2.0.0"),))
    with pytest.raises(PotstillError, match=r"has no @some/thing/dist/a.js .* @some/thing@2.0.0"):
        read_library()  # this npm has the old one alone


def test_archives_or_node_modules_do_without_npm(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_library(archive(tmp_path)) == WANTED
    for path, own in CONTENT.items():
        file = tmp_path / "node_modules" / "@some" / "thing" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(own)
    assert read_library(tmp_path / "node_modules") == WANTED
    with pytest.raises(PotstillError, match=r"^npm: is not installed, .* `npm pack @some/thing@1.2.3` .* --npm$"):
        read_library()


def test_what_npm_says_is_told_and_nothing_is_kept(npm, tmp_path):
    with pytest.raises(PotstillError, match=r"^npm: does not fetch the packages \('network request to https://r failed'\); `npm pack"):
        read_library()
    archive(npm, CONTENT | {"dist/a.js": b"other code"})
    with pytest.raises(PotstillError, match=r"dist/a.js is not that of @some/thing@1.2.3; fetch"):
        read_library()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"dist/a.js": b"the code"}, "has no @some/thing/LICENSE"),  # an archive that lacks a file
        (CONTENT | {"LICENSE": b"mine"}, "LICENSE is not that of @some/thing@1.2.3"),  # a file of another version
        (None, "has no @some/thing/dist/a.js"),  # a folder with nothing in it
    ],
)
def test_a_folder_without_the_right_files_is_refused(content, words, tmp_path):
    if content is not None:
        archive(tmp_path, content)
    with pytest.raises(PotstillError, match=words):
        read_library(tmp_path)


def test_a_broken_archive_is_refused(tmp_path):
    whole = (archive(tmp_path) / PACKAGE.archive).read_bytes()
    (tmp_path / PACKAGE.archive).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PotstillError, match="has no @some/thing/"):
        read_library(tmp_path)
