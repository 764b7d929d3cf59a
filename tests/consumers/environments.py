"""The environments that consumers run in: one for each set of packages, under POTSTILL_CONSUMERS, made once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path

import torch

CACHE = Path(os.environ.get("POTSTILL_CONSUMERS") or Path.home() / ".cache" / "potstill-consumers")
INSTALLED = "installed.txt"  # written last: where it is missing, the environment is half made
LIMIT = 1800  # seconds that an installation may take


def environment(packages: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with these packages; of torch it has the one that runs this.

    Args:
        packages: as pip takes them.

    Raises:
        subprocess.CalledProcessError: pip cannot install them here.
    """
    place = _place(packages)
    python = place / "bin" / "python"
    if not (place / INSTALLED).is_file():
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        (site,) = place.glob("lib/python*/site-packages")
        (site / "shared.pth").write_text(f"{_shared_torch()}\n")
        constraint = place / "constraint.txt"
        constraint.write_text(f"torch=={torch.__version__}\n")  # pip must not put another one, of 3 GB, beside it
        _run([str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--constraint", str(constraint), *packages])
        (place / INSTALLED).write_text("\n".join(packages))
    return python


def node_folder(packages: Sequence[str]) -> Path:
    """A folder with a node_modules of these packages.

    Args:
        packages: as npm takes them.

    Raises:
        subprocess.CalledProcessError: npm cannot install them here.
    """
    place = _place(packages)
    if not (place / INSTALLED).is_file():
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text('{"private": true, "type": "module"}\n')
        # The scripts of onnxruntime-node and sharp would fetch files for graphics cards.
        _run(["npm", "install", "--silent", "--ignore-scripts", *packages], cwd=place)
        (place / INSTALLED).write_text("\n".join(packages))
    return place


def _place(packages: Sequence[str]) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in packages[0])
    return CACHE / f"{name}-{hashlib.sha256(repr(sorted(packages)).encode()).hexdigest()[:8]}"


def _shared_torch() -> Path:
    """A folder with links to the torch of this interpreter and to nothing else: no consumer may see this environment's own packages."""
    place = CACHE / "torch"
    place.mkdir(parents=True, exist_ok=True)
    found = distribution("torch")
    for name in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
        link = place / name
        if not link.exists():
            link.unlink(missing_ok=True)  # it led to an environment that is gone
            link.symlink_to(Path(str(found.locate_file(name))))
    return place


def _run(command: Sequence[str], cwd: Path | None = None) -> None:
    """Run a command without showing what it prints; where it fails, its last words are in the error."""
    result = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT)
    if result.returncode:
        raise subprocess.CalledProcessError(result.returncode, command, result.stdout[-2000:])
