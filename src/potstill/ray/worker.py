"""What a process on a node takes over of the command that it works for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from potstill.errors import PotstillError, PotstillWarning
from potstill.machine.cache import cache_folder
from potstill.machine.places import MODELS

OFFLINE = "HF_HUB_OFFLINE"


@dataclass(frozen=True)
class Place:
    """Where a command works. Paths in recipes and on the command line mean the same in a process that has entered it.

    Attributes:
        folder: the working folder.
        cache: the folder of what is kept between runs.
        models: POTSTILL_MODELS; None: not set.
        offline: HF_HUB_OFFLINE; None: not set.
    """

    folder: str
    cache: str
    models: str | None
    offline: str | None

    @classmethod
    def here(cls) -> Place:
        """That of this process. A PotstillError comes through from `cache_folder`."""
        return cls(str(Path.cwd()), str(cache_folder().absolute()), os.environ.get(MODELS), os.environ.get(OFFLINE))

    def enter(self) -> None:
        """Work there from now on.

        Raises:
            PotstillError: this node has no such folder.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            remedy = "start the command in a folder that all nodes share"
            raise PotstillError(self.folder, f"is not there on node {os.uname().nodename}", remedy) from error
        os.environ["POTSTILL_CACHE"] = self.cache
        for name, value in ((MODELS, self.models), (OFFLINE, self.offline)):
            if value is not None:
                os.environ[name] = value


@contextmanager
def warned() -> Iterator[list[str]]:
    """Within the block nothing is warned of; the list holds at its end what was meant for the user, each once."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", PotstillWarning)
        yield texts
    texts += dict.fromkeys(str(each.message) for each in caught)


def warn_here(texts: Iterable[str]) -> None:
    """Warn of what workers were `warned` of."""
    for text in texts:
        warnings.warn(text, PotstillWarning, stacklevel=2)
