"""The command `potstill`, and what it prints."""

from potstill.cli.entry import main as main
