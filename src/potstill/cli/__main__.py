"""`python -m potstill.cli`: the command by another way in."""

from potstill.cli.commands import main

main()
