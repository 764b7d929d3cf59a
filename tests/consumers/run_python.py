"""Run a snippet and write down its vectors: started by an environment's own interpreter, which has neither potstill nor its tests."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    code, out, *packages = sys.argv[1:]
    names: dict[str, Any] = {"__name__": "__snippet__"}
    exec(compile(Path(code).read_text(encoding="utf-8"), code, "exec"), names)
    vectors = [[float(number) for number in vector] for vector in names["vectors"]]
    Path(out).write_text(json.dumps({"vectors": vectors, "versions": {name: version(name) for name in packages}}))
