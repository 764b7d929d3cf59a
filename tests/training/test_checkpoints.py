"""Which checkpoint a stopped stage goes on from."""

from __future__ import annotations

import json

from potstill.training.checkpoints import STATE, checkpoint_to_resume, newest_checkpoint


def test_half_a_checkpoint_is_not_taken_up(tmp_path):
    for step, content in [(5, json.dumps({})), (10, '{"cut o'), (15, None)]:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if content is not None:
            (folder / STATE).write_text(content)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert newest_checkpoint(tmp_path / "nothing") is None


def test_a_stage_that_starts_anew_leaves_no_checkpoint(tmp_path):
    folder = tmp_path / "stage"
    (folder / "checkpoint-5").mkdir(parents=True)
    (folder / "checkpoint-5" / STATE).write_text("{}")
    assert checkpoint_to_resume(folder, resume=True) == folder / "checkpoint-5"
    assert checkpoint_to_resume(folder, resume=False) is None and not folder.exists()
    assert checkpoint_to_resume(folder, resume=True) is None


def test_the_best_checkpoint_is_found_where_the_run_lies_now(tmp_path):
    (tmp_path / "checkpoint-10").mkdir()
    state = {"best_model_checkpoint": "/where/the/run/was/checkpoint-5", "global_step": 10}
    (tmp_path / "checkpoint-10" / STATE).write_text(json.dumps(state))
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    moved = json.loads((tmp_path / "checkpoint-10" / STATE).read_text())
    assert moved == state | {"best_model_checkpoint": str(tmp_path / "checkpoint-5")}
