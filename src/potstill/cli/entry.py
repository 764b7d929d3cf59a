"""How a command is started, and what is said where it ends in an error."""

from __future__ import annotations

import signal
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext

import typer

from potstill.cli import voice
from potstill.cli.commands import STOPPED, app
from potstill.errors import PotstillError, install
from potstill.machine import processes
from potstill.machine.files import is_full
from potstill.machine.signals import interrupt

FIRST = ("-q", "--quiet", "-v", "--verbose")  # options of all commands, before their name


def main() -> None:
    """Run the command that `sys.argv` names.

    A PotstillError is printed as one line for each mistake and ends with status 2, as do a package that is not installed,
    a full disk, and a system that starts no more threads.

    Raises:
        ModuleNotFoundError: a module of this package is missing, which is a bug.
        Exception: any other bug.
    """
    if processes.count() == 1:  # torchrun has signals of its own
        signal.signal(signal.SIGTERM, interrupt)  # as Ctrl-C: what was written aside is cleared away
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background of a shell ignores it
            signal.signal(signal.SIGINT, interrupt)
    try:
        with _one_voice():
            sys.exit(_run())
    except PotstillError as error:
        voice.failed(error)
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "potstill":
            raise
        print(f"error: this needs {error.name}, which is not installed; {install('train')}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        said = _of_the_machine(error)
        if said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        sys.exit(2)


def _run() -> int:
    """Run the command; its status.

    Raises:
        PotstillError: an option or an argument is wrong, which Typer would draw a box of.
    """
    try:
        status = app(prog_name="potstill", standalone_mode=False)
    except typer.Abort:  # Ctrl-C
        return STOPPED
    except Exception as error:
        context, said = getattr(error, "ctx", None), getattr(error, "format_message", None)
        if context is None or said is None:  # Typer has the class of wrong usage from another module in each of its versions
            raise
        problem, path = said().rstrip("."), context.command_path
        remedy = f"see {path} --help"
        if (name := getattr(error, "option_name", None)) in FIRST:
            remedy = f"it stands before the command: potstill {name} {path.partition(' ')[2]} …"
        raise PotstillError(path, problem[:1].lower() + problem[1:], remedy) from error
    return status if isinstance(status, int) else 0


def _of_the_machine(error: Exception) -> str | None:
    """What to say of an error that is no bug, since the machine has no more to give; None: it may well be a bug."""
    if "can't start new thread" in str(error):
        return "threads: the system starts no more of them; end other programs, or raise `ulimit -u`"
    if is_full(error):
        return f"{getattr(error, 'filename', None) or tempfile.gettempdir()}: no space is left on the disk; free some"
    return None


def _one_voice() -> AbstractContextManager[None]:
    """Under torchrun, a context in which a mistake that all processes make is told once."""
    if processes.count() == 1:
        return nullcontext()
    from potstill.machine.distributed import one_voice

    return one_voice()
