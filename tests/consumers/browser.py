"""A snippet in headless Chromium: served from this machine, its vectors sent back by the page."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

SECONDS = 300
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run"]
PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module">
const send = (found) => fetch("/result", { method: "POST", body: JSON.stringify(found) });
try {
  const { vectors } = await import("./snippet.mjs");
  await send({ vectors });
} catch (error) {
  await send({ error: String(error.stack ?? error) });
}
</script>"""


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *given: Any, found: Queue[dict[str, Any]], **named: Any) -> None:
        self.found = found
        super().__init__(*given, **named)

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        """Say nothing."""


def chromium() -> str:
    """The browser's command.

    Raises:
        FileNotFoundError: there is none on this machine.
    """
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise FileNotFoundError("no Chromium on this machine")
    return found


def run_in_browser(code: str, beside: Mapping[str, Path]) -> list[list[float]]:
    """Vectors of a module that declares them.

    Args:
        code: of the module.
        beside: files and folders that the page can read, by their names in its folder.

    Raises:
        RuntimeError: the module fails, or says nothing for SECONDS.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        place = Path(folder)
        (place / "index.html").write_text(PAGE, encoding="utf-8")
        (place / "snippet.mjs").write_text(f"{code}\nexport {{ vectors }};\n", encoding="utf-8")
        for name, target in beside.items():
            (place / name).symlink_to(target)
        found: Queue[dict[str, Any]] = Queue()
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=folder, found=found))
        Thread(target=server.serve_forever, daemon=True).start()
        command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *QUIET]
        command += [f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/index.html"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                result = found.get(timeout=SECONDS)
            except Empty:
                result = {"error": f"the page said nothing for {SECONDS} s"}
            finally:
                browser.terminate()
                server.shutdown()
    if "error" in result:
        raise RuntimeError(result["error"])
    vectors: list[list[float]] = result["vectors"]
    return vectors
