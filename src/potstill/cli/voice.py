"""How much the command says beside its results, and where: on the terminal, on standard error in a file, in a log."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from pathlib import Path

from potstill.errors import PotstillError, PotstillWarning
from potstill.machine import processes, progress
from potstill.machine.files import writing

_log = logging.getLogger("potstill")
_log.addHandler(logging.NullHandler())  # without any, logging itself would print errors, which the command prints anyway
_verbose = False


def choose(*, quiet: bool, verbose: bool) -> None:
    """Set how much is said from here on.

    Args:
        quiet: results and errors alone.
        verbose: the libraries' notices too, and where an error arose.
    """
    global _verbose
    progress.quiet, _verbose = quiet, verbose


def begin(log: Path | None = None) -> None:
    """Keep the libraries' notices off the screen, and let lines of progress go where no bar is shown.

    A PotstillError comes through: the file cannot be written.

    Args:
        log: a file that lines of progress, warnings and errors are appended to.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if not _verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    for handler in _log.handlers[1:]:  # of a command before in this process
        _log.removeHandler(handler)
        handler.close()
    _log.propagate = False
    _log.setLevel(logging.DEBUG)
    if not progress.quiet and processes.is_main():
        screen = logging.StreamHandler()
        screen.setLevel(logging.INFO)
        # The rest is printed anyway; and Python may outlive the stream that it had while the command ran.
        screen.addFilter(lambda line: line.levelno < logging.WARNING and not screen.stream.closed and not screen.stream.isatty())
        screen.setFormatter(logging.Formatter("%(message)s"))
        _log.addHandler(screen)
    if log is not None and processes.is_main():
        with writing(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(log, encoding="utf-8")
        file.addFilter(_name_level)
        file.setFormatter(logging.Formatter("%(asctime)s %(kind)s%(message)s", "%Y-%m-%d %H:%M:%S"))
        _log.addHandler(file)
    _filter_warnings()


def failed(error: PotstillError) -> None:
    """Note in the log what ended the command, and print where it arose if that is asked for."""
    for line in str(error).splitlines():
        _log.error("%s", line)
    if _verbose:
        traceback.print_exception(error)


def _name_level(line: logging.LogRecord) -> bool:
    """Let each line through, and give it its `kind`: a warning and an error are called so."""
    line.kind = f"{line.levelname.lower()}: " if line.levelno >= logging.WARNING else ""
    return True


def _filter_warnings() -> None:
    plain = warnings.formatwarning

    def formatted(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
        if category is not PotstillWarning:
            return plain(message, category, filename, lineno, line)
        _log.warning("%s", message)
        return "" if progress.quiet else f"warning: {message}\n"

    warnings.formatwarning = formatted
    if _verbose:
        return
    if not processes.is_main():
        warnings.filterwarnings("ignore")
    if progress.quiet:
        warnings.filterwarnings("ignore")
        warnings.filterwarnings("always", category=PotstillWarning)  # for the log: on the screen it is an empty text
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.")
    warnings.filterwarnings("ignore", message=".*(is experimental|experimental feature)")  # Optuna, of parts that are years old
