"""The record of a run: written, read, and its roles."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

import pytest

from helpers.samples import make_run
from potstill.errors import PotstillError
from potstill.results import CONVERTED, ROLES, SHIPPED, Role, machine, read_cases, read_metrics, read_run, run_folder


def test_every_role_has_a_name() -> None:
    assert set(ROLES) == set(get_args(Role)) >= {*SHIPPED, *CONVERTED} and len(set(ROLES.values())) == len(ROLES)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = make_run()
    run.write(tmp_path)
    assert read_run(tmp_path) == run == read_run(tmp_path / "results.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),  # no finished run
        (b"{", r"is not a run record \("),  # cut off
        (b'{"name": "x"}', r"is not a run record \(seed: Field required\)"),  # of something else
        (b"\xff", r"is not a run record \("),  # not UTF-8
    ],
)
def test_a_bad_record_is_one_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(PotstillError, match=said) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == [] == read_cases(tmp_path)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    (tmp_path / "cases.json").write_text('[{"text": "a"}]')
    assert (read_metrics(tmp_path), read_cases(tmp_path)) == ([{"step": 1}], [{"text": "a"}])


def test_a_run_lies_in_runs_unless_told_otherwise() -> None:
    assert (run_folder("kd", None), run_folder("kd", "elsewhere")) == (Path("runs/kd"), Path("elsewhere"))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the cores of a process cannot be chosen here")
def test_only_usable_cores_count() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine().cores == 1
    finally:
        os.sched_setaffinity(0, before)
