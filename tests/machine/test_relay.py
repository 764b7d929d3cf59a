"""The bars of a process elsewhere are shown by the one that waits for it, by what a file says."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from potstill.machine import progress, relay


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "EVERY", 0.01)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(progress, "LOOK", 60.0)


def until_read(file: Path) -> None:
    """Until the watcher has looked at what is written now."""
    time.sleep(0.1)
    assert file.is_file()


def test_bars_in_bars_are_told_as_they_are(often: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "bars.json"
    monkeypatch.setattr(progress, "show", relay.teller(file))
    with progress.progress("train", 10) as outer:
        time.sleep(0.02)
        outer(3, "loss 1.5")
        with progress.progress("score", 4, "tasks"):
            train = {"title": "train", "total": 10, "unit": "texts", "done": 3, "note": "loss 1.5"}
            score = {"title": "score", "total": 4, "unit": "tasks", "done": 0, "note": ""}
            assert json.loads(file.read_text()) == [train, score]
        assert json.loads(file.read_text()) == [train]
    assert json.loads(file.read_text()) == []


def test_what_is_told_is_logged_and_a_bar_that_begins_anew_is_another(
    often: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "potstill")
    file, bar = tmp_path / "bars.json", {"title": "train", "total": 10, "unit": "texts", "done": 5, "note": "loss 1.5"}
    with relay.relayed(file):
        for state in ([bar], [{**bar, "done": 2, "note": "after a loss"}], [{**bar, "done": 9, "note": ""}]):
            relay.write_text(file, json.dumps(state))
            until_read(file)
        relay.write_text(file, "[half")  # of no writer of ours; the next look finds more
        until_read(file)
    assert not file.exists()
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "begins" in text] == ["train: begins, 10 texts"] * 2
    assert [text.split(",")[0] for text in said if "%" in text] == ["train: 50 %", "train: 20 %", "train: 90 %"]
    assert "loss 1.5" in said[1] and "after a loss" in said[-1]
    assert len([text for text in said if "done in" in text]) == 2


def test_a_disk_that_takes_no_file_does_not_stop_the_work(often: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "show", relay.teller(tmp_path / "no folder" / "a file"))
    (tmp_path / "no folder").write_text("")
    with progress.progress("train", 2) as advance:
        time.sleep(0.02)
        advance(1)
    assert (tmp_path / "no folder").read_text() == ""
