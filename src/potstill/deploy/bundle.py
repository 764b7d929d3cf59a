"""One folder for every reader: the torch model at its root as the Hub expects it, and the ONNX files in onnx/."""

from __future__ import annotations

from pathlib import Path

from potstill.machine.files import link_or_copy
from potstill.runtime.folder import CONFIG, FILES, GATE, ONNX, README


def write_bundle(folder: Path, student: Path, exported: Path) -> None:
    """Put a model's two folders together; the card is not written here.

    Where the file system has hard links, the bundle takes no room of its own: a file is the same one under a second name.
    Nothing here writes into a file that is there, so neither folder changes with the other.

    Args:
        folder: to be made; beside the other two, so that it can be renamed whole.
        student: the torch model, as EncoderModel.save writes it.
        exported: the same model, as `export_onnx` writes it; with its int8 file, and what the gate said of it, where it has them.
    """
    for source in sorted(student.rglob("*")):
        target = folder / source.relative_to(student)
        if source.is_dir():
            target.mkdir(parents=True)  # an empty one too: modules.json names it
        elif source != student / README:
            link_or_copy(source, target)
    link_or_copy(exported / CONFIG, folder / CONFIG)
    for name in (*FILES["auto"], GATE):
        if (exported / name).is_file():
            link_or_copy(exported / name, folder / ONNX / name)
