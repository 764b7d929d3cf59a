"""What is kept off the screen while a library works, and what a network says that cannot be converted."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import pytest

from helpers.families import save_family
from potstill.check.models import NOT_EXPORTED
from potstill.deploy.onnx import export_onnx
from potstill.deploy.quiet import quiet
from potstill.errors import PotstillError
from potstill.models.loading import load_encoder


def test_nothing_is_seen_within_and_everything_after(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet():
            sys.stdout.write("a graph\n")
            sys.stderr.write("its nodes\n")
            logging.getLogger("torch").error("of it")
            warnings.warn("about it", stacklevel=1)
        assert (capsys.readouterr(), caplog.messages, seen) == (("", ""), [], [])
        sys.stdout.write("shown\n")
        logging.getLogger("torch").error("told")
        warnings.warn("warned", stacklevel=1)
    assert capsys.readouterr().out == "shown\n" and caplog.messages == ["told"] and len(seen) == 1


def test_it_ends_with_an_exception(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="through"), quiet():
        raise ValueError("through")
    sys.stdout.write("shown\n")
    assert capsys.readouterr().out == "shown\n" and logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize("family", [name for name in NOT_EXPORTED if name != "canine"])  # of it transformers has no fast tokenizer
def test_a_network_that_cannot_be_exported_is_one_line(
    family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = load_encoder(save_family(family, tmp_path / "model"))
    capsys.readouterr()
    with pytest.raises(PotstillError, match="cannot be exported by torch.onnx|onnxruntime does not run the exported graph") as caught:
        export_onnx(model, tmp_path / "onnx", ["the river"])
    assert len(str(caught.value)) < 400 and not (tmp_path / "onnx").exists()
    assert capsys.readouterr() == ("", "") and not [one for one in caplog.records if one.levelno >= logging.ERROR]
