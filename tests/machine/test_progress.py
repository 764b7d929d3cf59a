"""Lines of progress come while a single step takes long, and the counts stay those of the work."""

from __future__ import annotations

import logging
import time

import pytest

from potstill.machine import progress


def test_a_step_that_takes_long_is_told_before_it_is_done(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "potstill")
    monkeypatch.setattr(progress, "EVERY", 0.05)
    monkeypatch.setattr(progress, "LOOK", 0.01)
    with progress.progress("export", 2, "steps") as advance:
        end = time.monotonic() + 60
        while not caplog.records:
            assert time.monotonic() < end, "nothing was said"
            time.sleep(0.01)
        assert caplog.records[0].getMessage() == "export: 0 %, 0:00 so far"
        advance(2)
    assert caplog.records[-1].getMessage().startswith("export: done in ")
