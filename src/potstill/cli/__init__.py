"""The command `potstill`, and what it prints."""

from potstill.cli.commands import main as main
