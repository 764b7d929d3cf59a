"""Which checkpoint a stopped stage goes on from."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from potstill.errors import DiskFull, PotstillError, PotstillWarning
from potstill.training.checkpoints import STATE, WEIGHTS, checkpoint_to_resume, checkpointing, newest_checkpoint, require_steps


def write_checkpoint(folder, state="{}"):
    """A small checkpoint with every part that Trainer writes."""
    folder.mkdir(parents=True)
    save_file({"weight": torch.ones(64)}, folder / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"values": torch.ones(64)}, folder / name)
    if state is not None:
        (folder / STATE).write_text(state)
    return folder


def test_a_stage_of_other_steps_is_refused(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint-5", json.dumps({"max_steps": 20}))
    require_steps(checkpoint, 20)
    with pytest.raises(PotstillError, match="checkpoint-5: was written in a stage of 20 steps, and .* are 19; go on"):
        require_steps(checkpoint, 19)


def test_half_a_checkpoint_is_not_taken_up(tmp_path):
    for step, content in [(5, json.dumps({})), (10, '{"cut o'), (15, None)]:
        write_checkpoint(tmp_path / f"checkpoint-{step}", content)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    assert newest_checkpoint(tmp_path / "nothing") is None


def test_a_stage_that_starts_anew_leaves_no_checkpoint(tmp_path):
    folder = tmp_path / "stage"
    write_checkpoint(folder / "checkpoint-5")
    assert checkpoint_to_resume(folder, resume=True) == folder / "checkpoint-5"
    assert checkpoint_to_resume(folder, resume=False) is None and not folder.exists()
    assert checkpoint_to_resume(folder, resume=True) is None


def test_the_best_checkpoint_is_found_where_the_run_lies_now(tmp_path):
    state = {"best_model_checkpoint": "/where/the/run/was/checkpoint-5", "best_metric": 1.0, "global_step": 10}
    write_checkpoint(tmp_path / "checkpoint-5")
    write_checkpoint(tmp_path / "checkpoint-10", json.dumps(state))
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    moved = json.loads((tmp_path / "checkpoint-10" / STATE).read_text())
    assert moved == state | {"best_model_checkpoint": str(tmp_path / "checkpoint-5")}


PARTS = (WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth")


@pytest.mark.parametrize(
    ("part", "damage"),
    # safetensors has no checksum: a flipped byte in it cannot be seen.
    [(part, damage) for part in PARTS for damage in ("cut", "flipped", "gone", "empty") if (part, damage) != (WEIGHTS, "flipped")],
)
def test_a_damaged_checkpoint_is_left_out_with_a_line(tmp_path, part, damage):
    write_checkpoint(tmp_path / "checkpoint-5")
    file = write_checkpoint(tmp_path / "checkpoint-10") / part
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        file.write_bytes({"cut": content[:-20], "flipped": flipped, "empty": b""}[damage])
    with pytest.warns(PotstillWarning, match=f"checkpoint-10/{part.replace('_state', '_state.?')}.*: cannot be read"):
        assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-5"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]


def test_with_no_whole_checkpoint_the_stage_begins_anew(tmp_path):
    (write_checkpoint(tmp_path / "stage" / "checkpoint-5") / "optimizer.pt").write_bytes(b"cut")
    with pytest.warns(PotstillWarning, match="begins anew") as told:
        assert checkpoint_to_resume(tmp_path / "stage", resume=True) is None
    assert len(told) == 1 and not (tmp_path / "stage").exists()


def test_a_damaged_best_checkpoint_is_not_taken_for_the_best(tmp_path):
    """Else the stage would end with whatever can be loaded."""
    best = write_checkpoint(tmp_path / "checkpoint-5")
    write_checkpoint(tmp_path / "checkpoint-10", json.dumps({"best_model_checkpoint": str(best)}))
    (best / WEIGHTS).write_bytes((best / WEIGHTS).read_bytes()[:-20])
    with pytest.warns(PotstillWarning, match="checkpoint-5/model.safetensors: cannot be read"):
        assert newest_checkpoint(tmp_path) is None


def test_a_best_checkpoint_that_a_later_one_took_the_place_of_is_chosen_again(tmp_path):
    """The newest was the best, is damaged, and the best before it is removed already."""
    state = {"best_model_checkpoint": str(tmp_path / "checkpoint-5"), "best_metric": 1.0, "best_global_step": 5}
    write_checkpoint(tmp_path / "checkpoint-10", json.dumps(state))
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    kept = json.loads((tmp_path / "checkpoint-10" / STATE).read_text())
    assert kept == {"best_model_checkpoint": None, "best_metric": None, "best_global_step": None}


def test_a_disk_that_fills_up_at_a_checkpoint_leaves_no_half_of_one(tmp_path):
    write_checkpoint(tmp_path / "checkpoint-5")
    with pytest.raises(DiskFull, match="no space is left on the disk for a checkpoint"), checkpointing(tmp_path):
        write_checkpoint(tmp_path / "checkpoint-10", None)
        raise RuntimeError("[enforce fail at inline_container.cc:659] . PytorchStreamWriter failed writing file data/3: file write failed")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-5"]
    with pytest.raises(RuntimeError, match="something else"), checkpointing(tmp_path):
        raise RuntimeError("something else")
