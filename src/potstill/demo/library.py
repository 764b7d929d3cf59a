"""transformers.js and onnxruntime's WebAssembly: which files of which npm packages a page takes, and where they come from."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from potstill.errors import PotstillError, shown
from potstill.machine.cache import cache_folder
from potstill.machine.files import write_aside

PATIENCE = 600  # seconds that npm may take to fetch 35 MB


@dataclass(frozen=True)
class Package:
    """A package of the npm registry.

    Attributes:
        name: as npm has it.
        version: the only one whose files are taken.
        files: path in the package → (name on the page, SHA-256 in hexadecimal).
    """

    name: str
    version: str
    files: dict[str, tuple[str, str]]

    @property
    def spec(self) -> str:
        """What `npm pack` is told."""
        return f"{self.name}@{self.version}"

    @property
    def archive(self) -> str:
        """What `npm pack` calls the file that it writes."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


# The build for browsers leaves onnxruntime out. Beside it goes the build without WebGPU: half the bytes, and int8 runs on the CPU anyway.
PACKAGES = (
    Package(
        "@huggingface/transformers",
        "4.3.2",
        {
            "dist/transformers.web.min.js": ("transformers.js", "ecaf2c7dce4bcbe882d1ec6e67c2f537720e0e47169e5f7e60f2c019fba91682"),
            "LICENSE": ("LICENSE.transformers.txt", "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"),
        },
    ),
    Package(
        "onnxruntime-web",
        "1.31.0-dev.20260914-8d85527a0",
        {
            "dist/ort.wasm.bundle.min.mjs": ("onnxruntime.js", "17b52c1ac62b421dc508b4c28b9a9675251c6e25dd512ef54b83a5e2c4242869"),
            "dist/ort-wasm-simd-threaded.wasm": ("onnxruntime.wasm", "06ba057753da3847e4c24f02d91ab133455b0817c69a44993a9a53a2146df9e3"),
        },
    ),
)


def read_library(place: Path | None = None) -> dict[str, bytes]:
    """The files that a page loads its model with, each with the right checksum: out of the cache, which npm fills once.

    Args:
        place: a folder that has the packages, so that npm is not needed: archives as `npm pack` writes them, or node_modules.

    Returns:
        Name on the page → content.

    Raises:
        PotstillError: npm is missing or fails; a file is missing or has another checksum; the cache cannot be written.
    """
    if place is not None:
        return _read(place)
    kept = cache_folder() / f"transformers.js-{PACKAGES[0].version}"
    if kept.is_dir():
        return _read(kept)
    with tempfile.TemporaryDirectory() as fetched:
        _fetch(Path(fetched))
        files = _read(Path(fetched))
    with write_aside(kept) as aside:
        for package in PACKAGES:
            for path, (name, _) in package.files.items():
                file = aside / package.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(files[name])
    return files


def _fetch(folder: Path) -> None:
    """Let npm write the archives into a folder: it knows the user's registry and proxy.

    Raises:
        PotstillError: npm is missing, or fails.
    """
    specs = [package.spec for package in PACKAGES]
    elsewhere = f"`npm pack {' '.join(specs)}` writes them, on any machine; then give their folder with --npm"
    npm = shutil.which("npm")
    if npm is None:
        raise PotstillError("npm", "is not installed, and the page needs two of its packages", f"install it, or: {elsewhere}")
    command = [npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder), *specs]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PotstillError("npm", f"does not fetch the packages ({shown(str(error), 160)})", elsewhere) from error
    if done.returncode:
        lines = [line.removeprefix("npm error ").strip() for line in done.stderr.splitlines()]
        said = next((line for line in lines if line and not line.startswith("code ")), f"status {done.returncode}")
        raise PotstillError("npm", f"does not fetch the packages ({shown(said, 160)})", elsewhere)


def _read(place: Path) -> dict[str, bytes]:
    """The files out of a folder that has the packages.

    Raises:
        PotstillError: one is missing, or has another checksum.
    """
    found: dict[str, bytes] = {}
    for package in PACKAGES:
        remedy = f"fetch {package.spec} again, by `npm pack` or `npm install`"
        for path, (name, digest) in package.files.items():
            try:
                content, file = _content(place, package, path)
            except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
                raise PotstillError(place, f"has no {package.name}/{path} ({shown(str(error), 100)})", remedy) from error
            if sha256(content).hexdigest() != digest:
                raise PotstillError(file, f"{path} is not that of {package.spec}", remedy)
            found[name] = content
    return found


def _content(place: Path, package: Package, path: str) -> tuple[bytes, Path]:
    """A file of a package, and where it was found.

    Raises:
        KeyError: the archive has no such file.
    """
    archive = place / package.archive
    if not archive.is_file():
        file = place / package.name / path
        return file.read_bytes(), file
    with tarfile.open(archive) as packed:
        member = packed.extractfile(f"package/{path}")
        if member is None:
            raise KeyError(path)
        return member.read(), archive
